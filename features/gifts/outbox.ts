import { isCoded, unavailable } from 'flylive-audio-server/feature'
import type { UserId } from 'flylive-audio-server/feature'

/** An accepted gift. Immutable. */
export interface Gift {
  /** A UUIDv7, so ids sort by time. If the sender sent an idempotency key, the id contains the time from that key. */
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
 * How long Redis keeps a room's gift totals after the last gift, in milliseconds. The server that closes a room deletes
 * the room's totals. The totals expire only if that server dies before it deletes them.
 */
export const totalsTtlMs = 30 * 86_400_000

/** Gifts that were leased together. */
export interface Batch {
  /** Identifies the lease. */
  token: string
  /** Sorted by due time, earliest first. */
  gifts: readonly Gift[]
  /** Number of failed attempts, the same for all gifts of the batch. */
  tries: number
  /** False if the batch contains all gifts that are due now. */
  more: boolean
  /** Number of queued gifts, including leased gifts. */
  queued: number
  deadLetters: number
}

/** What {@link Outbox.settle} does with a leased gift, and why. */
export type Outcome =
  /** The backend has charged the gift; the outbox deletes it. */
  | { to: 'processed' }
  /** No backend is configured; the outbox records the gift in the ledger. */
  | { to: 'ledger', at: number }
  /** The backend rejected the gift permanently. */
  | { to: 'failed', code: number, reason: string, at: number }
  /** All attempts failed. */
  | { to: 'deadLetters', reason: string, at: number }
  /** The gift is due again after `delayMs`. `counted` is true if this attempt counts as a failed attempt. */
  | { to: 'queue', delayMs: number, counted: boolean }

/** The records of gifts that have left the queue, by kind of record. */
export interface Records {
  ledger: Gift & { recordedAt: number }
  failed: Gift & { code: number, reason: string, failedAt: number }
  deadLetters: Gift & { tries: number, reason: string, deadAt: number }
}
export type RecordKind = keyof Records

export type Found = { place: 'queue', gift: Gift } | { [K in RecordKind]: { place: K, gift: Records[K] } }[RecordKind]

/**
 * Maximum number of failed gifts to keep. A user who has no coins can cause 30 failed gifts per minute. The sender of a
 * failed gift has received gift:error, so old failed gifts can be deleted.
 */
export const maxFailed = 100_000
/** Maximum number of gifts to keep in the ledger. */
export const maxLedger = 1_000_000
/**
 * Maximum number of old records of each kind that one call of {@link Outbox.settle} deletes, so that the deletion does
 * not block the storage.
 */
export const maxTrimmed = 1000

/** The number of queued gifts (including leased gifts) and the number of records per kind. */
export type Counts = Record<'queued' | RecordKind, number>

export interface OutboxOptions {
  /** Returns the current time in epoch milliseconds, to set and compare due times. */
  now?: () => number
  /** Default: {@link maxLedger}. */
  keptLedger?: number
  /** Default: {@link maxFailed}. */
  keptFailed?: number
}

/**
 * Stores accepted gifts until the backend charges them. The implementations for SQLite (a single server) and for Redis
 * pass the same test suite (test/contracts/gift-outbox.ts).
 *
 * A stored gift is in exactly one place: the queue or the records of one kind. Only {@link settle} removes a gift from
 * the queue. Each method is atomic, and its changes are durable once its promise resolves. A method throws UNAVAILABLE
 * if the storage is unreachable or its reply is lost; in that case, the storage may still have made the change.
 */
export interface Outbox {
  /**
   * Adds a gift to the queue, where the gift is due immediately. Does nothing if the gift is already queued or
   * recorded. A gift that the backend has already charged is no longer stored, so the outbox queues such a gift again.
   * The backend does not charge a gift twice.
   *
   * @param roomCreatedAt when the gift's room was created, in epoch milliseconds. If this parameter is present and the
   *   call queues the gift, the gift counts towards the room's totals
   * @param repeatableMs how much longer the sender can repeat the gift, in milliseconds; 0 if the sender cannot repeat
   *   the gift. During this time, the gift does not count again, even if it is queued again
   * @returns the stored gift and its place if the gift was already stored; undefined if this call queued the gift
   */
  add (gift: Gift, roomCreatedAt?: number, repeatableMs?: number): Promise<Found | undefined>
  /**
   * @returns at most `limit` totals of a room, largest first. A recipient has two totals if some gifts have the
   *   recipient's id as a number and others as a string
   */
  totals (roomId: string, roomCreatedAt: number, limit: number): Promise<GiftTotal[]>
  /** Deletes the totals of a closed room. */
  forgetTotals (roomId: string, roomCreatedAt: number): Promise<void>
  /**
   * Leases the gift that has been due for the longest time, together with other due gifts that have the same number of
   * failed attempts. The lease lasts `leaseMs`, measured by the storage's clock. When the lease expires, its gifts are
   * due again, so that another server can take over if this server has crashed.
   *
   * @param sizes maximum batch size by number of failed attempts; the last entry applies to all higher numbers
   */
  take (sizes: readonly number[], leaseMs: number): Promise<Batch>
  /**
   * Applies an outcome to each gift of a batch: deletes the gift, turns it into a record, or puts it back into the
   * queue. Gifts that are no longer leased under `token` stay unchanged. Also deletes the oldest ledger records and
   * failed gifts beyond their maximum number, but never deletes dead letters.
   *
   * @param outcomes the outcome of each gift, by transactionId
   * @returns the transactionIds of the gifts to which an outcome was applied
   */
  settle (token: string, outcomes: ReadonlyMap<string, Outcome>): Promise<string[]>
  counts (): Promise<Counts>
  /**
   * @param after the transactionId to start after; records are sorted by transactionId
   * @returns at most `limit` records with a transactionId greater than `after`
   */
  list<K extends RecordKind> (kind: K, after: string, limit: number): Promise<Records[K][]>
  /**
   * Moves dead letters back to the queue, where they are due immediately and have no failed attempts.
   *
   * @param transactionIds ids without a dead letter are ignored
   * @returns the number of moved gifts
   */
  replay (transactionIds: readonly string[]): Promise<number>
  /** Stores the gifts that are waiting to be written, then closes the storage. */
  close (): Promise<void>
}

/** Returns the fields that a record has in addition to the fields of the gift. */
export function detailsOf (outcome: Exclude<Outcome, { to: 'processed' | 'queue' }>): Record<string, unknown> {
  switch (outcome.to) {
    case 'ledger': return { recordedAt: outcome.at }
    case 'failed': return { code: outcome.code, reason: outcome.reason, failedAt: outcome.at }
    case 'deadLetters': return { reason: outcome.reason, deadAt: outcome.at }
  }
}

/** Runs `fn` and rethrows storage errors as UNAVAILABLE. */
export async function failingClosed<T> (fn: () => T | Promise<T>): Promise<T> {
  try {
    return await fn()
  } catch (error) {
    throw isCoded(error) ? error : unavailable('The gift outbox is unreachable', error)
  }
}
