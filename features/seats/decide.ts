import { CannotTargetSelf, Forbidden, userKeyOf } from 'flylive-audio-server/feature'
import type { Decision, Role, RoomEvent, UserId } from 'flylive-audio-server/feature'
import {
  AlreadySeated, InviteNotFound, InvitePending, NotSeated,
  SeatAlreadyLocked, SeatInvalid, SeatLocked, SeatNotLocked, SeatRequestNotFound, SeatRequestsFull, SeatTaken
} from './errors.ts'
import type { ClearReason } from './messages.ts'
import { copyOf, holdersOf, isMuted, nextExpiry, seatOf } from './state.ts'
import type { Invite, Seat, SeatRequest, SeatState } from './state.ts'

// One pure function implements all rules for seats, locks, mutes, invites and requests. The store can
// therefore rerun the function on a newer version of the state, and a model test can run thousands of commands.

/** The user who sends a command, and their role. */
export interface Actor {
  userId: UserId
  role: Role
  /**
   * The owner of the room. Set only when an admin sends a command that must not affect the owner: `remove`, `lock` or
   * `muteAll`.
   */
  ownerId?: UserId
}

export type Command =
  { type: 'take' | 'lock' | 'unlock', seatIndex: number } |
  { type: 'leave' } |
  { type: 'assign' | 'invite', userId: UserId, seatIndex: number } |
  { type: 'remove' | 'mute' | 'unmute', userId: UserId } |
  { type: 'accept' | 'decline', seatIndex?: number | undefined } |
  { type: 'selfMute', muted: boolean } |
  // Mutes all seated users except the owner, the sender, and the users in `except`.
  { type: 'muteAll', except: readonly UserId[] } |
  { type: 'request' } |
  { type: 'cancel', userId?: UserId | undefined } |
  // The server issues the following commands itself, without an actor.
  { type: 'gone', userId: UserId, reason: ClearReason } |
  { type: 'away', userIds: readonly UserId[], until: number } |
  { type: 'back', userId: UserId } |
  // `present` says for each user key whether the user is in the room. Users without an entry stay unchanged.
  { type: 'tick', present: ReadonlyMap<string, boolean> } |
  { type: 'resize', seatCount: number }

/** Lifetime of an invite, in milliseconds (docs/protocol.md, "Seats"). */
export const inviteMs = 30_000
/** How long a seat is reserved for an assigned user who is not in the room, in milliseconds. */
export const assignGraceMs = 5000

/**
 * Maximum number of pending requests per room. Each change reads, writes and publishes the room's whole
 * seat state, so the state must stay small.
 */
export const maxRequests = 200

/** Maximum number of muted users per room. If a host mutes more users, the oldest mutes end. */
export const maxMuted = 500

/**
 * The roles that are allowed to send each command. Every member is allowed to send a command that is not listed
 * (docs/protocol.md, "Seats").
 */
const rights: Partial<Record<Command['type'], readonly Role[]>> = {
  assign: ['owner'],
  lock: ['owner', 'admin'],
  unlock: ['owner', 'admin'],
  mute: ['owner', 'admin'],
  muteAll: ['owner', 'admin'],
  unmute: ['owner', 'admin'],
  invite: ['owner', 'admin'],
  remove: ['owner', 'admin']
}

/** Roles that are allowed to cancel another user's seat request. */
const cancelOtherRoles: readonly Role[] = ['owner', 'admin']

const isSameUser = (userId: UserId, other: UserId) => userKeyOf(userId) === userKeyOf(other)
/** True if a command cancels another user's seat request. */
const cancelsOther = (command: Command, self: UserId) => command.type === 'cancel' && command.userId !== undefined && !isSameUser(command.userId, self)

/** True if the role of the sender (`self`) must be looked up before the command is applied. */
export const needsRights = (command: Command, self: UserId): boolean => rights[command.type] !== undefined || cancelsOther(command, self)

/** The seat, user or invite that a command affected. */
export interface Outcome {
  seatIndex?: number
  userId?: UserId
  invite?: Invite
  /** The users whom the command has muted. */
  userIds?: UserId[]
}

