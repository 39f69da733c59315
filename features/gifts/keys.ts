import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { parse, v7 } from 'uuid'
import { userKeyOf } from 'flylive-audio-server/feature'
import { timeOf } from './messages.ts'
import type { Gift } from './outbox.ts'

/** What this server knows of a gift that has a key. */
export interface Remembered {
  /** What the key was first used for; see {@link contentOf}. */
  content: string
  /** Whether the room was shown it from here. */
  shown: boolean
}

/** By transactionId. */
export type Memory = LRUCache<string, Remembered>

/** Gifts with a key that a server remembers, the last ones: some 30 MB. */
const maxRemembered = 100_000

/**
 * Remembers which gifts a server has shown, so that sending one again shows
 * nothing. What is not remembered any more (it was pushed out, the server or
 * the feature was off, or it was another server) can be shown once more while its
 * key is good, and pays for nothing: clients know it by its transactionId.
 */
export function createMemory (): Memory {
  // By size it grows as it is used; by number it takes all of its place at once, at every start and reload.
  return new LRUCache({ maxSize: maxRemembered, sizeCalculation: () => 1 })
}

/**
 * The transaction that a key stands for: it has the key's time, and the rest
 * follows from key and sender. With the key alone it would be anybody's, and who
 * sees a transactionId in `gift:received` could send a gift that counts as paid.
 */
export function transactionIdOf (senderKey: string, key: string): string {
  // The key comes first: its length is always the same, so no two pairs read alike.
  const random = createHash('sha256').update(parse(key)).update(senderKey).digest()
  return v7({ msecs: timeOf(key), random })
}

/** What makes two gifts under one key the same one. */
export function contentOf ({ roomId, giftId, recipientId, quantity }: Gift): string {
  return JSON.stringify([roomId, giftId, userKeyOf(recipientId), quantity])
}
