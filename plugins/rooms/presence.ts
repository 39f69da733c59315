import { userKeyOf } from '../connections/session.ts'
import type { Profile, UserId } from '../connections/session.ts'
import { fitting, maxEventBytes } from '../schema/sizes.ts'

export interface PresenceChange {
  count: number
  joined: Profile[]
  left: UserId[]
}

export interface Presence {
  /** Whether a room has pending changes. An event that is sent immediately would arrive before these changes. */
  pending (roomId: string): boolean
  joined (roomId: string, user: Profile, count: number): void
  left (roomId: string, userId: UserId, count: number): void
  /** Discards the pending changes of a closed room. */
  forget (roomId: string): void
  /** Sends all pending changes. */
  close (): void
}

/** Minimum time between two bursts of room:presence events in a room (docs/protocol.md, "Rooms"). */
export const presenceIntervalMs = 1000
const retryMs = 200
/** Maximum profiles in a room:presence event (docs/protocol.md, "Frames"). */
const maxProfiles = 20
/** Maximum user ids in a room:presence event. */
const maxLeft = 500
/** Maximum total size of the profiles in a room:presence event, in bytes. */
const maxJoinedBytes = maxEventBytes * 3 / 4
/**
 * Maximum total size of the user ids in a room:presence event, in bytes. The remaining eighth of the event's size is
 * for the other fields.
 */
const maxLeftBytes = maxEventBytes / 8
/**
 * Maximum total size of a room's events in one interval, in bytes. The server sends the remaining changes in later
 * intervals. This maximum is a quarter of the default limit for a socket's send queue.
 */
const maxBurstBytes = 262_144

/**
 * Announces joins and leaves in large rooms in batches. A user who joins and leaves between two events appears in
 * neither event.
 *
 * While a member's send queue is large, no events are sent. Otherwise, many joins at once could fill the queue, and the
 * server would close the socket.
 *
 * @param tryLock locks the room across all servers for one interval; returns false if another server has the lock
 * @param isCongested whether any of the room's members on this server has a large send queue
 */
export function createPresence (tryLock: (roomId: string) => Promise<boolean>, isCongested: (roomId: string) => boolean, send: (roomId: string, change: PresenceChange) => void): Presence {
  interface Pending { count: number, joined: Map<string, Profile>, left: Map<string, UserId>, timer: NodeJS.Timeout }
  const pending = new Map<string, Pending>()

  function of (roomId: string): Pending {
    const existing = pending.get(roomId)
    if (existing) return existing
    const created = { count: 0, joined: new Map(), left: new Map(), timer: later(roomId, presenceIntervalMs) }
    pending.set(roomId, created)
    return created
  }

  function later (roomId: string, ms: number) {
    return setTimeout(() => { flush(roomId) }, ms)
  }

  async function flush (roomId: string) {
    const locked = !isCongested(roomId) && await tryLock(roomId).catch(() => true)
    const change = pending.get(roomId)
    if (!change) return
    if (!locked) {
      change.timer = later(roomId, retryMs)
      return
    }
    sendChange(roomId, change, maxBurstBytes)
    if (change.joined.size + change.left.size > 0) change.timer = later(roomId, presenceIntervalMs)
    else pending.delete(roomId)
  }

  /** Sends pending changes in events of limited size, and removes these changes from the pending ones. */
  function sendChange (roomId: string, { count, joined, left }: Pending, maxBytes = Infinity) {
    for (let bytes = 0; joined.size + left.size > 0 && bytes < maxBytes;) {
      const change = {
        count,
        joined: fitting([...joined.values().take(maxProfiles)], maxJoinedBytes),
        left: fitting([...left.values().take(maxLeft)], maxLeftBytes)
      }
      for (const { userId } of change.joined) joined.delete(userKeyOf(userId))
      for (const userId of change.left) left.delete(userKeyOf(userId))
      send(roomId, change)
      bytes += Buffer.byteLength(JSON.stringify(change))
    }
  }

  return {
    pending: (roomId) => pending.has(roomId),
    joined (roomId, user, count) {
      const change = of(roomId)
      const key = userKeyOf(user.userId)
      change.count = count
      if (!change.left.delete(key)) change.joined.set(key, user)
    },
    left (roomId, userId, count) {
      const change = of(roomId)
      const key = userKeyOf(userId)
      change.count = count
      if (!change.joined.delete(key)) change.left.set(key, userId)
    },
    forget (roomId) {
      clearTimeout(pending.get(roomId)?.timer)
      pending.delete(roomId)
    },
    close () {
      for (const [roomId, change] of pending) {
        clearTimeout(change.timer)
        sendChange(roomId, change)
      }
      pending.clear()
    }
  }
}
