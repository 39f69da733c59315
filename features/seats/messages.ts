import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

/** 0-based. Whether a room has it is a question of the room (SEAT_INVALID). */
export const seatIndex = z.int().min(0)
/** Most seats of a room (protocol.md, room:join). */
export const mostSeats = 15

/** What an admin can set while the server runs. */
export const config = z.object({
  graceSeconds: z.int().min(0).max(3600).optional().describe('How long a seat waits for its user after a lost connection; SEAT_GRACE_SECONDS by default')
})

const reply = z.object({ seatIndex })
const aboutSeat = (words: string) => ({ request: z.object({ seatIndex }).describe(words), reply })
const aboutUser = (words: string) => ({ request: z.object({ userId }).describe(words), reply: z.object({ userId }) })
const userOnSeat = (words: string) => ({ request: z.object({ userId, seatIndex }).describe(words), reply })
const aboutInvite = (words: string) => ({ request: z.object({ seatIndex: seatIndex.optional().describe('The newest invite when left out') }).describe(words), reply })

export const requests = {
  'seat:take': aboutSeat('Sits down, and leaves an older seat'),
  'seat:leave': { request: z.object({}).describe('Gets up'), reply },
  'seat:lock': aboutSeat('Locks a seat; who sits there gets up. For the owner and admins'),
  'seat:unlock': aboutSeat('Lets a seat be taken again. For the owner and admins'),
  'seat:assign': userOnSeat('Puts a member on a seat; who sits there gets up. For the owner'),
  'seat:remove': aboutUser('Takes a member off their seat. For the owner and admins'),
  'seat:mute': aboutUser('Silences a member on a seat, whatever their client does. For the owner and admins'),
  'seat:unmute': aboutUser('Lets a silenced member be heard again. For the owner and admins'),
  'seat:invite': userOnSeat('Invites a member to a seat. For the owner and admins'),
  'seat:invite:accept': aboutInvite('Sits down where one was invited, on a locked seat too'),
  'seat:invite:decline': aboutInvite('Does not want the seat'),
  'seat:request': { request: z.object({}).describe('Raises a hand: asks for a seat. Asking again changes nothing'), reply: z.object({}) },
  'seat:request:cancel': {
    request: z.object({ userId: userId.optional().describe('Oneself when left out. Somebody else: for the owner and admins') }).describe('Lowers a hand'),
    reply: z.object({})
  }
} satisfies RequestMap

/** A hand that is up. */
export const seatRequest = z.object({ userId, requestedAt: z.int().describe('Epoch milliseconds') })
const seatRequests = z.array(seatRequest).describe('In the order asked: all of them for the owner and admins, only their own for everybody else')

export const clearReason = z.enum(['left', 'removed', 'moved', 'locked', 'disconnected'])
export type ClearReason = z.output<typeof clearReason>

export const events = {
  'seat:updated': z.object({ roomId, seatIndex, userId, isMuted: z.boolean() }).describe('To everyone: somebody sits there'),
  'seat:cleared': z.object({ roomId, seatIndex, userId: userId.describe('Who sat there'), reason: clearReason }).describe('To everyone: the seat is free'),
  'seat:locked': z.object({ roomId, seatIndex, isLocked: z.boolean() }).describe('To everyone: a seat was locked or unlocked'),
  'seat:userMuted': z.object({ roomId, userId, isMuted: z.boolean().describe('By the server'), selfMuted: z.boolean() }).describe('To everyone: somebody on a seat is silent, or not any more'),
  'seat:invite:pending': z.object({ roomId, seatIndex, isPending: z.boolean(), invitedUserId: userId.optional() }).describe('To everyone: somebody is invited to a seat, or not any more'),
  'seat:invite:received': z.object({ roomId, seatIndex, invitedById: userId, expiresAt: z.int().describe('Epoch milliseconds') }).describe('To the invited user'),
  'seat:requests': z.object({ roomId, requests: seatRequests }).describe('To the owner and admins: who asks for a seat has changed. To whoever has raised or lowered a hand: their own'),
  'seat:count': z.object({ roomId, seatCount: z.int() }).describe('To everyone: the room has more or fewer seats')
} satisfies EventMap

/** A seat that is taken, as everybody sees it. */
export const seat = z.object({ seatIndex, userId, isMuted: z.boolean() })

/** What the feature adds to the reply of room:join. */
export const joinReply = z.object({
  seatCount: z.int(),
  seats: z.array(seat),
  lockedSeats: z.array(seatIndex),
  pendingInvites: z.array(z.object({ seatIndex, invitedUserId: userId, invitedById: userId, expiresAt: z.int().describe('Epoch milliseconds') })),
  seatRequests
})
