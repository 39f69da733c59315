import { z } from 'zod'
import type { EventMap, RequestMap } from '../../plugins/messages/routes.ts'
import { roomId, userId } from '../../plugins/rooms/messages.ts'

/** 0-based. Whether a room has it is a question of the room (SEAT_INVALID). */
export const seatIndex = z.int().min(0)
/** Most seats of a room (protocol.md, room:join). */
export const mostSeats = 15

/** What an admin can set while the server runs. */
export const config = z.object({
  graceSeconds: z.int().min(0).max(3600).optional().describe('How long a seat waits for its user after a lost connection; SEAT_GRACE_SECONDS by default')
})

const reply = z.object({ seatIndex })
const aboutSeat = { request: z.object({ seatIndex }), reply }
const aboutUser = { request: z.object({ userId }), reply: z.object({ userId }) }
const userOnSeat = { request: z.object({ userId, seatIndex }), reply }
const aboutInvite = { request: z.object({ seatIndex: seatIndex.optional().describe('The newest invite when left out') }), reply }

export const requests = {
  'seat:take': aboutSeat,
  'seat:leave': { request: z.object({}), reply },
  'seat:lock': aboutSeat,
  'seat:unlock': aboutSeat,
  'seat:assign': userOnSeat,
  'seat:remove': aboutUser,
  'seat:mute': aboutUser,
  'seat:unmute': aboutUser,
  'seat:invite': userOnSeat,
  'seat:invite:accept': aboutInvite,
  'seat:invite:decline': aboutInvite
} satisfies RequestMap

export const clearReason = z.enum(['left', 'removed', 'moved', 'locked', 'disconnected'])
export type ClearReason = z.output<typeof clearReason>

export const events = {
  'seat:updated': z.object({ roomId, seatIndex, userId, isMuted: z.boolean() }),
  'seat:cleared': z.object({ roomId, seatIndex, userId: userId.describe('Who sat there'), reason: clearReason }),
  'seat:locked': z.object({ roomId, seatIndex, isLocked: z.boolean() }),
  'seat:userMuted': z.object({ roomId, userId, isMuted: z.boolean().describe('By the server'), selfMuted: z.boolean() }),
  'seat:invite:pending': z.object({ roomId, seatIndex, isPending: z.boolean(), invitedUserId: userId.optional() }),
  'seat:invite:received': z.object({ roomId, seatIndex, invitedById: userId, expiresAt: z.int().describe('Epoch milliseconds') }),
  'seat:count': z.object({ roomId, seatCount: z.int() })
} satisfies EventMap

/** A seat that is taken, as everybody sees it. */
export const seat = z.object({ seatIndex, userId, isMuted: z.boolean() })

/** What the feature adds to the reply of room:join. */
export const joinReply = z.object({
  seatCount: z.int(),
  seats: z.array(seat),
  lockedSeats: z.array(seatIndex),
  pendingInvites: z.array(z.object({ seatIndex, invitedUserId: userId, invitedById: userId, expiresAt: z.int().describe('Epoch milliseconds') }))
})
