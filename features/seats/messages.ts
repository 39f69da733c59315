import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

/** 0-based. The upper bound depends on the room's number of seats; a higher index is rejected with SEAT_INVALID. */
export const seatIndex = z.int().min(0)
/** Maximum number of seats per room (docs/protocol.md, "Rooms"). */
export const maxSeats = 15

const reply = z.object({ seatIndex })
const aboutSeat = (summary: string) => ({ request: z.object({ seatIndex }).describe(summary), reply })
const aboutUser = (summary: string) => ({ request: z.object({ userId }).describe(summary), reply: z.object({ userId }) })
const userOnSeat = (summary: string) => ({ request: z.object({ userId, seatIndex }).describe(summary), reply })
const aboutInvite = (summary: string) => ({ request: z.object({ seatIndex: seatIndex.optional().describe('Default: the latest invite') }).describe(summary), reply })

export const requests = {
  'seat:take': aboutSeat('Takes a seat and leaves the previous one'),
  'seat:leave': { request: z.object({}).describe('Leaves the seat'), reply },
  'seat:lock': aboutSeat('Locks a seat and removes its occupant. Owner and admins only'),
  'seat:unlock': aboutSeat('Unlocks a seat. Owner and admins only'),
  'seat:assign': userOnSeat('Assigns a member to a seat and removes its occupant. Owner only'),
  'seat:remove': aboutUser('Removes a member from their seat. Owner and admins only'),
  'seat:mute': aboutUser("Mutes a seated member; the server pauses the member's audio. Owner and admins only"),
  'seat:unmute': aboutUser('Unmutes a member. Owner and admins only'),
  'seat:invite': userOnSeat('Invites a member to a seat. Owner and admins only'),
  'seat:invite:accept': aboutInvite('Accepts an invite and takes the seat, even if it is locked'),
  'seat:invite:decline': aboutInvite('Declines an invite'),
  'seat:request': { request: z.object({}).describe('Requests a seat (raises a hand). A repeated request has no effect'), reply: z.object({}) },
  'seat:request:cancel': {
    request: z.object({ userId: userId.optional().describe("The user whose request is cancelled. Default: the sender. Only the owner and admins may cancel other users' requests") }).describe('Cancels a seat request (lowers a hand)'),
    reply: z.object({})
  }
} satisfies RequestMap

/** A seat request (a raised hand). */
export const seatRequest = z.object({ userId, requestedAt: z.int().describe('Epoch milliseconds'), position: z.int().min(1).describe('Position in the queue, starting at 1') })
const seatRequests = z.array(seatRequest).describe('Oldest first. The owner and admins receive all requests; other members receive only their own')

export const clearReason = z.enum(['left', 'removed', 'moved', 'locked', 'disconnected'])
export type ClearReason = z.output<typeof clearReason>

export const events = {
  'seat:updated': z.object({ roomId, seatIndex, userId, isMuted: z.boolean() }).describe('Sent to all members when a user takes a seat'),
  'seat:cleared': z.object({ roomId, seatIndex, userId: userId.describe('The previous occupant'), reason: clearReason }).describe('Sent to all members when a seat becomes free'),
  'seat:locked': z.object({ roomId, seatIndex, isLocked: z.boolean() }).describe('Sent to all members when a seat is locked or unlocked'),
  'seat:userMuted': z.object({ roomId, userId, isMuted: z.boolean().describe('Whether the owner or an admin has muted the user'), selfMuted: z.boolean() }).describe('Sent to all members when a seated user is muted or unmuted'),
  'seat:invite:pending': z.object({ roomId, seatIndex, isPending: z.boolean(), invitedUserId: userId.optional() }).describe('Sent to all members when an invite to a seat is created or ends'),
  'seat:invite:received': z.object({ roomId, seatIndex, invitedById: userId, expiresAt: z.int().describe('Epoch milliseconds') }).describe('Sent to the invited user'),
  'seat:requests': z.object({ roomId, requests: seatRequests }).describe('Sent when seat requests change. The owner and admins receive all requests. Other members receive only their own request, and only when it has changed'),
  'seat:hand': z.object({ roomId, userId, handRaised: z.boolean() }).describe('Sent to all members when a user raises or lowers a hand. The server may repeat the event when the user reconnects'),
  'seat:count': z.object({ roomId, seatCount: z.int() }).describe('Sent to all members when the number of seats changes')
} satisfies EventMap

/** A taken seat, as all members see it. */
export const seat = z.object({ seatIndex, userId, isMuted: z.boolean() })

/** Fields that the `seats` feature adds to the `room:join` request. */
export const joinRequest = z.object({
  seatCount: z.int().min(1).max(maxSeats).default(maxSeats).describe('The number of seats, which has an effect only if the join creates the room')
})

/** Fields that the `seats` feature adds to the reply to `room:join`. */
export const joinReply = z.object({
  seatCount: z.int(),
  seats: z.array(seat),
  lockedSeats: z.array(seatIndex),
  pendingInvites: z.array(z.object({ seatIndex, invitedUserId: userId, invitedById: userId, expiresAt: z.int().describe('Epoch milliseconds') })),
  seatRequests
})
