import type { UserId } from 'flylive-audio-server/feature'
import type { BackendClient } from './client.ts'
import { BackendFailed } from './errors.ts'
import { batchAnswer } from './messages.ts'

/** A gift to book. The backend books each `transactionId` once, however often it is sent. */
export interface GiftTransaction {
  transactionId: string
  roomId: string
  senderId: UserId
  recipientId: UserId
  giftId: number
  quantity: number
  /** Epoch milliseconds. */
  timestamp: number
}

/** A gift that the backend rejects permanently. */
export interface GiftFailure {
  transactionId: string
  /** 4002: the sender's balance is too low. */
  code: number
  reason: string
}

/**
 * Sends gifts to the backend.
 *
 * @returns the gifts that the backend rejects permanently; all others are booked
 * @throws UNAVAILABLE when the backend could not be asked; BACKEND_FAILED when it
 *   is not known what became of the gifts. In both cases all are to be sent again
 */
export async function processGifts (client: BackendClient, transactions: readonly GiftTransaction[]): Promise<{ failed: GiftFailure[] }> {
  if (transactions.length === 0) return { failed: [] }
  const answer = await client.call({
    name: 'gifts',
    method: 'POST',
    path: ['gifts', 'batch'],
    body: {
      transactions: transactions.map(({ transactionId, roomId, senderId, recipientId, giftId, quantity, timestamp }) => ({
        transaction_id: transactionId,
        room_id: roomId,
        sender_id: senderId,
        recipient_id: recipientId,
        gift_id: giftId,
        quantity,
        timestamp
      }))
    }
  }, batchAnswer)
  if (!answer) throw new BackendFailed('it does not know the call for gifts')
  const sent = new Set(transactions.map(({ transactionId }) => transactionId))
  const failed = answer.failed.filter((item) => sent.has(item.transaction_id))
  // What is in neither count has not been looked at: to take it for done would lose it.
  if (answer.processed_count + failed.length < sent.size) throw new BackendFailed(`it accounts for ${answer.processed_count + failed.length} gifts of ${sent.size}`)
  return { failed: failed.map(({ transaction_id: transactionId, code, reason }) => ({ transactionId, code, reason })) }
}
