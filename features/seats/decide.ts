import { Forbidden, userKeyOf } from 'flylive-audio-server/feature'
import type { Decision, Role, RoomEvent, UserId } from 'flylive-audio-server/feature'
import {
  AlreadySeated, CannotTargetSelf, InviteNotFound, InvitePending, NotSeated,
  SeatAlreadyLocked, SeatInvalid, SeatLocked, SeatNotLocked, SeatRequestNotFound, SeatRequestsFull, SeatTaken
} from './errors.ts'
import type { ClearReason } from './messages.ts'
import { holdersOf, isMuted, nextEnd, seatOf } from './state.ts'
import type { Invite, Seat, SeatState } from './state.ts'

// All rules of seats, locks, mutes, invites and requests are in this one function. It is
// pure, so that a store can make sure that it decided on what was the case, and so
// that a model can try it with thousands of commands.

/** Who commands, with what rights. */
export interface Actor {
  userId: UserId
  role: Role
  /** Whom an admin can't remove. Only needed for that. */
  ownerId?: UserId
}

export type Command =
  { type: 'take' | 'lock' | 'unlock', seatIndex: number } |
  { type: 'leave' } |
  { type: 'assign' | 'invite', userId: UserId, seatIndex: number } |
  { type: 'remove' | 'mute' | 'unmute', userId: UserId } |
  { type: 'accept' | 'decline', seatIndex?: number | undefined } |
  { type: 'selfMute', muted: boolean } |
  { type: 'request' } |
  { type: 'cancel', userId?: UserId | undefined } |
  // What follows comes from the server itself, for nobody.
  { type: 'gone', userId: UserId, reason: ClearReason } |
  { type: 'away', userIds: readonly UserId[], until: number } |
  // By user: whether they are in the room. Who is not named is waited for on.
  { type: 'tick', present: ReadonlyMap<string, boolean> } |
  { type: 'resize', seatCount: number }

/** How long an invite lives, in milliseconds (protocol.md, seat rules). */
export const inviteMs = 30_000
/** How long somebody who was put on a seat has to turn out to be in the room, in milliseconds. */
export const assignedMs = 5000

/**
 * How many may ask for a seat at a time. The document of a room is read and written as a
 * whole, and published to all servers, at each change of any seat: it has to stay
 * small, and a list of thousands would help no owner either.
 */
export const mostRequests = 200

/** What each command needs beyond being in the room (protocol.md, seat rules). */
const rights: Partial<Record<Command['type'], readonly Role[]>> = {
  assign: ['owner'],
  lock: ['owner', 'admin'],
  unlock: ['owner', 'admin'],
  mute: ['owner', 'admin'],
  unmute: ['owner', 'admin'],
  invite: ['owner', 'admin'],
  remove: ['owner', 'admin']
}

/** What it needs to lower the hand of somebody else. */
const ofOthers: readonly Role[] = ['owner', 'admin']

const same = (userId: UserId, other: UserId) => userKeyOf(userId) === userKeyOf(other)
/** Whether a command lowers a hand that is somebody else's, which not everybody may. */
const isOfOther = (command: Command, self: UserId) => command.type === 'cancel' && command.userId !== undefined && !same(command.userId, self)

/**
 * Whether a command needs to know what rights the one who commands has.
 *
 * @param self who commands
 */
export const needsRights = (command: Command, self: UserId): boolean => rights[command.type] !== undefined || isOfOther(command, self)

/** The seat a command came to, or the user. */
export interface Outcome {
  seatIndex?: number
  userId?: UserId
  invite?: Invite
}

/**
 * Decides on a command.
 *
 * @param state as it is; it is not changed
 * @param actor undefined for what the server itself commands
 * @param now epoch milliseconds
 * @returns the state that takes its place, if it does, and what everybody is told
 * @throws FORBIDDEN, SEAT_INVALID, SEAT_LOCKED, SEAT_NOT_LOCKED, SEAT_ALREADY_LOCKED, SEAT_TAKEN,
 *   NOT_SEATED, INVITE_PENDING, INVITE_NOT_FOUND, ALREADY_SEATED, SEAT_REQUESTS_FULL, SEAT_REQUEST_NOT_FOUND,
 *   CANNOT_TARGET_SELF
 */
