import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { parse, v7 } from 'uuid'
import { userKeyOf } from 'flylive-audio-server/feature'
import { timeOf } from './messages.ts'
import type { Gift } from './outbox.ts'

/** A recent gift that was sent with an idempotency key. */
export interface RecentGift {
  /** The content of the first gift with this key; see {@link contentOf}. */
  content: string
  /** Whether this server has shown the gift to the room. */
  shown: boolean
}

/** Recent gifts by transactionId. */
export type RecentGifts = LRUCache<string, RecentGift>

/** Maximum number of recent gifts in memory (about 30 MB). */
const maxRecent = 100_000

/**
 * Caches the gifts that this server has shown, so that a retry does not show a gift
 * again. After an eviction or a restart, or on another server, a retry may show the gift again.
 * The gift is still charged only once, and clients recognise it by its transactionId.
 */
export function createRecentGifts (): RecentGifts {
  // The `max` option would allocate all entries at each start; with `maxSize` the cache grows on demand.
  return new LRUCache({ maxSize: maxRecent, sizeCalculation: () => 1 })
}

/**
 * Derives the transactionId of a gift from the time in its key and a hash of the key and the sender. The hash includes
 * the sender, because all members see the id in `gift:received`. Otherwise, another user could send a gift with the
 * same id, and that gift would count as already paid.
 */
export function transactionIdOf (senderKey: string, key: string): string {
  // The hash input is unambiguous, because the key comes first and has a fixed length.
  const random = createHash('sha256').update(parse(key)).update(senderKey).digest()
  return v7({ msecs: timeOf(key), random })
}

/** Identifies the content of a gift. A key may be reused only with the same content. */
export function contentOf ({ roomId, giftId, recipientId, quantity }: Gift): string {
  return JSON.stringify([roomId, giftId, userKeyOf(recipientId), quantity])
}