/**
 * Applies a command to a state.
 *
 * @param state the current state; not modified
 * @param actor undefined for the server's own commands
 * @param now epoch milliseconds
 * @returns the result and, if the state changed, the new state and the events for all members
 * @throws FORBIDDEN, SEAT_INVALID, SEAT_LOCKED, SEAT_NOT_LOCKED, SEAT_ALREADY_LOCKED, SEAT_TAKEN, NOT_SEATED,
 *   INVITE_PENDING, INVITE_NOT_FOUND, ALREADY_SEATED, SEAT_REQUESTS_FULL, SEAT_REQUEST_NOT_FOUND, CANNOT_TARGET_SELF
 */
export function decide (state: SeatState, command: Command, actor: Actor | undefined, now: number): Decision<SeatState, Outcome> {
  const next = copyOf(state)
  const events: RoomEvent[] = []
  const self = actor?.userId ?? ''
  // This flag is needed, because not every change emits an event.
  let changed = false
  const emit = (type: string, data: object) => {
    changed = true
    events.push({ type, data })
  }

  const seatAt = (seatIndex: number) => next.seats.find((seat) => seat.seatIndex === seatIndex)
  const assertSeatExists = (seatIndex: number) => { if (seatIndex >= next.seatCount) throw new SeatInvalid(seatIndex) }
  const assertNotSelf = (userId: UserId) => { if (userKeyOf(userId) === userKeyOf(self)) throw new CannotTargetSelf() }
  const assertNotOwner = (userId: UserId | undefined) => {
    if (userId !== undefined && actor?.role !== 'owner' && actor?.ownerId !== undefined && userKeyOf(userId) === userKeyOf(actor.ownerId)) {
      throw new Forbidden('Admins cannot remove the owner from a seat')
    }
  }
  const requireSeat = (userId: UserId): Seat => {
    const seat = seatOf(next, userKeyOf(userId))
    if (!seat) throw new NotSeated(userKeyOf(userId) === userKeyOf(self) ? 'You do not have a seat' : `User ${userId} does not have a seat`)
    return seat
  }
  /** Ends the grace period of a user who is in the room. */
  function endAway (holding: Seat | SeatRequest): void {
    delete holding.awayUntil
    changed = true
    // Members who joined while the user was away have not seen the raised hand.
    if (!('seatIndex' in holding)) emitHand(holding.userId, true)
  }
  function clear (seat: Seat, reason: ClearReason): void {
    next.seats.splice(next.seats.indexOf(seat), 1)
    emit('seat:cleared', { seatIndex: seat.seatIndex, userId: seat.userId, reason })
  }
  function endInvites (ends: (invite: Invite) => boolean): void {
    for (const { seatIndex, userId } of next.invites.filter(ends)) {
      emit('seat:invite:pending', { seatIndex, isPending: false, invitedUserId: userId })
    }
    next.invites = next.invites.filter((invite) => !ends(invite))
  }
  function unlock (seatIndex: number): void {
    next.locked = next.locked.filter((index) => index !== seatIndex)
    emit('seat:locked', { seatIndex, isLocked: false })
  }
  function emitHand (userId: UserId, handRaised: boolean): void {
    emit('seat:hand', { userId, handRaised })
  }
  /** @returns true if the user had a seat request */
  function removeRequest (userId: UserId): boolean {
    const removed = next.requests.find((request) => isSameUser(request.userId, userId))
    if (!removed) return false
    next.requests = next.requests.filter((request) => request !== removed)
    // In the command, the id may have a different type (number or string) than in the user's token.
    emitHand(removed.userId, false)
    return true
  }
  function mute (seats: readonly Seat[]): void {
    next.muted = [...next.muted, ...seats.map(({ userId }) => userKeyOf(userId))].slice(-maxMuted)
    seats.forEach(emitMute)
  }
  function unmute (userId: UserId): void {
    next.muted = next.muted.filter((key) => key !== userKeyOf(userId))
  }
  function seatUser (userId: UserId, seatIndex: number, awayUntil?: number): void {
    const previous = seatOf(next, userKeyOf(userId))
    if (previous) clear(previous, 'moved')
    removeRequest(userId)
    // The seat is now taken, so invites to this seat end.
    endInvites((invite) => invite.seatIndex === seatIndex)
    next.seats.push({ seatIndex, userId, sitting: ++next.sittings, selfMuted: false, ...(previous ? { seatedSince: previous.seatedSince ?? previous.sitting } : {}), ...(awayUntil === undefined ? {} : { awayUntil }) })
    next.seats.sort((a, b) => a.seatIndex - b.seatIndex)
    emit('seat:updated', { seatIndex, userId, isMuted: isMuted(next, userId) })
  }
  function emitMute ({ userId, selfMuted }: Seat): void {
    emit('seat:userMuted', { userId, isMuted: isMuted(next, userId), selfMuted })
  }
  const done = (result: Outcome): Decision<SeatState, Outcome> =>
    changed ? { state: next, events, wakeAt: nextExpiry(next), result } : { result }

  const allowed = cancelsOther(command, self) ? cancelOtherRoles : rights[command.type]
  if (allowed && actor && !allowed.includes(actor.role)) {
    throw new Forbidden(allowed.includes('admin') ? 'Only the owner and admins of the room may do this' : 'Only the owner of the room may do this')
  }

  switch (command.type) {
    case 'take': {
      const { seatIndex } = command
      assertSeatExists(seatIndex)
      const occupant = seatAt(seatIndex)
      // If the user already has this seat, do nothing, so that a repeated request succeeds.
      if (occupant && userKeyOf(occupant.userId) === userKeyOf(self)) return done({ seatIndex })
      if (next.locked.includes(seatIndex)) throw new SeatLocked(seatIndex)
      if (occupant) throw new SeatTaken(seatIndex)
      seatUser(self, seatIndex)
      return done({ seatIndex })
    }
    case 'leave': {
      const seat = requireSeat(self)
      clear(seat, 'left')
      return done({ seatIndex: seat.seatIndex })
    }
    case 'assign': {
      const { seatIndex, userId } = command
      assertSeatExists(seatIndex)
      if (next.locked.includes(seatIndex)) throw new SeatLocked(seatIndex)
      const occupant = seatAt(seatIndex)
      const wasMuted = isMuted(next, userId)
      unmute(userId)
      if (occupant && userKeyOf(occupant.userId) === userKeyOf(userId)) {
        if (wasMuted) emitMute(occupant)
        return done({ seatIndex })
      }
      if (occupant) clear(occupant, 'removed')
      // The caller has checked that the user is in the room, but the user may have left since then.
      seatUser(userId, seatIndex, now + assignGraceMs)
      return done({ seatIndex })
    }
    case 'remove': {
      assertNotSelf(command.userId)
      assertNotOwner(command.userId)
      const seat = requireSeat(command.userId)
      clear(seat, 'removed')
      return done({ userId: seat.userId })
    }
    case 'lock': {
      const { seatIndex } = command
      assertSeatExists(seatIndex)
      if (next.locked.includes(seatIndex)) throw new SeatAlreadyLocked(seatIndex)
      const occupant = seatAt(seatIndex)
      assertNotOwner(occupant?.userId)
      if (occupant) clear(occupant, 'locked')
      next.locked = [...next.locked, seatIndex].sort((a, b) => a - b)
      emit('seat:locked', { seatIndex, isLocked: true })
      return done({ seatIndex })
    }
    case 'unlock': {
      const { seatIndex } = command
      assertSeatExists(seatIndex)
      if (!next.locked.includes(seatIndex)) throw new SeatNotLocked(seatIndex)
      unlock(seatIndex)
      return done({ seatIndex })
    }
    case 'mute':
    case 'unmute': {
      const isMute = command.type === 'mute'
      // An owner whom an admin has muted is allowed to unmute themselves.
      if (isMute || actor?.role !== 'owner' || !isMuted(next, self)) assertNotSelf(command.userId)
      const seat = requireSeat(command.userId)
      if (isMuted(next, seat.userId) === isMute) return done({ userId: seat.userId })
      if (isMute) {
        mute([seat])
      } else {
        unmute(seat.userId)
        emitMute(seat)
      }
      return done({ userId: seat.userId })
    }
    case 'muteAll': {
      const isExcepted = ({ userId }: Seat) => [self, actor?.ownerId, ...command.except].some((user) => user !== undefined && isSameUser(user, userId))
      const seats = next.seats.filter((seat) => !isExcepted(seat) && !isMuted(next, seat.userId))
      mute(seats)
      return done({ userIds: seats.map(({ userId }) => userId) })
    }
    case 'selfMute': {
      const seat = seatOf(next, userKeyOf(self))
      if (!seat || seat.selfMuted === command.muted) return done({})
      seat.selfMuted = command.muted
      emitMute(seat)
      return done({})
    }
    case 'invite': {
      const { seatIndex, userId } = command
      assertNotSelf(userId)
      assertSeatExists(seatIndex)
      if (seatAt(seatIndex)) throw new SeatTaken(seatIndex)
      endInvites(({ expiresAt }) => expiresAt <= now)
      if (next.invites.some((invite) => invite.seatIndex === seatIndex)) throw new InvitePending(seatIndex)
      const invite = { seatIndex, userId, invitedById: self, expiresAt: now + inviteMs }
      next.invites.push(invite)
      emit('seat:invite:pending', { seatIndex, isPending: true, invitedUserId: userId })
      return done({ seatIndex, invite })
    }
    case 'accept':
    case 'decline': {
      const invite = next.invites.findLast(({ userId, seatIndex, expiresAt }) =>
        userKeyOf(userId) === userKeyOf(self) && (command.seatIndex ?? seatIndex) === seatIndex && expiresAt > now)
      if (!invite) throw new InviteNotFound(command.seatIndex === undefined ? 'You have no pending invite' : `You have no pending invite to seat ${command.seatIndex}`)
      const { seatIndex } = invite
      endInvites((other) => other === invite)
      if (command.type === 'decline') {
        // Declining an invite also removes the user's seat request.
        removeRequest(self)
        return done({ seatIndex })
      }
      if (next.locked.includes(seatIndex)) unlock(seatIndex)
      unmute(self)
      seatUser(self, seatIndex)
      return done({ seatIndex })
    }
    case 'request': {
      if (seatOf(next, userKeyOf(self))) throw new AlreadySeated()
      // A repeated request keeps its position in the queue.
      if (next.requests.some(({ userId }) => isSameUser(userId, self))) return done({})
      if (next.requests.length >= maxRequests) throw new SeatRequestsFull(maxRequests)
      next.requests = [...next.requests, { userId: self, requestedAt: now }]
      emitHand(self, true)
      return done({})
    }
    case 'cancel': {
      const { userId = self } = command
      if (!removeRequest(userId)) throw new SeatRequestNotFound(isSameUser(userId, self) ? 'You have not requested a seat' : `User ${userId} has not requested a seat`)
      return done({})
    }
    case 'gone': {
      const seat = seatOf(next, userKeyOf(command.userId))
      if (seat) clear(seat, command.reason)
      removeRequest(command.userId)
      endInvites(({ userId }) => userKeyOf(userId) === userKeyOf(command.userId))
      return done({})
    }
    case 'away': {
      for (const userId of command.userIds) {
        const holding = holdersOf(next).find((holding) => isSameUser(holding.userId, userId))
        if (!holding) continue
        holding.awayUntil = command.until
        changed = true
      }
      return done({})
    }
    case 'back': {
      const holding = holdersOf(next).find(({ userId }) => isSameUser(userId, command.userId))
      if (holding?.awayUntil !== undefined) endAway(holding)
      return done({})
    }
    case 'tick': {
      for (const holding of holdersOf(next).filter(({ awayUntil = Infinity }) => awayUntil <= now)) {
        const present = command.present.get(userKeyOf(holding.userId))
        if (present === false && 'seatIndex' in holding) clear(holding, 'disconnected')
        else if (present === false) removeRequest(holding.userId)
        if (present === true) endAway(holding)
      }
      endInvites(({ expiresAt }) => expiresAt <= now)
      return done({})
    }
    case 'resize': {
      if (command.seatCount === next.seatCount) return done({})
      next.seatCount = command.seatCount
      for (const seat of next.seats.filter(({ seatIndex }) => seatIndex >= command.seatCount)) clear(seat, 'removed')
      endInvites(({ seatIndex }) => seatIndex >= command.seatCount)
      // If a later resize adds these seats again, the seats must not be locked.
      for (const seatIndex of next.locked.filter((index) => index >= command.seatCount)) unlock(seatIndex)
      emit('seat:count', { seatCount: command.seatCount })
      return done({})
    }
  }
}
