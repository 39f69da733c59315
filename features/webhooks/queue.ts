import { isCoded, unavailable } from 'flylive-audio-server/feature'
import type { QueuedEvent } from './events.ts'

/** An address that receives webhooks. */
export interface Target {
  /** Identifies the address and its queue: the host name and a hash of the URL. */
  id: string
  /** The URL without its query, as admins see it. */
  shownUrl: string
}

/** The fields of a room, and their version. */
export interface StoredRoom {
  version: number
  fields: ReadonlyMap<string, string>
}

export interface RoomCommit {
  roomId: string
  /** The version that was read. If the version has changed since then, nothing is stored. */
  version: number
  set: ReadonlyMap<string, string>
  remove: ReadonlySet<string>
  /** Deletes the stored room after this time, in milliseconds, unless it is changed again. */
  ttlMs?: number | undefined
  /** Added to the queue of each target, in this order. */
  events: readonly QueuedEvent[]
}

/** A room that the receivers know. */
export interface ListedRoom {
  roomId: string
  /** The JSON of the `room` field. */
  room: string
}

/** A room's first event, leased to a server. */
export interface Delivery {
  roomId: string
  event: QueuedEvent
  /** Number of failed attempts. */
  tries: number
  /** Identifies the lease. */
  token: string
}

/** What happens to a leased event. */
export type Outcome =
  | { to: 'sent' }
  /** The event is due again after `delayMs`. Without `reason`, the attempt does not count as failed. */
  | { to: 'retry', delayMs: number, reason?: string }
  | { to: 'dead', reason: string }

export interface DeadLetter {
  /** The event's id followed by the target's id, so that dead letters sort by the time of the event. */
  id: string
  queue: string
  roomId: string
  body: string
  tries: number
  reason: string
  /** Epoch milliseconds. */
  deadAt: number
}

export interface QueueState {
  /** Number of undelivered events. */
  pending: number
  /** When the oldest undelivered event was added, in epoch milliseconds. */
  oldestAt: number | undefined
  /** Dead letters of all queues. */
  deadLetters: number
}

export interface Taken extends QueueState {
  deliveries: Delivery[]
}

export interface QueueInfo {
  queue: string
  shownUrl: string
  pending: number
  oldestAt: number | undefined
  lastError: { at: number, reason: string } | undefined
}

/**
 * Number of events moved from full queues to the dead letters, and number of dead letters deleted because there were
 * too many.
 */
export interface Overflow {
  moved: number
  deleted: number
}

export interface StorageOptions {
  /** The clock for due times, in epoch milliseconds. Default: the storage's clock. */
  now?: () => number
  queueLimit: number
  deadLetterLimit: number
}

/**
 * Stores what the receivers know about rooms (known-room.ts), one queue of events per target, and dead letters. Two
 * implementations, `sqlite` (one server) and `redis`, pass the same tests (test/contracts/webhook-storage.ts).
 *
 * A queue delivers the events of one room one after another, but delivers the events of different rooms independently.
 * Each method is atomic, and its changes are stored when it resolves. If the storage is unreachable, each method throws
 * UNAVAILABLE.
 */
export interface WebhookStorage {
  /** Adds the targets to the list of queues. Must be called before events for these targets are added. */
  register (targets: readonly Target[]): Promise<void>
  /** @param names the fields to read; default: all */
  readRoom (roomId: string, names?: readonly string[]): Promise<StoredRoom>
  /**
   * Stores a change to a room together with its events.
   *
   * @param targets ids of the targets that receive the events
   * @returns undefined if another server has changed the room since it was read. In that case, nothing is stored
   */
  commitRoom (commit: RoomCommit, targets: readonly string[]): Promise<Overflow | undefined>
  /** @returns at most `limit` rooms whose ids come after `after`, ordered by id */
  listRooms (after: string, limit: number): Promise<ListedRoom[]>
  /**
   * Leases each room's first event if that event is due, for at most `limit` rooms. Events that have been due the
   * longest come first. After `leaseMs`, an event that was not settled is due again.
   */
  take (target: string, limit: number, leaseMs: number): Promise<Taken>
  /**
   * Applies an outcome to a leased event. If the event leaves the queue, the room's next event is due immediately, but
   * comes after the events of other rooms that were due before.
   *
   * @returns undefined if another server has since leased the event. In that case, nothing changes
   */
  settle (target: string, delivery: Delivery, outcome: Outcome): Promise<Overflow | undefined>
  queues (): Promise<QueueInfo[]>
  /**
   * Deletes a queue and its events.
   *
   * @returns the number of deleted events
   */
  deleteQueue (target: string): Promise<number>
  countDeadLetters (): Promise<number>
  /** @returns at most `limit` dead letters whose ids come after `after`, ordered by id */
  listDeadLetters (after: string, limit: number): Promise<DeadLetter[]>
  /**
   * Moves dead letters back to their queues, after the queued events of their rooms.
   *
   * @returns the number of moved dead letters
   */
  retryDeadLetters (ids: readonly string[]): Promise<number>
  /** @returns the number of deleted dead letters */
  deleteDeadLetters (ids: readonly string[]): Promise<number>
  close (): Promise<void>
}

/** The reason for a dead letter that comes from a full queue. */
export const queueFull = 'The queue was full'

export const deadLetterId = (eventId: string, target: string): string => `${eventId}.${target}`

/** Runs `fn` and converts storage errors to UNAVAILABLE. */
export async function failingClosed<T> (fn: () => T | Promise<T>): Promise<T> {
  try {
    return await fn()
  } catch (error) {
    throw isCoded(error) ? error : unavailable('The webhook queue is unreachable', error)
  }
}
