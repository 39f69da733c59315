import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

export const giftId = z.int().min(1)
export const quantity = z.int().min(1).max(9999)
export const transactionId = z.uuid()

// The backend knows users by whole numbers or texts. It would refuse a whole
// batch for any other number in it.
const recipientId = z.union([z.int(), z.string().min(1).max(128)])

/** How far the time of a key may be from the server's clock, either way, in milliseconds. */
export const keyTimeMs = 24 * 3_600_000

/** The time that is in a UUIDv7, epoch milliseconds. */
export function timeOf (uuid: string): number {
  return Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16)
}

// The time becomes that of the transaction, whose id says where it is listed
// and which records are kept: it must be about right.
const key = z.uuidv7({ abort: true })
  .refine((uuid) => Math.abs(timeOf(uuid) - Date.now()) <= keyTimeMs, 'The time in it must be within 24 hours of now')
  .describe('Made by the client, one for each gift. The same one again is the same gift')

export const requests = {
  'gift:send': {
    request: z.object({ giftId, recipientId, quantity: quantity.default(1), key: key.optional() }).describe('Sends a gift to somebody in the room'),
    reply: z.object({ transactionId: transactionId.describe('The gift is stored and will be booked, or refused with gift:error') })
  },
  'gift:prepare': {
    request: z.object({ giftId, recipientId }).describe('Tells somebody in the room that a gift is about to come, so that their client can load it'),
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
  }).describe('To everyone in the room. The backend may refuse it later. It may come twice: the transactionId tells'),
  'gift:prepare': z.object({ roomId, senderId: userId, giftId }).describe('To the recipient: somebody is about to send a gift'),
  'gift:error': z.object({
    transactionId,
    code: z.union([z.int(), z.string()]).describe("PROCESSING_FAILED, or the backend's own (4002: the balance is too low)"),
    reason: z.string()
  }).describe('To the sender: a gift that was accepted has not been booked')
} satisfies EventMap
