import { userId, userKeyOf, z } from 'flylive-audio-server/feature'
import type { RoomEvent, RoomRecord, RoomStateHandle, UserId } from 'flylive-audio-server/feature'
import { joinRequest } from './messages.ts'

// The stored state of a room's seats, and views of this state.

/** Epoch milliseconds. */
const time = z.number()

const seat = z.object({
  seatIndex: z.int(),
  userId,
  /** Unique id of the user's stay in this seat. A permission to send audio is valid only for one stay. */
  sitting: z.int(),
  /**
   * If the user has moved to this seat from another seat, the `sitting` of the user's first seat. This field orders
   * users by how long they have been seated.
   */
  seatedSince: z.int().optional(),
  /** Whether the user muted themselves, as reported by the media feature. */
  selfMuted: z.boolean(),
  /**
   * When the seat is released if its occupant is not in the room by then. Set for disconnected and newly assigned
   * users.
   */
  awayUntil: time.optional()
})

const invite = z.object({ seatIndex: z.int(), userId, invitedById: userId, expiresAt: time })

/** A raised hand: a seat request from a member without a seat. */
const request = z.object({
  userId,
  requestedAt: time,
  /** When the request is removed if the user is not in the room by then. Set for disconnected users. */
  awayUntil: time.optional()
})

/** A room's seats, as stored. */
export const seatState = z.object({
  seatCount: z.int(),
  /** Taken seats, ordered by index. */
  seats: z.array(seat),
  locked: z.array(z.int()),
  /** Oldest first. */
  invites: z.array(invite),
  /**
   * Keys of the users whom the owner or an admin has muted. A mute ends when the user is unmuted, is assigned a seat or
   * accepts an invite. A mute does not end when the user leaves the seat and takes a seat again.
   */
  muted: z.array(z.string()),
  sittings: z.int(),
  /** Oldest first. */
  requests: z.array(request).default([]),
  /**
   * Increases with each change, even after a restart of the server, because the value is at least the time of the
   * change in epoch milliseconds.
   */
  revision: z.number().default(0)
})

export type Seat = z.output<typeof seat>
export type Invite = z.output<typeof invite>
export type SeatRequest = z.output<typeof request>
export type SeatState = z.output<typeof seatState>
export type SeatStateHandle = RoomStateHandle<SeatState>

export const noSeats = (seatCount: number): SeatState => ({ seatCount, seats: [], locked: [], invites: [], muted: [], sittings: 0, requests: [], revision: 0 })

/** @returns a copy whose lists and entries can be changed; this function is faster than `structuredClone` */
export const copyOf = (state: SeatState): SeatState => ({
  ...state,
  seats: state.seats.map((seat) => ({ ...seat })),
  locked: [...state.locked],
  invites: state.invites.map((invite) => ({ ...invite })),
  muted: [...state.muted],
  requests: state.requests.map((request) => ({ ...request }))
})

/**
 * @returns the part of the state that survives a restart: the number of seats, the locks and the mutes. The rest is
 *   dropped, because nobody is in the room after a restart
 */
export const lastingSeats = ({ seatCount, locked, muted }: SeatState): SeatState => ({ ...noSeats(seatCount), locked, muted })

/** @returns the seats of a room before its first seat command */
export const initialSeats = ({ options }: Pick<RoomRecord, 'options'>): SeatState => noSeats(joinRequest.parse(options).seatCount)

export const seatOf = (state: SeatState | undefined, userKey: string): Seat | undefined =>
  state?.seats.find((seat) => userKeyOf(seat.userId) === userKey)

/** All taken seats and requests. Users lose their seat and request after they leave the room. */
export const holdersOf = (state: SeatState | undefined): readonly (Seat | SeatRequest)[] => [...state?.seats ?? [], ...state?.requests ?? []]

/** @returns the occupants, longest seated first */
export const bySeniority = (state: SeatState | undefined): Seat[] =>
  [...state?.seats ?? []].sort((a, b) => (a.seatedSince ?? a.sitting) - (b.seatedSince ?? b.sitting))

export const isMuted = (state: SeatState, userId: UserId): boolean => state.muted.includes(userKeyOf(userId))

/** A room's seats, in the form in which members and admins receive them. */
export interface SeatsView {
  seatCount: number
  seats: { seatIndex: number, userId: UserId, isMuted: boolean }[]
  lockedSeats: number[]
}

