import { randomUUID } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { unavailable, userKeyOf } from 'flylive-audio-server/feature'
import type { Metrics, Role, UserId } from 'flylive-audio-server/feature'
import { createCache, createEntries } from './cache.ts'
import type { CacheEntries } from './cache.ts'
import type { BackendClient } from './client.ts'
import { roleAnswer, roomAnswer } from './messages.ts'

/** Who owns which room and who may do what there, as the backend knows it. */
export interface Rights {
  /**
   * @returns the owner; undefined when the backend knows no such room
   * @throws UNAVAILABLE
   */
  ownerOf (roomId: string): Promise<UserId | undefined>
  /**
   * A user's rights, with one call at most where the backend knows the user in the room.
   *
   * @param room its owner is whoever it was made with
   * @throws UNAVAILABLE; never a "member" that is only a guess
   */
  roleOf (room: { roomId: string, ownerId: UserId }, userKey: string): Promise<Role>
  /**
   * Forgets a user's role and the owner of the room.
   *
   * @param userKey everybody's role when left out
   */
  forget (roomId: string, userKey?: string): void
}

/** The backend's answers. They outlive a reload. */
export interface KnownRights {
  readonly owners: CacheEntries<UserId | undefined>
  readonly roles: CacheEntries<Role | undefined>
  /** By room; see {@link createRights}. */
  readonly epochs: LRUCache<string, string>
}

export interface RightsOptions {
  client: Pick<BackendClient, 'call'>
  metrics: Metrics
  known: KnownRights
  /** Milliseconds, never going back. */
  now?: () => number
}

/** How long the backend's answers are taken for true (its contract), in milliseconds. */
export const freshMs = 30_000
/** How much longer they are used while the backend is away (its contract), in milliseconds. */
export const staleMs = 300_000
/**
 * A room that is not there may be made the next moment, and its owner would be
 * turned away: that answer does not last as long. In milliseconds.
 */
export const unknownRoomMs = 5000

// No room id has a space in it (protocol.md, section 2); a user's may.
const roleKeyPattern = /^(?<roomId>\S+) \S* (?<userKey>[^]*)$/
const maxRooms = 20_000
const maxRoles = 50_000

/** @param now milliseconds, never going back */
export function createKnownRights (now = () => performance.now()): KnownRights {
  return { owners: createEntries(maxRooms, now), roles: createEntries(maxRoles, now), epochs: new LRUCache({ max: maxRooms }) }
}

export function createRights ({ client, metrics, known, now = () => performance.now() }: RightsOptions): Rights {
  const stale = metrics.counter('flylive_laravel_stale_answers_total', 'Answers of the backend that were used though old, because it was away', ['call'])

  const owners = createCache<UserId | undefined>({
    entries: known.owners,
    load: async (roomId) => (await client.call({ name: 'room', method: 'GET', path: ['rooms', roomId] }, roomAnswer))?.owner_id,
    freshMs,
    freshFor: (owner) => owner === undefined ? unknownRoomMs : freshMs,
    staleMs: (owner) => owner === undefined ? 0 : staleMs,
    usedStale: () => stale.inc({ call: 'room' }),
    now
  })
  const roles = createCache<Role | undefined>({
    entries: known.roles,
    load: async (key) => {
      const { roomId = '', userKey = '' } = roleKeyPattern.exec(key)?.groups ?? {}
      return (await client.call({ name: 'role', method: 'GET', path: ['rooms', roomId, 'members', userKey, 'role'] }, roleAnswer))?.role
    },
    freshMs,
    staleMs: () => staleMs,
    usedStale: () => stale.inc({ call: 'role' }),
    now
  })
  // A room whose roles are all forgotten gets other keys: looking for those it
  // had would hold everybody up.
  const { epochs } = known
  const roleKey = (roomId: string, userKey: string) => `${roomId} ${epochs.get(roomId) ?? ''} ${userKey}`

  const is = (owner: UserId | undefined, userKey: string) => owner !== undefined && userKeyOf(owner) === userKey

  return {
    ownerOf: (roomId) => owners.get(roomId),
    async roleOf (room, userKey) {
      const { roomId } = room
      if (is(owners.peek(roomId), userKey)) return 'owner'
      try {
        const role = await roles.get(roleKey(roomId, userKey))
        if (role !== undefined) return role
      } catch (error) {
        if (is(owners.peekStale(roomId), userKey)) return 'owner'
        throw unavailable('It cannot be told now what you may do in this room', error)
      }
      // The backend may not count owners among the members of their rooms.
      if (is(room.ownerId, userKey) && is(await owners.get(roomId), userKey)) return 'owner'
      return 'member'
    },
    forget (roomId, userKey) {
      owners.forget(roomId)
      if (userKey !== undefined) return roles.forget(roleKey(roomId, userKey))
      epochs.set(roomId, randomUUID())
    }
  }
}
