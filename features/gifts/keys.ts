import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { parse, v7 } from 'uuid'
import { userKeyOf } from 'flylive-audio-server/feature'
import { timeOf } from './messages.ts'
import type { Gift } from './outbox.ts'

/** A recent gift that was sent with an idempotency key. */
export interface RecentGift {
  /** What {@link contentOf} returns for the first gift that was sent with this key. */
  content: string
  /** True if this server has already announced the gift to the room. */
  shown: boolean
}

/** Recent gifts by transactionId. */
export type RecentGifts = LRUCache<string, RecentGift>

/** Maximum number of recent gifts in memory (about 30 MB). */
const maxRecent = 100_000

/**
 * Caches recent gifts, so that a client's retry does not announce the same gift to the room again. A retry may still
 * announce the gift again after the cache has evicted the gift, after a restart, or on another server. A gift that is
 * announced twice is charged only once, and clients recognise the repetition by the transactionId.
 */
export function createRecentGifts (): RecentGifts {
  // With `maxSize`, the cache grows on demand; the `max` option would allocate memory for all entries at each start.
  return new LRUCache({ maxSize: maxRecent, sizeCalculation: () => 1 })
}

/**
 * Derives the transactionId of a gift from the time in its key and a hash of the key and the sender. The hash hides the
 * key from the other members, who see the transactionId in `gift:received`. The hash includes the sender, so that no
 * user can send a gift with the id of another user's gift. Such a gift would count as already paid.
 */
export function transactionIdOf (senderKey: string, key: string): string {
  // The hash input is unambiguous, because the key comes first and has a fixed length.
  const random = createHash('sha256').update(parse(key)).update(senderKey).digest()
  return v7({ msecs: timeOf(key), random })
}

/**
 * Returns a string that is the same for gifts with the same content. Clients are allowed to reuse a key only for a gift
 * with the same content.
 */
export function contentOf ({ roomId, giftId, recipientId, quantity }: Gift): string {
  return JSON.stringify([roomId, giftId, userKeyOf(recipientId), quantity])
}
