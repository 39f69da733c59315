import { isCoded, unavailable } from 'flylive-audio-server/feature'
import type { UserId } from 'flylive-audio-server/feature'

/** An accepted gift. Immutable. */
export interface Gift {
  /** UUIDv7, sorted by time: the time of the key if the sender gave one. */
  transactionId: string
  roomId: string
  senderId: UserId
  recipientId: UserId
  giftId: number
  quantity: number
  /** When it was accepted, epoch milliseconds. */
  timestamp: number
}

/** Leased gifts. */
export interface Batch {
  /** Identifies the lease. */
  token: string
  /** Sorted by due time, oldest first. */
  gifts: readonly Gift[]
  /** Failed attempts of each gift. */
  tries: number
  /** Whether more gifts may be due now. */
  more: boolean
  /** Number of queued gifts, leased ones included. */
  queued: number
  deadLetters: number
}

/** The next state of a leased gift. */
export type Outcome =
  /** The backend has charged the gift; the outbox deletes it. */
  | { to: 'processed' }
  /** No backend is configured; the outbox records it permanently. */
  | { to: 'ledger', at: number }
  /** The backend rejected the gift permanently. */
  | { to: 'failed', code: number, reason: string, at: number }
  /** All attempts failed. */
  | { to: 'deadLetters', reason: string, at: number }
  /** Due again after `delayMs`; `counted` adds a failed attempt. */
  | { to: 'queue', delayMs: number, counted: boolean }

/** Permanent records, by kind. */
export interface Records {
  ledger: Gift & { recordedAt: number }
  failed: Gift & { code: number, reason: string, failedAt: number }
  deadLetters: Gift & { tries: number, reason: string, deadAt: number }
}
export type RecordKind = keyof Records

/** The state of a gift and its record. */
export type Found = { place: 'queue', gift: Gift } | { [K in RecordKind]: { place: K, gift: Records[K] } }[RecordKind]

/**
 * Maximum number of failed gifts to keep. A user without coins can create 30 per
 * minute; the user received gift:error for each, so old ones can be deleted.
 */
export const maxFailed = 100_000
/** Maximum number of gifts to keep in the ledger. */
export const maxLedger = 1_000_000
/** Maximum number of failed gifts to delete per step, so that trimming does not block the storage. */
export const maxTrimmed = 1000

/** Numbers of gifts; `queued` includes leased ones. */
export type Counts = Record<'queued' | RecordKind, number>

export interface OutboxOptions {
  /** The clock of due times, epoch milliseconds. */
  now?: () => number
  /** Default: {@link maxLedger}. */
  keptLedger?: number
  /** Default: {@link maxFailed}. */
  keptFailed?: number
}

/**
 * Stores accepted gifts until the backend has charged them. Two implementations,
 * `sqlite` (one server) and `redis`, pass the same contract suite (test/contracts/gift-outbox.ts).
 *
 * A gift is always in exactly one state: queued, or in one of the records. Only {@link settle} removes
 * a gift from the queue. Each method is atomic and durable when
 * it resolves. If the storage is unreachable or its reply is lost, the method throws
 * UNAVAILABLE and may or may not have taken effect.
 */
export interface Outbox {
  /**
   * Queues a gift, due immediately, unless the queue or a record already contains it. A processed gift is
   * queued again, because the outbox has deleted it; the backend charges it once.
   *
   * @returns the existing place; undefined if the gift was queued
   */
  add (gift: Gift): Promise<Found | undefined>
  /**
   * Leases due gifts: the oldest and others with the same number of failed attempts. The lease
   * lasts `leaseMs` by the clock of the storage; then the gifts are due again, so that another
   * server takes over the batch of a crashed one.
   *
   * @param sizes maximum batch size by number of failed attempts; the last entry applies to all higher numbers
   */
  take (sizes: readonly number[], leaseMs: number): Promise<Batch>
  /**
   * Moves the gifts of a batch to their next state: queued, processed, failed, ledger or dead letter. Gifts that this lease no longer holds stay
   * unchanged. Only the newest gifts are kept in the ledger and among the failed ones; the dead
   * letters are never trimmed.
   *
   * @param outcomes by transactionId
   * @returns the transactionIds of the moved gifts
   */
  settle (token: string, outcomes: ReadonlyMap<string, Outcome>): Promise<string[]>
  counts (): Promise<Counts>
  /**
   * @param after a transactionId; records are sorted by theirs
   * @returns at most `limit` records with a transactionId greater than `after`
   */
  list<K extends RecordKind> (kind: K, after: string, limit: number): Promise<Records[K][]>
  /**
   * Moves dead letters back to the queue, due immediately and without failed attempts.
   *
   * @param transactionIds ids without a dead letter are ignored
   * @returns the number of moved gifts
   */
  replay (transactionIds: readonly string[]): Promise<number>
  /** Stores pending gifts and closes the storage. */
  close (): Promise<void>
}

/** The stored details of a record, without the gift. */
export function detailsOf (outcome: Exclude<Outcome, { to: 'processed' | 'queue' }>): Record<string, unknown> {
  switch (outcome.to) {
    case 'ledger': return { recordedAt: outcome.at }
    case 'failed': return { code: outcome.code, reason: outcome.reason, failedAt: outcome.at }
    case 'deadLetters': return { reason: outcome.reason, deadAt: outcome.at }
  }
}

/** Converts errors of the storage to UNAVAILABLE. */
export async function failingClosed<T> (fn: () => T | Promise<T>): Promise<T> {
  try {
    return await fn()
  } catch (error) {
    throw isCoded(error) ? error : unavailable('The gift outbox is unreachable', error)
  }
}
