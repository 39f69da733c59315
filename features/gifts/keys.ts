import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { parse, v7 } from 'uuid'
import { userKeyOf } from 'flylive-audio-server/feature'
import { timeOf } from './messages.ts'
import type { Gift } from './outbox.ts'

/** A recent gift with a key. */
export interface RecentGift {
  /** The content of the first gift with this key; see {@link contentOf}. */
  content: string
  /** Whether this server has shown the gift to the room. */
  shown: boolean
}

/** Recent gifts by transactionId. */
export type RecentGifts = LRUCache<string, RecentGift>

/** Maximum number of recent gifts with a key per server; about 30 MB. */
const maxRecent = 100_000

/**
 * Caches the gifts that this server has shown, so that a retry does not show a gift
 * again. After an eviction, a restart or on another server, a retry can show it again, but
 * it is charged only once: clients recognize it by its transactionId.
 */
export function createRecentGifts (): RecentGifts {
  // The option `max` would allocate all entries at each start; with `maxSize` the cache grows on demand.
  return new LRUCache({ maxSize: maxRecent, sizeCalculation: () => 1 })
}

/**
 * Derives the transactionId of a gift: the time of its key, and a hash of key and
 * sender. The hash includes the sender, so that another user cannot reuse the id
 * that `gift:received` shows for a gift that counts as paid.
 */
export function transactionIdOf (senderKey: string, key: string): string {
  // The hash input is unambiguous, because the key comes first and has a fixed length.
  const random = createHash('sha256').update(parse(key)).update(senderKey).digest()
  return v7({ msecs: timeOf(key), random })
}

/** Identifies the content of a gift: a key may be used again only for the same content. */
export function contentOf ({ roomId, giftId, recipientId, quantity }: Gift): string {
  return JSON.stringify([roomId, giftId, userKeyOf(recipientId), quantity])
}
