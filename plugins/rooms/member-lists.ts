import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { createEvent } from '../connections/face.ts'
import type { OutgoingEvent } from '../connections/face.ts'
import { userKeyOf } from '../connections/session.ts'
import type { Profile, UserId } from '../connections/session.ts'
import type { Announcements } from './announcements.ts'
import type { events } from './messages.ts'
import { deliver, noKnownUsers } from './node-rooms.ts'
import type { LocalRoom } from './node-rooms.ts'
import type { Unsynced } from './sync.ts'

/**
 * Keeps a list per room of the users whom the members on this server know, and announces joins and leaves that these
 * members have missed. Keeps no list for big rooms, which receive `room:presence`. If the list of a smaller room is
 * incomplete, {@link MemberLists.check} completes it from the store.
 */
export interface MemberLists {
  /** Records users from a reply to a member on this server. */
  listed (room: LocalRoom, users: readonly Readonly<Profile>[], count: number): void
  /**
   * Records the users in an event that is about to be delivered.
   *
   * @returns false if the event must not be delivered to members, because they already know that the user has left.
   *   Clients would subtract the user twice from the number of users
   */
  announced (room: LocalRoom, event: OutgoingEvent): boolean
  /**
   * Call this if the members on this server may have missed events. The check follows after the time in which all
   * servers write their members to the store again.
   */
  checkLater (room: LocalRoom): void
  /**
   * Compares the rooms whose check is due with the store, in one round trip per room, and sends the missed events to the
   * members on this server. Also announces users again who are in the room with a session on this server, although an
   * event has announced that they left.
   *
   * @throws UNAVAILABLE, in which case the next call continues
   */
  check (announcements: Pick<Announcements, 'stayed'>): Promise<void>
}

/** Maximum number of users to remember per room. A script can read this number of users from Redis at once. */
const maxKnown = 1000

type Data<T extends keyof typeof events> = z.input<(typeof events)[T]>

