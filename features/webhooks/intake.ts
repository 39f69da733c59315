import type { Logger } from 'flylive-audio-server/feature'
import { nameOf } from './events.ts'
import { applyChanges, closedTtlMs, fieldsFor, isOpen, needsAllFields, roomField } from './known-room.ts'
import type { Change } from './known-room.ts'
import type { WebhookMetrics } from './metrics.ts'
import type { WebhookStorage } from './queue.ts'

interface Waiting { change: Change, stored: (() => void)[] }

interface WaitingRoom {
  changes: Waiting[]
  /** Whether the changes of this room are being stored, by the current or the previous generation of the feature. */
  isBusy: boolean
}

/** Changes that are not stored yet. Kept across reloads. */
export interface KeptChanges {
  rooms: Map<string, WaitingRoom>
  size: number
}

export const createKeptChanges = (): KeptChanges => ({ rooms: new Map(), size: 0 })

export interface IntakeOptions {
  storage: WebhookStorage
  targets: readonly string[]
  kept: KeptChanges
  /** Called after events are added to the queues. */
  onQueued: () => void
  metrics: WebhookMetrics
  log: Pick<Logger, 'warn' | 'error'>
}

/**
 * Stores the changes that this server observes, together with the resulting events. The changes of one room are stored
 * in the order of their arrival.
 */
export interface Intake {
  /** Stores a change as soon as possible. Ignores the change if a change with the same id is already waiting. */
  add (roomId: string, change: Change): void
  /** Resolves when all changes added to a room so far are stored. */
  stored (roomId: string): Promise<void>
  /** Waits for in-flight commits and then stops. Changes that are not stored yet stay in `kept`. */
  close (): Promise<void>
}

/**
 * Maximum number of changes that wait while the storage is unavailable. Further changes are dropped. The reconciler
 * later detects most of the dropped changes.
 */
const maxWaiting = 20_000
/** Maximum number of changes per commit. */
const maxBatch = 100
const retryMs = 500
const logIntervalMs = 60_000

export function createIntake ({ storage, targets, kept, onQueued, metrics, log }: IntakeOptions): Intake {
  const running = new Set<Promise<void>>()
  const closing = new AbortController()
  let storageFailed = false
  let loggedAt = { dropped: -Infinity, overflow: -Infinity }

  /** @throws UNAVAILABLE */
  async function commit (roomId: string, changes: readonly Change[]): Promise<void> {
    for (let isComplete = false; ;) {
      const { version, fields } = await storage.readRoom(roomId, isComplete ? undefined : fieldsFor(changes))
      const step = applyChanges(roomId, fields, changes, isComplete)
      if (step === needsAllFields) {
        isComplete = true
        continue
      }
      const { set, remove, events } = step
      if (set.size + remove.size + events.length === 0) return
      const ttlMs = isOpen(set.get(roomField) ?? fields.get(roomField)) ? undefined : closedTtlMs
      const overflow = await storage.commitRoom({ roomId, version, set, remove, ttlMs, events }, targets)
      // Another server has changed the stored room in the meantime, so read the room again.
      if (!overflow) continue
      for (const { body } of events) metrics.events.inc({ event: nameOf(body) })
      if (overflow.moved > 0) reportOverflow(overflow.moved)
      metrics.deleted.inc(overflow.deleted)
      if (events.length > 0) onQueued()
      return
    }
  }

  function reportOverflow (moved: number): void {
    // The metric does not show which queue was full, but the dead letters do.
    metrics.dead.inc({ queue: 'any', reason: 'overflow' }, moved)
    if (performance.now() - loggedAt.overflow < logIntervalMs) return
    loggedAt = { ...loggedAt, overflow: performance.now() }
    log.error({ code: 'WEBHOOK_QUEUE_FULL', moved }, 'a webhook queue is full, its oldest webhooks became dead letters')
  }

  async function drain (roomId: string, room: WaitingRoom): Promise<void> {
    while (room.changes.length > 0 && !closing.signal.aborted) {
      const batch = room.changes.slice(0, maxBatch)
      try {
        await commit(roomId, batch.map(({ change }) => change))
        storageFailed = false
      } catch (err) {
        if ((err as { code?: unknown }).code === 'UNAVAILABLE') {
          if (!storageFailed) log.warn({ err }, 'webhooks cannot be stored, retrying')
          storageFailed = true
          return
        }
        log.error({ err, roomId }, 'room changes were not reported to the webhook receivers')
      }
      room.changes.splice(0, batch.length)
      kept.size -= batch.length
      for (const { stored } of batch) for (const resolve of stored) resolve()
    }
    if (room.changes.length === 0) kept.rooms.delete(roomId)
  }

  function start (roomId: string, room: WaitingRoom): void {
    if (room.isBusy || closing.signal.aborted) return
    room.isBusy = true
    const done = drain(roomId, room).finally(() => {
      room.isBusy = false
      running.delete(done)
    })
    running.add(done)
  }

  // Retries failed commits, and stores the changes that the feature's previous generation did not store.
  const timer = setInterval(() => { for (const [roomId, room] of kept.rooms) start(roomId, room) }, retryMs).unref()

  return {
    add (roomId, change) {
      const room = kept.rooms.get(roomId) ?? { changes: [], isBusy: false }
      if (kept.size >= maxWaiting) {
        metrics.dropped.inc()
        if (performance.now() - loggedAt.dropped < logIntervalMs) return
        loggedAt = { ...loggedAt, dropped: performance.now() }
        log.error({ code: 'WEBHOOK_CHANGES_DROPPED', waiting: kept.size }, 'too many changes wait to be stored, new ones are dropped')
        return
      }
      if (room.changes.some((waiting) => waiting.change.id === change.id)) return
      kept.rooms.set(roomId, room)
      room.changes.push({ change, stored: [] })
      kept.size++
      start(roomId, room)
    },
    async stored (roomId) {
      const last = kept.rooms.get(roomId)?.changes.at(-1)
      if (last) await new Promise<void>((resolve) => { last.stored.push(resolve) })
    },
    async close () {
      closing.abort()
      clearInterval(timer)
      await Promise.all(running)
    }
  }
}
