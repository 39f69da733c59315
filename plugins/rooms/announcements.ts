import type { FastifyInstance } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { z } from 'zod'
import { userKeyOf } from '../connections/session.ts'
import type { Profile, UserId } from '../connections/session.ts'
import type { MembersChange } from '../store/types.ts'
import { channelOf, restoredMessage } from './channel.ts'
import type { RoomChannel } from './channel.ts'
import type { events } from './messages.ts'
import { createPresence, presenceIntervalMs } from './presence.ts'
import type { LeaveReason } from './rooms.ts'

/**
 * Maximum number of individual join and leave events per user and room within `flapWindowMs`. Further joins and leaves
 * of the user are announced in batches.
 */
const maxSingleEvents = 20
const flapWindowMs = 10_000
/** Maximum number of counters of joins and leaves. There is one counter per user and room. */
const maxCounted = 50_000

type Data<T extends keyof typeof events> = Omit<z.input<(typeof events)[T]>, 'roomId'>

/** Announces joins and leaves: calls hooks on this server, and publishes events to all members of the room. */
export interface Announcements {
  /**
   * @param except the session that joins. The session does not receive the event, because the reply to its join
   *   contains the same data
   */
  joined (roomId: string, user: Profile, count: number, except?: string): void
  left (roomId: string, userId: UserId, reason: LeaveReason, count: number): void
  /** Like {@link left}, but does not call hooks, because the store has not confirmed that the user left. */
  leftUnconfirmed (roomId: string, userId: UserId, count: number): void
  /**
   * Like {@link joined}, but does not call hooks, because the user has never left the room. Call this if the user may
   * have been announced as left.
   */
  stayed (roomId: string, user: Profile, count: number): void
  /** Announces which users joined or left a room when the store replaced or removed the members on a server. */
  changed (roomId: string, change: MembersChange): void
  /** Records that a join may not have been announced to a room, for {@link reportMissed}. */
  mayMiss (roomId: string): void
  /**
   * Asks the other servers to compare the members of a room with the store, if they have missed a join or leave because
   * it could not be published, or if they may have missed a join. Call this regularly while the store is available.
   */
  reportMissed (): Promise<void>
  /** Discards the pending announcements of a closed room. */
  forget (roomId: string): void
  /** Publishes pending announcements immediately. */
  close (): Promise<void>
}

/** @param isCongested returns true if a member of the room on this server has a long send queue */
export function createAnnouncements ({ bus, cluster, config, hooks, nodeId, store }: Pick<FastifyInstance, 'bus' | 'cluster' | 'config' | 'hooks' | 'nodeId' | 'store'>, channel: RoomChannel, isCongested: (roomId: string) => boolean): Announcements {
  const presence = createPresence({
    tryLock: (roomId) => cluster.tryLock(`presence:${roomId}`, presenceIntervalMs),
    isCongested,
    async readPresent (roomId, userKeys) {
      // Send both reads to the store in one round trip.
      const [profiles, { count }] = await Promise.all([store.getMembers(roomId, userKeys), store.listParticipants(roomId, 0, 1)])
      return { count, isPresent: profiles.map((profile) => profile !== undefined) }
    },
    send: (roomId, change) => publish(roomId, 'room:presence', change satisfies Data<'room:presence'>)
  })
  const recent = new LRUCache<string, { events: number }>({ maxSize: maxCounted, sizeCalculation: () => 1, ttl: flapWindowMs })

  // Rooms with joins or leaves that were not announced on the other servers, or may not have been.
  const missed = new Set<string>()

  function publish (roomId: string, type: 'room:userJoined' | 'room:userLeft' | 'room:presence', data: object, except?: string): void {
    channel.publish(roomId, type, data, except).then((sent) => { if (!sent) missed.add(roomId) })
  }

  /**
   * Counts a join or leave.
   *
   * @returns true if the user joins and leaves so often that the events must be batched
   */
  function flaps (roomId: string, userId: UserId): boolean {
    const key = `${roomId} ${userKeyOf(userId)}`
    const counted = recent.get(key)
    if (!counted) recent.set(key, { events: 1 })
    else counted.events++
    return (counted?.events ?? 1) > maxSingleEvents
  }

  const coalesces = (roomId: string, userId: UserId, count: number) => count > config.PRESENCE_COALESCE_OVER || presence.pending(roomId) || flaps(roomId, userId)

  function joined (roomId: string, user: Profile, count: number, except?: string): void {
    hooks.emit('room:userJoined', roomId, user, count)
    stayed(roomId, user, count, except)
  }

  function stayed (roomId: string, user: Profile, count: number, except?: string): void {
    if (coalesces(roomId, user.userId, count)) return presence.joined(roomId, user, count)
    publish(roomId, 'room:userJoined', { userId: user.userId, user } satisfies Data<'room:userJoined'>, except)
  }

  function left (roomId: string, userId: UserId, reason: LeaveReason, count: number): void {
    hooks.emit('room:userLeft', roomId, { userId, userKey: userKeyOf(userId) }, reason, count)
    leftUnconfirmed(roomId, userId, count)
  }

  function leftUnconfirmed (roomId: string, userId: UserId, count: number): void {
    // Add 1, because `count` no longer includes the user who left.
    if (coalesces(roomId, userId, count + 1)) return presence.left(roomId, userId, count)
    publish(roomId, 'room:userLeft', { userId } satisfies Data<'room:userLeft'>)
  }

  return {
    joined,
    left,
    leftUnconfirmed,
    stayed,
    changed (roomId, change) {
      for (const user of change.joined) joined(roomId, user, change.count)
      for (const user of change.left) left(roomId, user.userId, 'disconnected', change.count)
      hooks.emit('room:resynced', roomId)
    },
    mayMiss: (roomId) => { missed.add(roomId) },
    async reportMissed () {
      for (const roomId of missed) {
        missed.delete(roomId)
        if (await bus.publish(channelOf(roomId), restoredMessage(nodeId))) continue
        missed.add(roomId)
        return
      }
    },
    forget: presence.forget,
    close: presence.close
  }
}
