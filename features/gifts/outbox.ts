import { isCoded, unavailable } from 'flylive-audio-server/feature'
import type { UserId } from 'flylive-audio-server/feature'

/** A gift as it was accepted. Nothing of it changes afterwards. */
export interface Gift {
  /** UUIDv7: its order is the order of time, which is the sender's own where the sender gave a key. */
  transactionId: string
  roomId: string
  senderId: UserId
  recipientId: UserId
  giftId: number
  quantity: number
  /** When it was accepted, epoch milliseconds. */
  timestamp: number
}

/** Gifts that are somebody's to deal with until the lease ends. */
export interface Batch {
  /** Tells this lease from every other one. */
  token: string
  /** Those that have been due for longest first. */
  gifts: readonly Gift[]
  /** How often each of them was tried in vain. */
  tries: number
  /** Whether others may be due now. */
  more: boolean
  /** How many gifts wait or are being dealt with, these included. */
  queued: number
  deadLetters: number
}

/** What becomes of a gift that was taken. */
export type Outcome =
  /** The backend has it: nothing is kept here. */
  | { to: 'processed' }
  /** There is no backend: it is recorded here for good. */
  | { to: 'ledger', at: number }
  /** The backend refused it for good. */
  | { to: 'failed', code: number, reason: string, at: number }
  /** It was tried as often as is allowed. */
  | { to: 'deadLetters', reason: string, at: number }
  /** It is due again after `delayMs`; `counted` makes that one more failed try. */
  | { to: 'queue', delayMs: number, counted: boolean }

/** What is kept for good, by kind. */
export interface Records {
  ledger: Gift & { recordedAt: number }
  failed: Gift & { code: number, reason: string, failedAt: number }
  deadLetters: Gift & { tries: number, reason: string, deadAt: number }
}
export type RecordKind = keyof Records

/** Where a gift is, with what is known of it there. */
export type Found = { place: 'queue', gift: Gift } | { [K in RecordKind]: { place: K, gift: Records[K] } }[RecordKind]

/**
 * Failed gifts that are kept. A user without coins makes thirty a minute, and
 * has been told of each; nothing is left to be done about them.
 */
export const keptFailed = 100_000
/** Failed gifts that are deleted in one step at most: where there are many more, the storage is not held up. */
export const trimmedAtOnce = 1000

/** How many gifts there are: `queued` ones wait or are being dealt with. */
export type Counts = Record<'queued' | RecordKind, number>

/**
 * Where gifts are from the moment they are accepted until the backend has
 * them. Two implementations, `sqlite` (one server) and `redis`, pass the same
 * contract suite (test/contracts/gift-outbox.ts).
 *
 * A gift is always in exactly one place: the queue or one of the records. It
 * leaves the queue only by {@link settle}. Each method is atomic and durable when
 * it resolves. When the storage can't be reached, or its answer is lost, it throws
 * UNAVAILABLE; then what was asked for may or may not have been done.
 */
export interface Outbox {
  /**
   * Puts a gift into the queue, due at once, unless it is in the queue or among
   * the records: then it stays there as it is. One that was processed is known no more
   * and is queued anew; the backend knows it.
   *
   * @returns where it was before; undefined when it is queued now
   */
  add (gift: Gift): Promise<Found | undefined>
  /**
   * Takes due gifts, the one that has been due for longest and others that were
   * tried as often. Nobody else gets them for `leaseMs`, counted by the clock of
   * the storage; after that they are due again, which is how the batch of a
   * server that was killed is taken over.
   *
   * @param sizes how many at most, by how often they were tried in vain; the last one counts from there on
   */
  take (sizes: readonly number[], leaseMs: number): Promise<Batch>
  /**
   * Moves gifts of a batch to where they belong. Those of them that are not
   * this lease's any more are left alone. Of the failed ones there are then only
   * the newest {@link keptFailed}; ledger and dead letters stay whole.
   *
   * @param outcomes by transactionId
   * @returns the transactionIds that it took effect on
   */
  settle (token: string, outcomes: ReadonlyMap<string, Outcome>): Promise<string[]>
  counts (): Promise<Counts>
  /**
   * @param after a transactionId; records are listed in the order of theirs
   * @returns at most `limit` records after it
   */
  list<K extends RecordKind> (kind: K, after: string, limit: number): Promise<Records[K][]>
  /**
   * Puts dead letters back into the queue, due at once and as if never tried.
   *
   * @param transactionIds which; those that are no dead letters are passed over
   * @returns how many there were
   */
  replay (transactionIds: readonly string[]): Promise<number>
  /** Releases what this opened. What was accepted is stored before. */
  close (): Promise<void>
}

/** What a record keeps besides the gift itself, as it is stored. */
export function detailsOf (outcome: Exclude<Outcome, { to: 'processed' | 'queue' }>): Record<string, unknown> {
  switch (outcome.to) {
    case 'ledger': return { recordedAt: outcome.at }
    case 'failed': return { code: outcome.code, reason: outcome.reason, failedAt: outcome.at }
    case 'deadLetters': return { reason: outcome.reason, deadAt: outcome.at }
  }
}

/** Turns whatever the storage throws into UNAVAILABLE. */
export async function failingClosed<T> (fn: () => T | Promise<T>): Promise<T> {
  try {
    return await fn()
  } catch (error) {
    throw isCoded(error) ? error : unavailable('The gift outbox cannot be reached', error)
  }
}