export function decide (state: SeatState, command: Command, actor: Actor | undefined, now: number): Decision<SeatState, Outcome> {
  const next = structuredClone(state)
  const events: RoomEvent[] = []
  const self = actor?.userId ?? ''
  // Not everything that is kept is told.
  let changed = false
  const tell = (type: string, data: object) => {
    changed = true
    events.push({ type, data })
  }

  const on = (seatIndex: number) => next.seats.find((seat) => seat.seatIndex === seatIndex)
  const exists = (seatIndex: number) => { if (seatIndex >= next.seatCount) throw new SeatInvalid(seatIndex) }
  const notSelf = (userId: UserId) => { if (userKeyOf(userId) === userKeyOf(self)) throw new CannotTargetSelf() }
  const notOwner = (userId: UserId | undefined) => {
    if (userId !== undefined && actor?.role !== 'owner' && actor?.ownerId !== undefined && userKeyOf(userId) === userKeyOf(actor.ownerId)) {
      throw new Forbidden('Only the owner can take the owner off a seat')
    }
  }
  const seated = (userId: UserId): Seat => {
    const seat = seatOf(next, userKeyOf(userId))
    if (!seat) throw new NotSeated(userKeyOf(userId) === userKeyOf(self) ? 'You are not on a seat' : `The user ${userId} is not on a seat`)
    return seat
  }
  function clear (seat: Seat, reason: ClearReason): void {
    next.seats.splice(next.seats.indexOf(seat), 1)
    tell('seat:cleared', { seatIndex: seat.seatIndex, userId: seat.userId, reason })
  }
  function withdraw (gone: (invite: Invite) => boolean): void {
    for (const { seatIndex, userId } of next.invites.filter(gone)) {
      tell('seat:invite:pending', { seatIndex, isPending: false, invitedUserId: userId })
    }
    next.invites = next.invites.filter((invite) => !gone(invite))
  }
  function unlock (seatIndex: number): void {
    next.locked = next.locked.filter((index) => index !== seatIndex)
    tell('seat:locked', { seatIndex, isLocked: false })
  }
  /** @returns whether there was a request */
  function lower (userId: UserId): boolean {
    const left = next.requests.filter((request) => !same(request.userId, userId))
    if (left.length === next.requests.length) return false
    next.requests = left
    changed = true
    return true
  }
  function unmute (userId: UserId): void {
    next.muted = next.muted.filter((key) => key !== userKeyOf(userId))
  }
  function seatUser (userId: UserId, seatIndex: number, awayUntil?: number): void {
    const older = seatOf(next, userKeyOf(userId))
    if (older) clear(older, 'moved')
    lower(userId)
    // Nobody can accept a seat that is taken.
    withdraw((invite) => invite.seatIndex === seatIndex)
    next.seats.push({ seatIndex, userId, sitting: ++next.sittings, selfMuted: false, ...(awayUntil === undefined ? {} : { awayUntil }) })
    next.seats.sort((a, b) => a.seatIndex - b.seatIndex)
    tell('seat:updated', { seatIndex, userId, isMuted: isMuted(next, userId) })
  }
  function tellMute ({ userId, selfMuted }: Seat): void {
    tell('seat:userMuted', { userId, isMuted: isMuted(next, userId), selfMuted })
  }
  const done = (result: Outcome): Decision<SeatState, Outcome> =>
    changed ? { state: next, events, wakeAt: nextEnd(next), result } : { result }

  const allowed = isOfOther(command, self) ? ofOthers : rights[command.type]
  if (allowed && actor && !allowed.includes(actor.role)) {
    throw new Forbidden(allowed.includes('admin') ? 'Only the owner and admins of the room can do this' : 'Only the owner of the room can do this')
  }

  switch (command.type) {
    case 'take': {
      const { seatIndex } = command
      exists(seatIndex)
      const occupant = on(seatIndex)
      // Taking the seat one has changes nothing, also when it comes twice.
      if (occupant && userKeyOf(occupant.userId) === userKeyOf(self)) return done({ seatIndex })
      if (next.locked.includes(seatIndex)) throw new SeatLocked(seatIndex)
      if (occupant) throw new SeatTaken(seatIndex)
      seatUser(self, seatIndex)
      return done({ seatIndex })
    }
    case 'leave': {
      const seat = seated(self)
      clear(seat, 'left')
      return done({ seatIndex: seat.seatIndex })
    }
    case 'assign': {
      const { seatIndex, userId } = command
      exists(seatIndex)
      if (next.locked.includes(seatIndex)) throw new SeatLocked(seatIndex)
      const occupant = on(seatIndex)
      const silenced = isMuted(next, userId)
      unmute(userId)
      if (occupant && userKeyOf(occupant.userId) === userKeyOf(userId)) {
        if (silenced) tellMute(occupant)
        return done({ seatIndex })
      }
      if (occupant) clear(occupant, 'removed')
      // The user may have left the room since the owner saw them there.
      seatUser(userId, seatIndex, now + assignedMs)
      return done({ seatIndex })
    }
    case 'remove': {
      notSelf(command.userId)
      notOwner(command.userId)
      const seat = seated(command.userId)
      clear(seat, 'removed')
      return done({ userId: seat.userId })
    }
    case 'lock': {
      const { seatIndex } = command
      exists(seatIndex)
      if (next.locked.includes(seatIndex)) throw new SeatAlreadyLocked(seatIndex)
      const occupant = on(seatIndex)
      notOwner(occupant?.userId)
      if (occupant) clear(occupant, 'locked')
      next.locked = [...next.locked, seatIndex].sort((a, b) => a - b)
      tell('seat:locked', { seatIndex, isLocked: true })
      return done({ seatIndex })
    }
    case 'unlock': {
      const { seatIndex } = command
      exists(seatIndex)
      if (!next.locked.includes(seatIndex)) throw new SeatNotLocked(seatIndex)
      unlock(seatIndex)
      return done({ seatIndex })
    }
    case 'mute':
    case 'unmute': {
      const mute = command.type === 'mute'
      // Whom an admin has silenced in their own room need not wait for one to take it back.
      if (mute || actor?.role !== 'owner' || !isMuted(next, self)) notSelf(command.userId)
      const seat = seated(command.userId)
      if (isMuted(next, seat.userId) === mute) return done({ userId: seat.userId })
      if (mute) next.muted.push(userKeyOf(seat.userId))
      else unmute(seat.userId)
      tellMute(seat)
      return done({ userId: seat.userId })
    }
    case 'selfMute': {
      const seat = seatOf(next, userKeyOf(self))
      if (!seat || seat.selfMuted === command.muted) return done({})
      seat.selfMuted = command.muted
      tellMute(seat)
      return done({})
    }
    case 'invite': {
      const { seatIndex, userId } = command
      notSelf(userId)
      exists(seatIndex)
      if (on(seatIndex)) throw new SeatTaken(seatIndex)
      withdraw(({ expiresAt }) => expiresAt <= now)
      if (next.invites.some((invite) => invite.seatIndex === seatIndex)) throw new InvitePending(seatIndex)
      const invite = { seatIndex, userId, invitedById: self, expiresAt: now + inviteMs }
      next.invites.push(invite)
      tell('seat:invite:pending', { seatIndex, isPending: true, invitedUserId: userId })
      return done({ seatIndex, invite })
    }
    case 'accept':
    case 'decline': {
      const invite = next.invites.findLast(({ userId, seatIndex, expiresAt }) =>
        userKeyOf(userId) === userKeyOf(self) && (command.seatIndex ?? seatIndex) === seatIndex && expiresAt > now)
      if (!invite) throw new InviteNotFound(command.seatIndex === undefined ? '' : ` to seat ${command.seatIndex}`)
      const { seatIndex } = invite
      withdraw((other) => other === invite)
      if (command.type === 'decline') {
        // Whoever does not want the seat they are offered has nothing to ask for.
        lower(self)
        return done({ seatIndex })
      }
      if (next.locked.includes(seatIndex)) unlock(seatIndex)
      unmute(self)
      seatUser(self, seatIndex)
      return done({ seatIndex })
    }
    case 'request': {
      if (seatOf(next, userKeyOf(self))) throw new AlreadySeated()
      // Who asks again keeps their place in the order.
      if (next.requests.some(({ userId }) => same(userId, self))) return done({})
      if (next.requests.length >= mostRequests) throw new SeatRequestsFull(mostRequests)
      next.requests = [...next.requests, { userId: self, requestedAt: now }]
      changed = true
      return done({})
    }
    case 'cancel': {
      const { userId = self } = command
      if (!lower(userId)) throw new SeatRequestNotFound(same(userId, self) ? 'You have not asked for a seat' : `The user ${userId} has not asked for a seat`)
      return done({})
    }
    case 'gone': {
      const seat = seatOf(next, userKeyOf(command.userId))
      if (seat) clear(seat, command.reason)
      lower(command.userId)
      withdraw(({ userId }) => userKeyOf(userId) === userKeyOf(command.userId))
      return done({})
    }
    case 'away': {
      for (const userId of command.userIds) {
        const held = holdersOf(next).find((held) => same(held.userId, userId))
        if (!held) continue
        held.awayUntil = command.until
        changed = true
      }
      return done({})
    }
    case 'tick': {
      for (const held of holdersOf(next).filter(({ awayUntil = Infinity }) => awayUntil <= now)) {
        const present = command.present.get(userKeyOf(held.userId))
        if (present === false && 'seatIndex' in held) clear(held, 'disconnected')
        else if (present === false) lower(held.userId)
        if (present !== true) continue
        delete held.awayUntil
        changed = true
      }
      withdraw(({ expiresAt }) => expiresAt <= now)
      return done({})
    }
    case 'resize': {
      if (command.seatCount === next.seatCount) return done({})
      next.seatCount = command.seatCount
      for (const seat of next.seats.filter(({ seatIndex }) => seatIndex >= command.seatCount)) clear(seat, 'removed')
      withdraw(({ seatIndex }) => seatIndex >= command.seatCount)
      // A seat that comes back later is not locked.
      for (const seatIndex of next.locked.filter((index) => index >= command.seatCount)) unlock(seatIndex)
      tell('seat:count', { seatCount: command.seatCount })
      return done({})
    }
  }
}
