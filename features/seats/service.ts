import { isCoded, NotInRoom, userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, LeaveReason, LocalRoom, Session, UserId } from 'flylive-audio-server/feature'
import { decide, needsRights } from './decide.ts'
import type { Actor, Command, Outcome } from './decide.ts'
import type { Hands } from './hands.ts'
import { holdersOf, nextEnd, noSeats, viewOf } from './state.ts'
import type { SeatState, SeatStateHandle, SeatsView } from './state.ts'

/** Who sits where, and who decides. */
export interface Seats {
  /** Who hears of requests for seats. */
  /** Seats of a room with members on this server; undefined while nobody has done anything about them. */
  peek (roomId: string): SeatState | undefined
  /**
   * Seats of a room as the store has them.
   *
   * @throws UNAVAILABLE
   */
  read (roomId: string): Promise<SeatState | undefined>
  /** For each room who sits there; undefined where nobody has done anything about seats, or there is no such room. */
  seatsOf (roomIds: readonly string[]): Promise<(SeatsView | undefined)[]>
  /**
   * Does what a member of a room commands, all of it or nothing.
   *
   * @throws what {@link decide} throws; NOT_IN_ROOM when it is about somebody who is not; UNAVAILABLE
   */
  act (room: LocalRoom, session: Session, command: Command): Promise<Outcome>
  /**
   * Gives a room another number of seats; those that vanish are cleared.
   *
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  resize (roomId: string, seatCount: number): Promise<void>
  /** A user is out of a room: the seat is free and the hand down, or they wait when it was the connection that broke. */
  left (roomId: string, userId: UserId, reason: LeaveReason): Promise<void>
  /** Who sits there, or asks for a seat, without being in the room is found, and waited for. */
  lookForAbsent (roomId: string): Promise<void>
  /** Ends what has come to its end: invites, and seats and requests that have waited for their users. */
  tick (roomId: string): Promise<void>
}

/** @param graceMs how long a seat, or a request for one, waits for its user after a lost connection */
export function createSeats (app: FeatureInstance, seatState: SeatStateHandle, graceMs: number, hands: Hands): Seats {
  const { log, rooms, sockets, store } = app

  /** @param seatCount of a room in which nobody has done anything about seats; without it there is then nothing to change */
  function command (roomId: string, what: Command, actor?: Actor, seatCount?: number): Promise<Outcome> {
    return seatState.change<Outcome>(roomId, (state) => {
      const now = state ?? (seatCount === undefined ? undefined : noSeats(seatCount))
      return now ? decide(now, what, actor, Date.now()) : { result: {} }
    })
  }

  async function actorOf (room: LocalRoom, session: Session, what: Command): Promise<Actor> {
    const { type } = what
    const userId = session.user.id
    if (!needsRights(what, userId)) return { userId, role: 'member' }
    const role = await rooms.roleOf(room.record, session)
    hands.learn(room, session, role)
    if (role !== 'admin' || (type !== 'remove' && type !== 'lock')) return { userId, role }
    return { userId, role, ownerId: await rooms.ownerOf(room.record) }
  }

  /** A member's id in the form of the user's token. */
  async function memberOf (roomId: string, userId: UserId): Promise<UserId> {
    for (const session of sockets.ofUser(userKeyOf(userId))) if (session.roomId === roomId) return session.user.id
    const [profile] = await store.getMembers(roomId, [userKeyOf(userId)])
    if (!profile) throw new NotInRoom(`the room ${roomId}: the user ${userId} is not`)
    return profile.userId
  }

  return {
    peek: seatState.peek,
    read: seatState.read,
    async seatsOf (roomIds) {
      return (await seatState.readMany(roomIds)).map((state) => state && viewOf(state))
    },
    async act (room, session, what) {
      const { roomId } = room
      const actor = await actorOf(room, session, what)
      const named = what.type === 'assign' || what.type === 'invite' ? { ...what, userId: await memberOf(roomId, what.userId) } : what
      const outcome = await command(roomId, named, actor, room.record.seatCount)
      // Another of the user's sockets may have left after this one, and before this was done.
      if (session.roomId !== roomId) await this.lookForAbsent(roomId)
      if (outcome.invite) {
        const { userId, seatIndex, invitedById, expiresAt } = outcome.invite
        await sockets.toUser(userId, 'seat:invite:received', { roomId, seatIndex, invitedById, expiresAt })
      }
      return outcome
    },
    async resize (roomId, seatCount) {
      const room = await store.getRoom(roomId)
      await command(roomId, { type: 'resize', seatCount }, undefined, room?.seatCount ?? seatCount)
    },
    async left (roomId, userId, reason) {
      if (reason === 'closed') return
      // What is known here may not have it yet that the user sat down a moment ago. Of many
      // who leave at a time all are looked for in one round trip.
      const what: Command = reason === 'disconnected'
        ? { type: 'away', userIds: [userId], until: Date.now() + graceMs }
        : { type: 'gone', userId, reason: reason === 'kicked' ? 'removed' : 'left' }
      await command(roomId, what)
    },
    async lookForAbsent (roomId) {
      const held = holdersOf(await seatState.read(roomId)).filter(({ awayUntil }) => awayUntil === undefined)
      if (held.length === 0) return
      const members = await store.getMembers(roomId, held.map(({ userId }) => userKeyOf(userId)))
      const userIds = held.map(({ userId }) => userId).filter((_, i) => members[i] === undefined)
      if (userIds.length > 0) await command(roomId, { type: 'away', userIds, until: Date.now() + graceMs })
    },
    async tick (roomId) {
      try {
        const before = await seatState.read(roomId)
        if (!before) return
        const due = holdersOf(before).filter(({ awayUntil = Infinity }) => awayUntil <= Date.now()).map(({ userId }) => userKeyOf(userId))
        const members = await store.getMembers(roomId, due)
        await command(roomId, { type: 'tick', present: new Map(due.map((key, i) => [key, members[i] !== undefined])) })
        const after = await seatState.read(roomId)
        const end = after && nextEnd(after)
        if (end !== undefined) await seatState.wakeAt(roomId, end)
      } catch (error) {
        if (!isCoded(error) || error.code !== 'ROOM_NOT_FOUND') throw error
        log.debug({ roomId }, 'the room whose seats were to be looked at is closed')
      }
    }
  }
}
