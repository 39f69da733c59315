import { roomId, userId, userIdText, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

export const giftId = z.int().min(1)
export const quantity = z.int().min(1).max(9999)
export const transactionId = z.uuid()

// The backend accepts integers and strings. Any other number would make the backend
// reject the whole batch.
const recipientId = z.union([z.int(), userIdText], 'must be a whole number or a string of 1–128 characters')

/** Maximum difference between the time in an idempotency key and the server's clock, in milliseconds. */
export const maxKeyAgeMs = 24 * 3_600_000

/** @returns the time in a UUIDv7, in epoch milliseconds */
export function timeOf (uuid: string): number {
  return Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16)
}

/** Maximum difference between the clocks of two servers, in milliseconds. The actual difference is much smaller. */
const maxClockDifferenceMs = 60_000

/** @returns how much longer any server accepts an idempotency key, in milliseconds */
export function repeatableMsOf (key: string): number {
  return timeOf(key) + maxKeyAgeMs + maxClockDifferenceMs - Date.now()
}

// Gift records are sorted and trimmed by the time in the key, so this time must be approximately correct.
const key = z.uuidv7({ abort: true })
  .refine((uuid) => Math.abs(timeOf(uuid) - Date.now()) <= maxKeyAgeMs, 'The time in the key must be within 24 hours of the server time')
  .describe('Idempotency key. The client generates a key per gift and sends the same key in retries')

export const requests = {
  'gift:send': {
    request: z.object({ giftId, recipientId, quantity: quantity.default(1), key: key.optional() }).describe('Sends a gift to a user in the room'),
    reply: z.object({ transactionId: transactionId.describe('Id of the stored gift. The backend charges the gift once, or the sender receives gift:error') })
  },
  'gift:prepare': {
    request: z.object({ giftId, recipientId }).describe("Announces an upcoming gift to its recipient, so that the recipient's client can preload the gift's animation"),
    reply: z.object({})
  }
} satisfies RequestMap

/** Fields that the `gifts` feature adds to the reply to room:join. */
export const joinReply = z.object({
  giftTotals: z.array(z.object({ recipientId: userId, quantity: z.int() })).describe('The 50 recipients with the most gifts since the room was created, in descending order of quantity')
})

export const events = {
  'gift:received': z.object({
    roomId,
    transactionId,
    senderId: userId,
    giftId,
    recipientId: userId,
    quantity,
    timestamp: z.int()
  }).describe('Sent to all members when a gift is accepted. The backend may still reject the gift. Clients must ignore a repeated transactionId'),
  'gift:prepare': z.object({ roomId, senderId: userId, giftId }).describe('Sent to the recipient when a user is about to send a gift'),
  'gift:error': z.object({
    transactionId,
    code: z.union([z.int(), z.string()]).describe('PROCESSING_FAILED, or a code from the backend (4002: insufficient balance)'),
    reason: z.string()
  }).describe('Tells the sender of a gift that the backend has rejected the gift, or that all attempts to charge it have failed')
} satisfies EventMap
