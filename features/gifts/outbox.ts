import { isCoded, unavailable } from 'flylive-audio-server/feature'
import type { UserId } from 'flylive-audio-server/feature'

/** An accepted gift. Immutable. */
export interface Gift {
  /** A UUIDv7, so ids sort by time. If the sender sent an idempotency key, the id contains the time in that key. */
  transactionId: string
  roomId: string
  senderId: UserId
  recipientId: UserId
  giftId: number
  quantity: number
  /** When the gift was accepted, in epoch milliseconds. */
  timestamp: number
}

/** How many gifts a user has received in a room. */
export interface GiftTotal {
  recipientId: UserId
  quantity: number
}

/**
 * How long Redis keeps the totals of a room after the last gift, in milliseconds. The server that closes a room deletes
 * the room's totals. If that server dies first, the totals expire.
 */
export const totalsTtlMs = 30 * 86_400_000

/** Gifts that were leased together. */
export interface Batch {
  /** Identifies the lease. */
  token: string
  /** Sorted by due time, oldest first. */
  gifts: readonly Gift[]
  /** Number of failed attempts, the same for all gifts of the batch. */
  tries: number
  /** Whether more gifts may be due now. */
  more: boolean
  /** Number of queued gifts, including leased gifts. */
  queued: number
  deadLetters: number
}

/** What happens to a leased gift. */
export type Outcome =
  /** The backend has charged the gift; the outbox deletes it. */
  | { to: 'processed' }
  /** No backend is configured; the outbox records the gift in the ledger. */
  | { to: 'ledger', at: number }
  /** The backend rejected the gift permanently. */
  | { to: 'failed', code: number, reason: string, at: number }
  /** All attempts failed. */
  | { to: 'deadLetters', reason: string, at: number }
  /** The gift is due again after `delayMs`. `counted`: whether this attempt counts as failed. */
  | { to: 'queue', delayMs: number, counted: boolean }

/** The records of gifts that have left the queue, by kind. */
export interface Records {
  ledger: Gift & { recordedAt: number }
  failed: Gift & { code: number, reason: string, failedAt: number }
  deadLetters: Gift & { tries: number, reason: string, deadAt: number }
}
export type RecordKind = keyof Records

export type Found = { place: 'queue', gift: Gift } | { [K in RecordKind]: { place: K, gift: Records[K] } }[RecordKind]

/**
 * Maximum number of failed gifts to keep. A user without coins can create 30 failed gifts per minute. The user receives
 * gift:error for each of them, so old failed gifts can be deleted.
 */
export const maxFailed = 100_000
/** Maximum number of gifts to keep in the ledger. */
export const maxLedger = 1_000_000
/**
 * Maximum number of old records of each kind to delete per step, so that trimming does not block
 * the storage.
 */
export const maxTrimmed = 1000

/** The number of queued gifts (including leased gifts) and the number of records per kind. */
export type Counts = Record<'queued' | RecordKind, number>

export interface OutboxOptions {
  /** The clock for due times, in epoch milliseconds. */
  now?: () => number
  /** Default: {@link maxLedger}. */
  keptLedger?: number
  /** Default: {@link maxFailed}. */
  keptFailed?: number
}

/**
 * Stores accepted gifts until the backend charges them. Two implementations, `sqlite` (one server) and `redis`, pass
 * the same contract suite (test/contracts/gift-outbox.ts).
 *
 * A stored gift is in exactly one place: the queue or the records of one kind. Only {@link settle} removes a gift from
 * the queue. Each method is atomic, and its changes are durable when it resolves. If the storage is unreachable or its
 * reply is lost, the method throws UNAVAILABLE and may or may not have taken effect.
 */
export interface Outbox {
  /**
   * Queues a gift, due immediately, unless the queue or a record already contains it. A gift that the backend has
   * already charged is no longer stored, so the outbox queues it again. The backend does not charge it twice.
   *
   * @param roomCreatedAt when the gift's room was created, in epoch milliseconds. If present and this call queues the
   *   gift, the gift counts towards the room's totals
   * @returns where the gift was already stored; undefined if this call queued it
   */
  add (gift: Gift, roomCreatedAt?: number): Promise<Found | undefined>
  /**
   * @returns at most `limit` totals of a room, largest first. A recipient has two totals if senders sent the
   *   recipient's id both as a number and as a string
   */
  totals (roomId: string, roomCreatedAt: number, limit: number): Promise<GiftTotal[]>
  /** Deletes the totals of a closed room. */
  forgetTotals (roomId: string, roomCreatedAt: number): Promise<void>
  /**
   * Leases the gift that has been due the longest and other due gifts with the same number of failed attempts. The
   * lease lasts `leaseMs`, measured by the storage's clock. After that, the gifts are due again, so that another server
   * can take over if this server crashes.
   *
   * @param sizes maximum batch size by number of failed attempts; the last entry applies to all higher numbers
   */
  take (sizes: readonly number[], leaseMs: number): Promise<Batch>
  /**
   * Moves the gifts of a batch to their next state: queued, processed, failed, ledger or dead letter. Gifts that are no
   * longer under this lease stay unchanged. The ledger and the failed gifts are trimmed to the newest records; dead
   * letters are never trimmed.
   *
   * @param outcomes by transactionId
   * @returns the transactionIds of the moved gifts
   */
  settle (token: string, outcomes: ReadonlyMap<string, Outcome>): Promise<string[]>
  counts (): Promise<Counts>
  /**
   * @param after the transactionId to start after; records are sorted by transactionId
   * @returns at most `limit` records with a transactionId greater than `after`
   */
  list<K extends RecordKind> (kind: K, after: string, limit: number): Promise<Records[K][]>
  /**
   * Moves dead letters back to the queue, due immediately, and resets their number of failed attempts to 0.
   *
   * @param transactionIds ids without a dead letter are ignored
   * @returns the number of moved gifts
   */
  replay (transactionIds: readonly string[]): Promise<number>
  /** Stores pending gifts and closes the storage. */
  close (): Promise<void>
}

/** Returns the fields of a record that are not part of the gift. */
export function detailsOf (outcome: Exclude<Outcome, { to: 'processed' | 'queue' }>): Record<string, unknown> {
  switch (outcome.to) {
    case 'ledger': return { recordedAt: outcome.at }
    case 'failed': return { code: outcome.code, reason: outcome.reason, failedAt: outcome.at }
    case 'deadLetters': return { reason: outcome.reason, deadAt: outcome.at }
  }
}

/** Runs `fn` and converts storage errors to UNAVAILABLE. */
export async function failingClosed<T> (fn: () => T | Promise<T>): Promise<T> {
  try {
    return await fn()
  } catch (error) {
    throw isCoded(error) ? error : unavailable('The gift outbox is unreachable', error)
  }
}
