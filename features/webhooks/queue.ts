import { isCoded, unavailable } from 'flylive-audio-server/feature'
import type { QueuedEvent } from './events.ts'

/** An address that receives webhooks. */
export interface Target {
  /** The id of the address and of its queue: the host name and a hash of the URL. */
  id: string
  /** The URL without its query, for display to admins. */
  shownUrl: string
}

/** The stored fields of a room, and the version of the stored room. */
export interface StoredRoom {
  version: number
  fields: ReadonlyMap<string, string>
}

export interface RoomCommit {
  roomId: string
  /** The version of the stored room when it was read. If the version has changed since then, nothing is stored. */
  version: number
  set: ReadonlyMap<string, string>
  remove: ReadonlySet<string>
  /** Time after which the stored room is deleted, unless another commit changes it, in milliseconds. */
  ttlMs?: number | undefined
  /** The events to add to the queue of each target, in this order. */
  events: readonly QueuedEvent[]
}

/** A room that has been reported as started but not as closed. */
export interface ListedRoom {
  roomId: string
  /** The JSON of the room's field `room`. */
  room: string
}

/** The first queued event of a room, leased to one server. */
export interface Delivery {
  roomId: string
  event: QueuedEvent
  /** Number of failed attempts. */
  tries: number
  /** Identifies the lease. */
  token: string
}

/** What happens to a leased event after an attempt to deliver it. */
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
  /** The clock that determines which events are due, in epoch milliseconds. Default: the storage's clock. */
  now?: () => number
  queueLimit: number
  deadLetterLimit: number
}

/**
 * Stores what has been reported about rooms (known-room.ts), one queue of events per target, and dead letters. Two
 * implementations, `sqlite` (one server) and `redis`, pass the same tests (test/contracts/webhook-storage.ts).
 *
 * A queue delivers the events of one room one after another. Events of different rooms do not wait for each other. Each
 * method is atomic, and resolves once its changes are stored. If the storage is unreachable, each method throws
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
   * @returns undefined, without storing anything, if another server has changed the room since the room was read
   */
  commitRoom (commit: RoomCommit, targets: readonly string[]): Promise<Overflow | undefined>
  /** @returns at most `limit` rooms whose ids come after `after`, ordered by id */
  listRooms (after: string, limit: number): Promise<ListedRoom[]>
  /**
   * Leases at most `limit` due events, and only the first event of each room. Events that have been due the longest
   * come first. An event that is not settled within `leaseMs` becomes due again.
   */
  take (target: string, limit: number, leaseMs: number): Promise<Taken>
  /**
   * Applies an outcome to a leased event. If the event leaves the queue, the room's next event becomes due immediately.
   * Events that were due earlier, from other rooms, come first.
   *
   * @returns undefined, without changing anything, if another server has since leased the event
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
   * Moves dead letters back to their queues. Each moved event then comes after the queued events of its room.
   *
   * @returns the number of moved dead letters
   */
  retryDeadLetters (ids: readonly string[]): Promise<number>
  /** @returns the number of deleted dead letters */
  deleteDeadLetters (ids: readonly string[]): Promise<number>
  close (): Promise<void>
}

/** The `reason` of a dead letter that was removed from a full queue. */
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
