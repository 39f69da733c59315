import type { UserId } from '../../../plugins/connections/session.ts'
import type { Event, TestClient } from '../../support/client.ts'

// A client's view of a room's seats, derived only from the join reply and later events.

export interface View {
  seatCount: number
  seats: Map<number, { userId: UserId, isMuted: boolean, selfMuted: boolean }>
  locked: Set<number>
  invites: Map<number, UserId>
  /** Users whose seat requests are visible to the client, oldest request first. */
  requests: readonly string[]
}

type Requests = readonly { userId: UserId }[]

/** The seats in a join reply or a response of the admin API. */
export interface SeatsReply {
  seatCount: number
  seats: readonly { seatIndex: number, userId: UserId, isMuted: boolean, selfMuted?: boolean }[]
  lockedSeats: readonly number[]
  pendingInvites?: readonly { seatIndex: number, invitedUserId: UserId }[]
  invites?: readonly { seatIndex: number, userId: UserId }[]
  seatRequests?: Requests
  requests?: Requests
}

const keysOf = (requests: Requests) => requests.map(({ userId }) => String(userId))

export function viewFrom ({ seatCount, seats, lockedSeats, pendingInvites, invites, seatRequests, requests }: SeatsReply): View {
  return {
    seatCount,
    seats: new Map(seats.map(({ seatIndex, userId, isMuted, selfMuted = false }) => [seatIndex, { userId, isMuted, selfMuted }])),
    locked: new Set(lockedSeats),
    invites: new Map([
      ...(pendingInvites ?? []).map(({ seatIndex, invitedUserId }) => [seatIndex, invitedUserId] as const),
      ...(invites ?? []).map(({ seatIndex, userId }) => [seatIndex, userId] as const)
    ]),
    requests: keysOf(seatRequests ?? requests ?? [])
  }
}

/**
 * Applies an event to a view.
 *
 * @returns how the event contradicts the view; an empty string if it does not
 */
export function apply (view: View, { type, data }: { type: string, data: object }): string {
  const { seatIndex = -1, userId = '', isMuted = false, selfMuted = false, isLocked, isPending, invitedUserId = '', seatCount = 0, requests = [] } = data as Partial<{
    seatIndex: number, userId: UserId, isMuted: boolean, selfMuted: boolean, isLocked: boolean, isPending: boolean, invitedUserId: UserId, seatCount: number, requests: Requests
  }>
  const wrong: string[] = []
  const there = view.seats.get(seatIndex)
  const others = [...view.seats].filter(([index, seat]) => index !== seatIndex && String(seat.userId) === String(userId))
  switch (type) {
    case 'seat:updated':
      if (there && String(there.userId) !== String(userId)) wrong.push(`seat ${seatIndex} of ${there.userId} is taken by ${userId}`)
      if (others.length > 0) wrong.push(`${userId} on seat ${others[0]?.[0]} also takes seat ${seatIndex}`)
      if (view.locked.has(seatIndex)) wrong.push(`${userId} takes the locked seat ${seatIndex}`)
      view.seats.set(seatIndex, { userId, isMuted, selfMuted: false })
      break
    case 'seat:cleared':
      if (String(there?.userId) !== String(userId)) wrong.push(`seat ${seatIndex} is cleared of ${userId} but belongs to ${there?.userId}`)
      view.seats.delete(seatIndex)
      break
    case 'seat:locked':
      if (view.locked.has(seatIndex) === isLocked) wrong.push(`seat ${seatIndex} already has isLocked ${isLocked}`)
      if (isLocked === true) view.locked.add(seatIndex)
      else view.locked.delete(seatIndex)
      break
    case 'seat:userMuted':
      if (others.length === 0) wrong.push(`${userId} changes to isMuted ${isMuted} without a seat`)
      for (const [, seat] of others) Object.assign(seat, { isMuted, selfMuted })
      break
    case 'seat:invite:pending':
      if (isPending === true) view.invites.set(seatIndex, invitedUserId)
      else {
        if (String(view.invites.get(seatIndex)) !== String(invitedUserId)) wrong.push(`the invite to seat ${seatIndex} ended for ${invitedUserId}, but the pending invite was for ${view.invites.get(seatIndex)}`)
        view.invites.delete(seatIndex)
      }
      break
    case 'seat:requests':
      view.requests = keysOf(requests)
      if (new Set(view.requests).size < requests.length) wrong.push(`duplicate requests: ${view.requests.join()}`)
      break
    case 'seat:count':
      view.seatCount = seatCount
      for (const index of view.locked) if (index >= seatCount) view.locked.delete(index)
      for (const index of view.seats.keys()) if (index >= seatCount) wrong.push(`seat ${index} is occupied, but the seat count is ${seatCount}`)
      break
  }
  return wrong.map((what) => `${type}: ${what}`).join('; ')
}

/**
 * Returns a view in comparable form: sorted and with ids as strings. Omits seat requests, because not all members can
 * see the requests.
 */
export function plain ({ seatCount, seats, locked, invites }: View) {
  const byIndex = <T>(entries: Iterable<[number, T]>) => [...entries].sort(([a], [b]) => a - b)
  return {
    seatCount,
    seats: byIndex(seats).map(([seatIndex, { userId, isMuted }]) => `${seatIndex}: ${userId}${isMuted ? ' muted' : ''}`),
    locked: [...locked].sort((a, b) => a - b),
    invites: byIndex(invites).map(([seatIndex, userId]) => `${seatIndex}: ${userId}`)
  }
}

/**
 * Joins a room.
 *
 * @returns the join reply, the seat events received after the reply, and the resulting view
 */
export async function follow (client: TestClient, roomId = 'r1', data: object = {}) {
  const from = client.events.length
  const joined = await client.ok('room:join', { roomId, ...data })
  const seatEvents = (): Event[] => client.events.slice(from).filter((event) => event.type.startsWith('seat:') && event.data.roomId === roomId)
  return {
    joined,
    seatEvents,
    view () {
      const view = viewFrom(joined as unknown as SeatsReply)
      for (const event of seatEvents()) apply(view, event)
      return plain(view)
    }
  }
}
