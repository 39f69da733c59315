import { z } from 'zod'
import type { EventMap, RequestMap } from '../../plugins/messages/routes.ts'
import { roomId, userId } from '../../plugins/rooms/messages.ts'

export const giftId = z.int().min(1)
export const quantity = z.int().min(1).max(9999)
export const transactionId = z.uuid()

// The backend knows users by whole numbers or texts. It would refuse a whole
// batch for any other number in it.
const recipientId = z.union([z.int(), z.string().min(1).max(128)])

export const requests = {
  'gift:send': {
    request: z.object({ giftId, recipientId, quantity: quantity.default(1) }),
    reply: z.object({ transactionId: transactionId.describe('The gift is stored and will be booked, or refused with gift:error') })
  },
  'gift:prepare': {
    request: z.object({ giftId, recipientId }),
    reply: z.object({})
  }
} satisfies RequestMap

export const events = {
  'gift:received': z.object({
    roomId,
    transactionId,
    senderId: userId,
    giftId,
    recipientId: userId,
    quantity,
    timestamp: z.int()
  }).describe('To everyone in the room. The backend may refuse it later'),
  'gift:prepare': z.object({ roomId, senderId: userId, giftId }).describe('To the recipient: somebody is about to send a gift'),
  'gift:error': z.object({
    transactionId,
    code: z.union([z.int(), z.string()]).describe("PROCESSING_FAILED, or the backend's own (4002: the balance is too low)"),
    reason: z.string()
  }).describe('To the sender: a gift that was accepted has not been booked')
} satisfies EventMap
