import type { UserId } from 'flylive-audio-server/feature'
import type { BackendClient } from './client.ts'
import { BackendFailed } from './errors.ts'
import { batchResponse } from './messages.ts'

/** A gift to charge. The backend charges each `transactionId` once. */
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
  /** The backend's error code; 4002 means that the sender's balance is too low. */
  code: number
  reason: string
}

/**
 * Sends gifts to the backend.
 *
 * @returns the gifts that the backend rejects permanently; all other gifts are charged
 * @throws UNAVAILABLE if the request did not reach the backend; BACKEND_FAILED if the backend rejected the request or
 *   sent no valid response. After either error, the caller must send all gifts again
 */
export async function processGifts (client: BackendClient, transactions: readonly GiftTransaction[]): Promise<{ failed: GiftFailure[] }> {
  if (transactions.length === 0) return { failed: [] }
  const response = await client.call({
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
  }, batchResponse)
  if (!response) throw new BackendFailed('HTTP 404 for a batch of gifts')
  const sent = new Set(transactions.map(({ transactionId }) => transactionId))
  const failed = [...new Map(response.failed.filter((item) => sent.has(item.transaction_id)).map((item) => [item.transaction_id, item])).values()]
  // Gifts that are missing from the response must be sent again, because the backend may not have charged them.
  if (response.processed_count + failed.length < sent.size) throw new BackendFailed(`response covers ${response.processed_count + failed.length} of ${sent.size} gifts`)
  return { failed: failed.map(({ transaction_id: transactionId, code, reason }) => ({ transactionId, code, reason })) }
}