/** The seats of a room at a point in time, for other features. */
export interface SeatsSnapshot extends SeatsView {
  /** A higher number means a later state of the same room. */
  revision: number
}

export function viewOf (state: SeatState): SeatsView {
  return {
    seatCount: state.seatCount,
    seats: state.seats.map(({ seatIndex, userId }) => ({ seatIndex, userId, isMuted: isMuted(state, userId) })),
    lockedSeats: state.locked
  }
}

/** A seat request as clients receive it. */
export interface SeatRequestView extends Pick<SeatRequest, 'userId' | 'requestedAt'> {
  /** Position in the queue, starting at 1. */
  position: number
}

export const viewOfRequests = (state: SeatState | undefined): SeatRequestView[] =>
  (state?.requests ?? []).map(({ userId, requestedAt }, i) => ({ userId, requestedAt, position: i + 1 }))

/** When the next invite or grace period expires, in epoch milliseconds; undefined if nothing will expire. */
export function nextExpiry (state: SeatState): number | undefined {
  const expiries = [...holdersOf(state).map(({ awayUntil = Infinity }) => awayUntil), ...state.invites.map(({ expiresAt }) => expiresAt)]
  const first = Math.min(...expiries)
  return Number.isFinite(first) ? first : undefined
}

/**
 * Returns the events that turn one state into another, for members who missed the changes in between. The events do not
 * contain the list of seat requests, because not all members are allowed to see it. seat-requests.ts sends the list.
 */
export function difference (from: SeatState | undefined, to: SeatState): RoomEvent[] {
  const before = from ?? noSeats(to.seatCount)
  const events: RoomEvent[] = []
  // A user who left a seat and took it again needs new permissions, so send seat:cleared and seat:updated.
  const sameSitting = (state: SeatState, { seatIndex, userId, sitting }: Seat) =>
    state.seats.find((seat) => seat.seatIndex === seatIndex && seat.sitting === sitting && userKeyOf(seat.userId) === userKeyOf(userId))
  for (const seat of before.seats) {
    const { seatIndex, userId } = seat
    if (!sameSitting(to, seat)) events.push({ type: 'seat:cleared', data: { seatIndex, userId, reason: seatOf(to, userKeyOf(userId)) ? 'moved' : 'left' } })
  }
  for (const seatIndex of before.locked) if (!to.locked.includes(seatIndex)) events.push({ type: 'seat:locked', data: { seatIndex, isLocked: false } })
  for (const seatIndex of to.locked) if (!before.locked.includes(seatIndex)) events.push({ type: 'seat:locked', data: { seatIndex, isLocked: true } })
  for (const { seatIndex, userId } of before.invites) {
    if (!to.invites.some((invite) => invite.seatIndex === seatIndex)) events.push({ type: 'seat:invite:pending', data: { seatIndex, isPending: false, invitedUserId: userId } })
  }
  for (const { seatIndex, userId } of to.invites) {
    if (!before.invites.some((invite) => invite.seatIndex === seatIndex && invite.userId === userId)) events.push({ type: 'seat:invite:pending', data: { seatIndex, isPending: true, invitedUserId: userId } })
  }
  const [handsBefore, hands] = [before, to].map(({ requests }) => new Map(requests.map(({ userId }) => [userKeyOf(userId), userId]))) as [Map<string, UserId>, Map<string, UserId>]
  for (const [key, userId] of handsBefore) if (!hands.has(key)) events.push({ type: 'seat:hand', data: { userId, handRaised: false } })
  for (const [key, userId] of hands) if (!handsBefore.has(key)) events.push({ type: 'seat:hand', data: { userId, handRaised: true } })
  if (before.seatCount !== to.seatCount) events.push({ type: 'seat:count', data: { seatCount: to.seatCount } })
  for (const seat of to.seats) {
    const { seatIndex, userId, selfMuted } = seat
    const previous = sameSitting(before, seat)
    if (!previous) events.push({ type: 'seat:updated', data: { seatIndex, userId, isMuted: isMuted(to, userId) } })
    // Clients assume that a newly seated user is not self-muted.
    if (previous ? isMuted(before, userId) !== isMuted(to, userId) || previous.selfMuted !== selfMuted : selfMuted) events.push({ type: 'seat:userMuted', data: { userId, isMuted: isMuted(to, userId), selfMuted } })
  }
  return events
}
