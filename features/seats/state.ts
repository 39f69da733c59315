import { userId, userKeyOf, z } from 'flylive-audio-server/feature'
import type { RoomEvent, RoomStateHandle, UserId } from 'flylive-audio-server/feature'

// The stored state of a room's seats, and views of it.

/** Epoch milliseconds. */
const time = z.number()

const seat = z.object({
  seatIndex: z.int(),
  userId,
  /** Identifies this stay on the seat among all of the room; permissions given for it end with it. */
  sitting: z.int(),
  /** The user's own choice, from the media feature. */
  selfMuted: z.boolean(),
  /** The seat is released at that time unless its user is in the room then; undefined while the user is known to be in the room. */
  awayUntil: time.optional()
})

const invite = z.object({ seatIndex: z.int(), userId, invitedById: userId, expiresAt: time })

/** A raised hand: a member without a seat requests one. */
const request = z.object({
  userId,
  requestedAt: time,
  /** The request ends at that time unless its user is in the room then. */
  awayUntil: time.optional()
})

/** The seats of a room, as the store has them. */
export const seatState = z.object({
  seatCount: z.int(),
  /** Taken seats, by index. */
  seats: z.array(seat),
  locked: z.array(z.int()),
  /** The latest last. */
  invites: z.array(invite),
  /**
   * Keys of users whom the owner or an admin has muted. A mute lasts until it is
   * taken back, or until one of them puts the user on a seat: leaving the seat
   * and taking it again does not end it.
   */
  muted: z.array(z.string()),
  sittings: z.int(),
  /** In the order in which they were made. */
  requests: z.array(request).default([])
})

export type Seat = z.output<typeof seat>
export type Invite = z.output<typeof invite>
export type SeatRequest = z.output<typeof request>
export type SeatState = z.output<typeof seatState>
export type SeatStateHandle = RoomStateHandle<SeatState>

export const noSeats = (seatCount: number): SeatState => ({ seatCount, seats: [], locked: [], invites: [], muted: [], sittings: 0, requests: [] })

export const seatOf = (state: SeatState | undefined, userKey: string): Seat | undefined =>
  state?.seats.find((seat) => userKeyOf(seat.userId) === userKey)

/** All who must be in the room for what they have: a seat, or a request for one. */
export const holdersOf = (state: SeatState | undefined): readonly (Seat | SeatRequest)[] => [...state?.seats ?? [], ...state?.requests ?? []]

export const isMuted = (state: SeatState, userId: UserId): boolean => state.muted.includes(userKeyOf(userId))

/** Seats as members and admins are told of them. */
export interface SeatsView {
  seatCount: number
  seats: { seatIndex: number, userId: UserId, isMuted: boolean }[]
  lockedSeats: number[]
}

export function viewOf (state: SeatState): SeatsView {
  return {
    seatCount: state.seatCount,
    seats: state.seats.map(({ seatIndex, userId }) => ({ seatIndex, userId, isMuted: isMuted(state, userId) })),
    lockedSeats: state.locked
  }
}

/** A request as those are told of it who may hear of it. */
export type SeatRequestView = Pick<SeatRequest, 'userId' | 'requestedAt'>

export const viewOfRequests = (state: SeatState | undefined): SeatRequestView[] =>
  (state?.requests ?? []).map(({ userId, requestedAt }) => ({ userId, requestedAt }))

/** When something ends by itself, epoch milliseconds; undefined when nothing does. */
export function nextEnd (state: SeatState): number | undefined {
  const ends = [...holdersOf(state).map(({ awayUntil = Infinity }) => awayUntil), ...state.invites.map(({ expiresAt }) => expiresAt)]
  const first = Math.min(...ends)
  return Number.isFinite(first) ? first : undefined
}

/**
 * How somebody who knows one state gets to another: what is told to members
 * who have missed the changes between. Nothing of requests, which not all may
 * hear of: those who may are told all of them at each change (hands.ts).
 */
export function difference (from: SeatState | undefined, to: SeatState): RoomEvent[] {
  const before = from ?? noSeats(to.seatCount)
  const events: RoomEvent[] = []
  // Who was off a seat and is on it again is told so: what was allowed for the time before has ended.
  const sits = (state: SeatState, { seatIndex, userId, sitting }: Seat) =>
    state.seats.find((seat) => seat.seatIndex === seatIndex && seat.sitting === sitting && userKeyOf(seat.userId) === userKeyOf(userId))
  for (const seat of before.seats) {
    const { seatIndex, userId } = seat
    if (!sits(to, seat)) events.push({ type: 'seat:cleared', data: { seatIndex, userId, reason: seatOf(to, userKeyOf(userId)) ? 'moved' : 'left' } })
  }
  for (const seatIndex of before.locked) if (!to.locked.includes(seatIndex)) events.push({ type: 'seat:locked', data: { seatIndex, isLocked: false } })
  for (const seatIndex of to.locked) if (!before.locked.includes(seatIndex)) events.push({ type: 'seat:locked', data: { seatIndex, isLocked: true } })
  for (const { seatIndex, userId } of before.invites) {
    if (!to.invites.some((invite) => invite.seatIndex === seatIndex)) events.push({ type: 'seat:invite:pending', data: { seatIndex, isPending: false, invitedUserId: userId } })
  }
  for (const { seatIndex, userId } of to.invites) {
    if (!before.invites.some((invite) => invite.seatIndex === seatIndex && invite.userId === userId)) events.push({ type: 'seat:invite:pending', data: { seatIndex, isPending: true, invitedUserId: userId } })
  }
  if (before.seatCount !== to.seatCount) events.push({ type: 'seat:count', data: { seatCount: to.seatCount } })
  for (const seat of to.seats) {
    const { seatIndex, userId, selfMuted } = seat
    const was = sits(before, seat)
    if (!was) events.push({ type: 'seat:updated', data: { seatIndex, userId, isMuted: isMuted(to, userId) } })
    // Whoever has just sat down is taken for one who speaks.
    if (was ? isMuted(before, userId) !== isMuted(to, userId) || was.selfMuted !== selfMuted : selfMuted) events.push({ type: 'seat:userMuted', data: { userId, isMuted: isMuted(to, userId), selfMuted } })
  }
  return events
}
