import { createHash } from 'node:crypto'
import { createEvent, maxEventBytes } from 'flylive-audio-server/feature'
import type { FeatureInstance, Metrics } from 'flylive-audio-server/feature'
import type { Removals } from './removals.ts'
import { readEnvelope } from './envelope.ts'
import type { Envelope } from './envelope.ts'
import { createQueue } from './queue.ts'
import type { QueueOptions } from './queue.ts'
import type { Rights } from './rights.ts'

/** When each event was relayed, by deduplication key. */
export type RelayedAt = Map<string, number>

/** State that survives a reload, because the next relay subscribes to the channel before the previous relay closes. */
export interface RelayHistory {
  readonly relayedAt: RelayedAt
  /** Resolves once all previous relays have drained their queues; undefined before the first relay. */
  closed: Promise<void> | undefined
}

export const createRelayHistory = (): RelayHistory => ({ relayedAt: new Map(), closed: undefined })

export interface RelayOptions extends Pick<FeatureInstance, 'log' | 'metrics' | 'rooms' | 'sockets'> {
  /** Names of the events to relay. */
  names: readonly string[]
  rights: Pick<Rights, 'invalidate' | 'invalidateRole'>
  removals: Pick<Removals, 'kick' | 'block'>
  history: RelayHistory
  queue?: Partial<Pick<QueueOptions, 'maxItems' | 'maxLength' | 'sliceMs'>>
}

export interface Relay {
  /** Queues a message that the backend published. */
  receive (text: string): void
  /** Relays all queued messages, then stops. */
  close (): void
}

/**
 * How long the relay recognises duplicates of an event, in milliseconds; set by the backend's contract.
 */
export const dedupMs = 300_000
/** Maximum number of remembered events: enough for 300 events per second. */
export const maxDedupKeys = 100_000
/** Minimum interval between two log lines about malformed envelopes, in milliseconds. */
const warnIntervalMs = 1000

/**
 * Registers the metrics of the relay. Called even if Redis is not configured and there is no relay, so that dashboards
 * find the metrics.
 */
export function relayMetrics (metrics: Metrics) {
  return {
    received: metrics.counter('flylive_laravel_events_received_total', 'Events forwarded from the backend, by type and by whether this server had a recipient', ['event_type', 'delivered']),
    dropped: metrics.counter('flylive_laravel_events_dropped_total', "Messages from the backend's channel that were dropped, by reason", ['reason']),
    inFlight: metrics.gauge('flylive_laravel_events_in_flight', 'Queued events from the backend'),
    duration: metrics.histogram('flylive_laravel_event_processing_duration_seconds', 'Time from receiving an event from the backend to delivering it', [], [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5])
  }
}

/**
 * Relays the backend's events to this server's sockets. Every server subscribes to the events and sends them only to
 * its own sockets, so each socket receives an event once. Each user and each room receives events in the order in which
 * the backend published them.
 */
export function createRelay ({ names, history, rooms, sockets, rights, removals, log, metrics, queue: limits = {} }: RelayOptions): Relay {
  const allowed = new Set(names)
  const { relayedAt, closed: previousClosed } = history
  const closed = Promise.withResolvers<void>()
  // If this generation of the feature fails to start, this relay closes before the previous relay. The next relay
  // therefore waits for this relay and for all previous relays.
  history.closed = Promise.all([previousClosed, closed.promise]).then(() => {})
  // The relay cannot deduplicate events that have no id, so it ignores such events if they arrived while the previous
  // relay was open.
  let firstArrival = previousClosed ? Infinity : 0
  let warnedAt = -Infinity

  const { received, dropped, inFlight, duration } = relayMetrics(metrics)

  const queue = createQueue({
    maxItems: 20_000,
    maxLength: 33_554_432,
    sliceMs: 5,
    ...limits,
    startAfter: previousClosed?.then(() => { firstArrival = performance.now() }),
    handle (text, at) {
      try {
        handle(text, at)
      } catch (err) {
        log.error({ err }, 'failed to forward an event from the backend')
      }
      inFlight.set(queue.size)
    }
  })

  /**
   * Records an event.
   *
   * @returns whether the event is new
   */
  function isNew ({ correlationId, event, userKey, roomId }: Envelope, at: number): boolean {
    if (correlationId === undefined) return at >= firstArrival
    const now = performance.now()
    for (const [key, then] of relayedAt) {
      if (relayedAt.size < maxDedupKeys && now - then < dedupMs) break
      relayedAt.delete(key)
    }
    // A single request to the backend may cause several events with the same id.
    const key = JSON.stringify([correlationId, event, userKey, roomId])
    if (relayedAt.has(key)) return false
    relayedAt.set(key, now)
    return true
  }

  /** @returns whether the event had a recipient on this server */
  function deliver ({ event, userKey, roomId, payload }: Envelope): boolean {
    const outgoing = createEvent(event, payload)
    const bytes = Buffer.byteLength(outgoing.text)
    if (bytes > maxEventBytes) {
      dropped.inc({ reason: 'too_large' })
      log.warn({ event, bytes }, 'event from the backend not forwarded: it is larger than 64 KiB')
      return false
    }
    if (userKey === undefined && roomId !== undefined) return rooms.sendHere(roomId, outgoing)
    let reached = false
    for (const session of userKey === undefined ? sockets.all() : sockets.ofUser(userKey)) {
      session.write(outgoing)
      reached = true
    }
    return reached
  }

  /** Invalidates cached rights if an event changes roles or memberships. Removes kicked and blocked users. */
  function applyLocally ({ event, userId, userKey, roomId, correlationId }: Envelope, text: string): void {
    if (roomId === undefined) return
    if (event === 'room.member_role_changed') rights.invalidate(roomId, userKey)
    if (userId === undefined || userKey === undefined || (event !== 'room.member_kicked' && event !== 'room.member_blocked')) return
    // The room keeps its owner, who can then act even if the backend fails after this event.
    rights.invalidateRole(roomId, userKey)
    const eventId = correlationId ?? createHash('sha256').update(text).digest('hex')
    if (event === 'room.member_kicked') removals.kick(roomId, userKey, eventId)
    else removals.block(roomId, userId, eventId)
  }

  function malformed (problem: string): void {
    dropped.inc({ reason: 'malformed' })
    if (performance.now() - warnedAt < warnIntervalMs) return
    warnedAt = performance.now()
    log.warn({ problem }, "malformed message on the backend's channel")
  }

  function handle (text: string, at: number): void {
    const result = readEnvelope(text)
    if ('problem' in result) {
      malformed(result.problem)
    } else if (!allowed.has(result.envelope.event)) {
      dropped.inc({ reason: 'unknown' })
      log.debug({ event: result.envelope.event.slice(0, 64) }, 'event from the backend is not in LARAVEL_EVENTS')
    } else if (!isNew(result.envelope, at)) {
      dropped.inc({ reason: 'duplicate' })
    } else {
      const { envelope } = result
      const delivered = deliver(envelope)
      applyLocally(envelope, text)
      received.inc({ event_type: envelope.event, delivered: String(delivered) })
      duration.observe((performance.now() - at) / 1000)
    }
  }

  return {
    receive (text) {
      if (!queue.push(text)) return dropped.inc({ reason: 'overflow' })
      inFlight.set(queue.size)
    },
    close () {
      queue.close()
      closed.resolve()
    }
  }
}
