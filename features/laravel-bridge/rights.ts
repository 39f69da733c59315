import { randomUUID } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { unavailable, userKeyOf } from 'flylive-audio-server/feature'
import type { Metrics, Role, UserId } from 'flylive-audio-server/feature'
import { createCache, createEntries } from './cache.ts'
import type { CacheEntries } from './cache.ts'
import type { BackendClient } from './client.ts'
import { roleResponse, roomResponse } from './messages.ts'

/** Looks up room owners and user roles in the backend. */
export interface Rights {
  /**
   * @returns the owner; undefined if the backend has no such room
   * @throws UNAVAILABLE
   */
  ownerOf (roomId: string): Promise<UserId | undefined>
  /**
   * Returns a user's role. One call to the backend is enough if the backend has a role for the user.
   *
   * @throws UNAVAILABLE if the role cannot be determined; the method does not fall back to `member`
   */
  roleOf (room: { roomId: string }, userKey: string): Promise<Role>
  /**
   * Invalidates the cached owner of the room and the cached role of a user.
   *
   * @param userKey if omitted, invalidates all roles in the room
   */
  invalidate (roomId: string, userKey?: string): void
  /** Invalidates only the cached role of a user. */
  invalidateRole (roomId: string, userKey: string): void
}

/** Cached responses of the backend, which survive a reload of the feature. */
export interface CachedRights {
  readonly owners: CacheEntries<UserId | undefined>
  readonly roles: CacheEntries<Role | undefined>
  /**
   * A random id (epoch) per room, which is part of the keys in `roles`. A new epoch invalidates all cached roles of the
   * room.
   */
  readonly epochs: LRUCache<string, string>
}

export interface RightsOptions {
  client: Pick<BackendClient, 'call'>
  metrics: Metrics
  cached: CachedRights
  /** A monotonic clock, in milliseconds. */
  now?: () => number
  /** If a stale response can be used, the timeout of a call to the backend, in milliseconds. */
  timeoutMs?: number
}

/** How long the backend's responses stay fresh, in milliseconds; set by the backend's contract. */
export const freshMs = 30_000
/**
 * While the backend is down, how long a response can still be used after `freshMs`, in milliseconds; set by the
 * backend's contract.
 */
export const staleMs = 300_000
/**
 * How long a "no such room" response stays fresh, in milliseconds. The time is short, because the backend may create
 * the room at any time, and its owner must then be able to join.
 */
export const unknownRoomMs = 5000

// Room ids cannot contain spaces (docs/protocol.md, "Frames"), but user ids can.
const roleKeyPattern = /^(?<roomId>\S+) \S* (?<userKey>[^]*)$/
const maxRooms = 20_000
const maxRoles = 50_000

/** @param now a monotonic clock, in milliseconds */
export function createCachedRights (now = () => performance.now()): CachedRights {
  return { owners: createEntries(maxRooms, now), roles: createEntries(maxRoles, now), epochs: new LRUCache({ maxSize: maxRooms, sizeCalculation: () => 1 }) }
}

export function createRights ({ client, metrics, cached, now = () => performance.now(), timeoutMs }: RightsOptions): Rights {
  const stale = metrics.counter('flylive_laravel_stale_answers_total', 'Expired cached responses that were used because the backend was down', ['call'])

  const timeout = timeoutMs === undefined ? {} : { timeoutMs }

  const owners = createCache<UserId | undefined>({
    entries: cached.owners,
    load: async (roomId) => (await client.call({ name: 'room', method: 'GET', path: ['rooms', roomId] }, roomResponse))?.owner_id,
    freshMs,
    freshFor: (owner) => owner === undefined ? unknownRoomMs : freshMs,
    staleMs: (owner) => owner === undefined ? 0 : staleMs,
    ...timeout,
    onStale: () => stale.inc({ call: 'room' }),
    now
  })
  const roles = createCache<Role | undefined>({
    entries: cached.roles,
    load: async (key) => {
      const { roomId = '', userKey = '' } = roleKeyPattern.exec(key)?.groups ?? {}
      return (await client.call({ name: 'role', method: 'GET', path: ['rooms', roomId, 'members', userKey, 'role'] }, roleResponse))?.role
    },
    freshMs,
    staleMs: () => staleMs,
    ...timeout,
    onStale: () => stale.inc({ call: 'role' }),
    now
  })
  const { epochs } = cached
  const roleKey = (roomId: string, userKey: string) => `${roomId} ${epochs.get(roomId) ?? ''} ${userKey}`

  const is = (owner: UserId | undefined, userKey: string) => owner !== undefined && userKeyOf(owner) === userKey

  return {
    ownerOf: (roomId) => owners.get(roomId),
    async roleOf ({ roomId }, userKey) {
      if (is(owners.peek(roomId), userKey)) return 'owner'
      try {
        const role = await roles.get(roleKey(roomId, userKey), is(owners.peekStale(roomId, false), userKey))
        if (role !== undefined) return role
      } catch (error) {
        if (is(owners.peekStale(roomId), userKey)) return 'owner'
        throw unavailable(`The role of user ${userKey} in room ${roomId} is unavailable`, error)
      }
      // The backend may omit a room's owner from its list of members.
      return is(await owners.get(roomId), userKey) ? 'owner' : 'member'
    },
    invalidate (roomId, userKey) {
      owners.invalidate(roomId)
      if (userKey !== undefined) return roles.invalidate(roleKey(roomId, userKey))
      epochs.set(roomId, randomUUID())
    },
    invalidateRole: (roomId, userKey) => roles.invalidate(roleKey(roomId, userKey))
  }
}