/** Reads the type from the text, because parsing every event would be expensive. */
const typeOf = ({ text }: OutgoingEvent) => /^\{"type":"room:(userJoined|userLeft|presence)"/.exec(text)?.[1]
const countOf = ({ text }: OutgoingEvent) => Number(/"count":(\d+)/.exec(text)?.[1])

export function createMemberLists ({ config, messages, store, timings }: Pick<FastifyInstance, 'config' | 'messages' | 'store' | 'timings'>, unsynced: Unsynced): MemberLists {
  const limit = Math.min(config.PRESENCE_COALESCE_OVER, maxKnown)
  // When to check a room, on the clock of `performance.now()`.
  const dueAt = new Map<LocalRoom, number>()
  // The room that is being compared with the store, and the users about whom events have arrived since then.
  let comparing: { room: LocalRoom, changed: Set<string> } | undefined
  // The users with a session on this server whose leave has been announced, by user key. A user who moves from a slow
  // server to this server can be announced as joined here before the slow server announces that the user left.
  const doubtful = new Map<LocalRoom, Set<string>>()

  // The rooms that were too big when they were last compared. If PRESENCE_COALESCE_OVER is higher than the limit, these
  // rooms receive room:userJoined events, which would otherwise cause another comparison every few seconds.
  const big = new WeakSet<LocalRoom>()

  const isMember = ({ members }: LocalRoom, userKey: string) => members.values().some((session) => session.userKey === userKey)

  function forget (room: LocalRoom): void {
    room.known = noKnownUsers()
  }

  function add (room: LocalRoom, userId: UserId): void {
    const userKey = userKeyOf(userId)
    if (!big.has(room)) room.known.users.set(userKey, { userId, toAll: true })
    if (comparing?.room === room) comparing.changed.add(userKey)
  }

  /** @returns false if the members already know that the user has left */
  function remove (room: LocalRoom, userId: UserId): boolean {
    const userKey = userKeyOf(userId)
    if (comparing?.room === room) comparing.changed.add(userKey)
    if (isMember(room, userKey)) doubtful.set(room, (doubtful.get(room) ?? new Set()).add(userKey))
    const { known } = room
    const isSettled = known.complete && performance.now() >= known.settledAt
    const isNews = known.users.delete(userKey) || (!isSettled && !known.gone.has(userKey))
    if (isSettled) known.gone.clear()
    else if (!big.has(room)) known.gone.add(userKey)
    return isNews
  }

  /**
   * Announces users who are in the room according to the store, unless another event has announced them since their
   * leave.
   */
  async function announceDoubtful (room: LocalRoom, userKeys: Set<string>, announcements: Pick<Announcements, 'stayed'>): Promise<void> {
    const { roomId } = room
    const asked = [...userKeys].filter((userKey) => isMember(room, userKey) && !room.known.users.has(userKey))
    if (asked.length === 0) return
    const [profiles, { count }] = await Promise.all([store.getMembers(roomId, asked), store.listParticipants(roomId, 0, 1)])
    for (const [i, userKey] of asked.entries()) {
      const profile = profiles[i]
      if (profile && isMember(room, userKey) && !room.known.users.has(userKey)) announcements.stayed(roomId, profile, count)
    }
  }

  function addPresence (room: LocalRoom, { count, joined, left }: Data<'room:presence'>): void {
    if (count > limit) return forget(room)
    for (const { userId } of joined) add(room, userId)
    for (const userId of left) remove(room, userId)
  }

  function send (room: LocalRoom, type: 'room:userJoined' | 'room:userLeft', data: object): void {
    const event = createEvent(type, data)
    messages.checkEvent(type, event.data)
    deliver(room, event)
  }

  function checkLater (room: LocalRoom): void {
    dueAt.set(room, performance.now() + timings.recoveryMs)
  }

  /** Completes an incomplete list later, because the members may not have received the latest events yet. */
  function completeLater (room: LocalRoom): void {
    if (!room.known.complete && !big.has(room) && !dueAt.has(room)) checkLater(room)
  }

  async function compare (room: LocalRoom): Promise<void> {
    const { roomId, known } = room
    const changed = new Set<string>()
    comparing = { room, changed }
    const { arrivals, count } = await store.listParticipants(roomId, 0, limit).finally(() => { comparing = undefined })
    // The room may have been closed during the comparison.
    if (room.known !== known) return
    if (count > limit) {
      big.add(room)
      return forget(room)
    }
    big.delete(room)
    const present = new Map(arrivals.map(({ profile }) => [userKeyOf(profile.userId), profile]))
    if (room.members.values().some(({ userKey }) => !present.has(userKey))) {
      // The store has lost the room's members again, so compare the room after the next sync.
      unsynced.add(roomId)
      checkLater(room)
      return
    }
    // An event that arrived during the comparison may be newer than the list from the store.
    for (const userKey of changed) present.delete(userKey)
    for (const [userKey, { userId }] of known.users) {
      if (present.has(userKey) || changed.has(userKey)) continue
      known.users.delete(userKey)
      known.gone.add(userKey)
      send(room, 'room:userLeft', { roomId, userId } satisfies Data<'room:userLeft'>)
    }
    for (const [userKey, user] of present) {
      const { userId } = user
      const isMissed = known.complete && known.users.get(userKey)?.toAll !== true
      known.users.set(userKey, { userId, toAll: true })
      if (isMissed) send(room, 'room:userJoined', { roomId, userId, user } satisfies Data<'room:userJoined'>)
    }
    if (known.complete) return
    known.complete = true
    known.settledAt = performance.now() + timings.recoveryMs
  }

  return {
    listed (room, users, count) {
      const { known } = room
      if (count > limit || known.users.size > 2 * limit) return forget(room)
      big.delete(room)
      for (const { userId } of users) {
        const userKey = userKeyOf(userId)
        if (!known.users.has(userKey)) known.users.set(userKey, { userId, toAll: !known.complete })
      }
      if (users.length < count) return completeLater(room)
      // A user who is not in the complete list has left, but may join again before the members receive the leave.
      const listed = new Set(users.map(({ userId }) => userKeyOf(userId)))
      for (const [userKey, user] of known.users) if (!listed.has(userKey)) user.toAll = false
      known.complete = true
    },
    announced (room, event) {
      const { known } = room
      switch (typeOf(event)) {
        case 'userJoined':
          add(room, (event.data as Data<'room:userJoined'>).userId)
          completeLater(room)
          break
        case 'userLeft':
          completeLater(room)
          return remove(room, (event.data as Data<'room:userLeft'>).userId)
        case 'presence':
          // In a big room, nothing is known, so do not parse the event.
          if (known.complete || known.users.size > 0) addPresence(room, event.data as Data<'room:presence'>)
          if (countOf(event) > limit) break
          big.delete(room)
          completeLater(room)
      }
      return true
    },
    checkLater,
    async check (announcements) {
      for (const [room, userKeys] of doubtful) {
        doubtful.delete(room)
        try {
          await announceDoubtful(room, userKeys, announcements)
        } catch (error) {
          doubtful.set(room, userKeys.union(doubtful.get(room) ?? new Set()))
          throw error
        }
      }
      for (const [room, due] of dueAt) {
        if (performance.now() < due) continue
        if (room.members.size > 0) await compare(room)
        // An interruption during the comparison requires another check.
        if (dueAt.get(room) === due) dueAt.delete(room)
      }
    }
  }
}
