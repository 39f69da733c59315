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
  close (): Promise<void>
}

/** Which users are in a room, according to the store. */
export interface Present {
  count: number
  /** For each user key in the question: whether the user is in the room. */
  isPresent: readonly boolean[]
}

export interface PresenceOptions {
  /** Locks the room across all servers for one interval. Returns false if another server has the lock. */
  tryLock (roomId: string): Promise<boolean>
  /** Whether any of the room's members on this server has a large send queue. */
  isCongested (roomId: string): boolean
  /** @throws UNAVAILABLE */
  readPresent (roomId: string, userKeys: readonly string[]): Promise<Present>
  send (roomId: string, change: PresenceChange): void
}

/** A user who joined or left. */
interface UserChange {
  userId: UserId
  /** The profile of a user who joined; undefined if the user left. */
  profile: Profile | undefined
  /** When the user joined or left, on the clock of `performance.now()`. */
  since: number
  /**
   * Set if the store contradicts this change: until when to keep the change, on the clock of `performance.now()`.
   */
  keptUntil?: number
}

/** A room's changes, by user key. */
interface Pending {
  count: number
  users: Map<string, UserChange>
  timer: NodeJS.Timeout
  /** When the changes were due to be sent for the first time, on the clock of `performance.now()`. */
  dueAt: number
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
/** Maximum number of users that a server looks up in the store per room and interval. */
const maxChecked = 2500
/**
 * How long to keep a change that the store contradicts, in milliseconds. For example, a user left this server and has
 * joined on another server. The other server announces the join, and later the leave. But if the user leaves before the
 * other server announces anything, only this server can announce that the user left. The other server sends its changes
 * within this time, even if it has to wait for other servers.
 */
const keptMs = 10_000

/**
 * Announces joins and leaves in large rooms in batches. A user who joins and leaves between two events appears in
 * neither event.
 *
 * Each server sends the changes of its own users, at a time when these changes may be seconds old. Therefore, the server
 * reads from the store which of these users are in the room now. Otherwise, a user who moved from one server to another
 * could be announced as joined by the new server before the old server announces that the user left.
 *
 * While a member's send queue is large, no events are sent. Otherwise, many joins at once could fill the queue, and the
 * server would close the socket.
 */
export function createPresence ({ tryLock, isCongested, readPresent, send }: PresenceOptions): Presence {
  const pending = new Map<string, Pending>()
  let closed = false

  const hasNew = ({ users }: Pending) => users.values().some(({ keptUntil }) => keptUntil === undefined)

  function of (roomId: string): Pending {
    const existing = pending.get(roomId)
    if (existing) return existing
    const created = { count: 0, users: new Map(), timer: later(roomId, presenceIntervalMs), dueAt: performance.now() + presenceIntervalMs }
    pending.set(roomId, created)
    return created
  }

  function later (roomId: string, ms: number) {
    return setTimeout(() => { flush(roomId) }, ms)
  }

  /**
   * Sends the changes that are still true, if no other server has sent events in this interval.
   *
   * @returns after how many milliseconds to send the other changes
   */
  async function sendDue (roomId: string, room: Pending): Promise<number> {
    if (isCongested(roomId)) return retryMs
    // Kept changes alone rarely cause an event, so look them up before locking the room.
    if (!hasNew(room) && (await findDue(roomId, room)).size === 0) return presenceIntervalMs
    if (!await tryLock(roomId).catch(() => true)) {
      // The longer this server has waited, the more often it tries. Otherwise, servers that have just begun to wait
      // could overtake this server again and again.
      const waited = Math.floor(Math.max(0, performance.now() - room.dueAt) / presenceIntervalMs)
      return retryMs / 2 ** Math.min(waited, 3)
    }
    const due = await findDue(roomId, room)
    if (pending.get(roomId) === room) sendChanges(roomId, room, due, maxBurstBytes)
    room.dueAt = performance.now() + presenceIntervalMs
    // A server that waits tries in between, so that the servers take turns.
    return presenceIntervalMs + retryMs
  }

  async function flush (roomId: string) {
    const room = pending.get(roomId)
    if (!room) return
    const ms = room.users.size > 0 ? await sendDue(roomId, room) : 0
    if (pending.get(roomId) !== room) return
    if (room.users.size > 0) room.timer = later(roomId, ms)
    else pending.delete(roomId)
  }

  /**
   * Finds the changes to send. Changes that the store contradicts are kept for a while, and then removed.
   *
   * @returns changes by user key. If the store is unavailable, all changes, because each server then has only its own
   *   users
   */
  async function findDue (roomId: string, room: Pending): Promise<Map<string, UserChange>> {
    const checked = [...room.users.entries().take(maxChecked)]
    const present = await readPresent(roomId, checked.map(([userKey]) => userKey)).catch(() => undefined)
    if (!present) return new Map(checked)
    room.count = present.count
    const due = new Map<string, UserChange>()
    for (const [i, [userKey, change]] of checked.entries()) {
      const isTrue = present.isPresent[i] === (change.profile !== undefined)
      if (isTrue) due.set(userKey, change)
      // The user may have joined or left during the lookup, so that there is a new change.
      else if (room.users.get(userKey) === change) keep(room, userKey, change)
    }
    return due
  }

  function keep ({ users }: Pending, userKey: string, change: UserChange): void {
    const now = performance.now()
    const { keptUntil = now + keptMs } = change
    users.delete(userKey)
    if (keptUntil > now && !closed) users.set(userKey, { ...change, keptUntil })
  }

  /** Sends changes in events of limited size, and removes these changes from the pending ones. */
  function sendChanges (roomId: string, { count, users }: Pending, due: ReadonlyMap<string, UserChange>, maxBytes = Infinity) {
    const joined = new Map<string, Profile>()
    const left = new Map<string, UserId>()
    for (const [userKey, change] of due) {
      if (users.get(userKey) !== change) continue
      if (change.profile) joined.set(userKey, change.profile)
      else left.set(userKey, change.userId)
    }
    for (let bytes = 0; joined.size + left.size > 0 && bytes < maxBytes;) {
      const change = {
        count,
        joined: fitting([...joined.values().take(maxProfiles)], maxJoinedBytes),
        left: fitting([...left.values().take(maxLeft)], maxLeftBytes)
      }
      for (const key of change.joined.map(({ userId }) => userKeyOf(userId))) {
        joined.delete(key)
        users.delete(key)
      }
      for (const key of change.left.map(userKeyOf)) {
        left.delete(key)
        users.delete(key)
      }
      send(roomId, change)
      bytes += Buffer.byteLength(JSON.stringify(change))
    }
  }

  /**
   * Records a change. A change that undoes a recent change cancels it. An older change is replaced, because another
   * server may have announced the opposite since then.
   */
  function add (roomId: string, userId: UserId, profile: Profile | undefined, count: number): void {
    const room = of(roomId)
    const userKey = userKeyOf(userId)
    const before = room.users.get(userKey)
    const since = performance.now()
    room.count = count
    const isRecent = before && before.keptUntil === undefined && since - before.since < presenceIntervalMs
    if (isRecent && (before.profile === undefined) !== (profile === undefined)) room.users.delete(userKey)
    else room.users.set(userKey, { userId, profile, since })
  }

  return {
    pending (roomId) {
      const room = pending.get(roomId)
      return room !== undefined && hasNew(room)
    },
    joined: (roomId, user, count) => add(roomId, user.userId, user, count),
    left: (roomId, userId, count) => add(roomId, userId, undefined, count),
    forget (roomId) {
      clearTimeout(pending.get(roomId)?.timer)
      pending.delete(roomId)
    },
    async close () {
      closed = true
      const rooms = [...pending]
      pending.clear()
      await Promise.all(rooms.map(async ([roomId, room]) => {
        clearTimeout(room.timer)
        while (room.users.size > 0) sendChanges(roomId, room, await findDue(roomId, room))
      }))
    }
  }
}
