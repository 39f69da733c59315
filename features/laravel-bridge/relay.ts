import { createHash } from 'node:crypto'
import { createEvent } from 'flylive-audio-server/feature'
import type { FeatureInstance, Metrics } from 'flylive-audio-server/feature'
import type { Endings } from './endings.ts'
import { readEnvelope } from './envelope.ts'
import type { Envelope } from './envelope.ts'
import { createQueue } from './queue.ts'
import type { QueueOptions } from './queue.ts'
import type { Rights } from './rights.ts'

/** Events that were passed on and when, by what makes a second delivery known as such. */
export type Passed = Map<string, number>

/** What successive relays share, the next of which already listens while the previous one still does. It outlives a reload. */
export interface RelayHistory {
  readonly passed: Passed
  /** When all relays so far have passed on what they received; undefined before the first. */
  closed: Promise<void> | undefined
}

export const createRelayHistory = (): RelayHistory => ({ passed: new Map(), closed: undefined })

export interface RelayOptions extends Pick<FeatureInstance, 'log' | 'metrics' | 'rooms' | 'sockets'> {
  /** Names of the events that are passed on. */
  names: readonly string[]
  rights: Pick<Rights, 'forget'>
  endings: Pick<Endings, 'kick' | 'block'>
  /** What the relays before it receive is theirs to pass on. */
  history: RelayHistory
  queue?: Partial<Pick<QueueOptions, 'maxItems' | 'maxLength' | 'sliceMs'>>
}

export interface Relay {
  /** Takes what the backend has published. */
  receive (text: string): void
  /** Passes on what still waits. */
  close (): void
}

/** How long a second delivery of an event is known as such (the backend's contract), in milliseconds. */
export const passedMs = 300_000
/** Events of which that is known, if there are more in that time: 300 a second. */
export const maxPassed = 100_000
/** One line about malformed envelopes in this time, in milliseconds; all are counted. */
const warnMs = 1000

/** What is measured of it; made where nothing is passed on, too, so that dashboards find it. */
export function relayMetrics (metrics: Metrics) {
  return {
    received: metrics.counter('flylive_laravel_events_received_total', 'Events of the backend that were passed on, and whether somebody here was there for them', ['event_type', 'delivered']),
    dropped: metrics.counter('flylive_laravel_events_dropped_total', 'What came on the channel of the backend and was not passed on', ['reason']),
    inFlight: metrics.gauge('flylive_laravel_events_in_flight', 'Events of the backend that wait for their turn'),
    duration: metrics.histogram('flylive_laravel_event_processing_duration_seconds', 'From the arrival of an event to its delivery', [], [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5])
  }
}

/**
 * Passes the backend's events on to this server's sockets. Every server listens
 * for itself and serves its own, so nothing is delivered twice, and each user
 * and each room gets its events in the order in which they were published.
 */
export function createRelay ({ names, history, rooms, sockets, rights, endings, log, metrics, queue: limits = {} }: RelayOptions): Relay {
  const allowed = new Set(names)
  const { passed, closed: previousClosed } = history
  const closed = Promise.withResolvers<void>()
  // A relay whose feature fails to start closes before the previous one does.
  history.closed = Promise.all([previousClosed, closed.promise]).then(() => {})
  // Events without an id can't be known again: those that came before this are not this generation's.
  let since = previousClosed ? Infinity : 0
  let warnedAt = -Infinity

  const { received, dropped, inFlight, duration } = relayMetrics(metrics)

  const queue = createQueue({
    maxItems: 20_000,
    maxLength: 33_554_432,
    sliceMs: 5,
    ...limits,
    startAfter: previousClosed?.then(() => { since = performance.now() }),
    handle (text, at) {
      try {
        handle(text, at)
      } catch (err) {
        log.error({ err }, 'an event of the backend could not be passed on')
      }
      inFlight.set(queue.size)
    }
  })

  /** @returns whether the event has not been passed on yet; from now on it has */
  function isNew ({ correlationId, event, userKey, roomId }: Envelope, at: number): boolean {
    if (correlationId === undefined) return at >= since
    const now = performance.now()
    for (const [key, then] of passed) {
      if (passed.size < maxPassed && now - then < passedMs) break
      passed.delete(key)
    }
    // An id may stand for all that one request to the backend has led to.
    const key = JSON.stringify([correlationId, event, userKey, roomId])
    if (passed.has(key)) return false
    passed.set(key, now)
    return true
  }

  /** @returns whether anybody got it */
  function passOn ({ event, userKey, roomId, payload }: Envelope): boolean {
    if (userKey === undefined && roomId !== undefined) {
      return rooms.sendHere(roomId, createEvent(event, payload))
    }
    const outgoing = createEvent(event, payload)
    let reached = false
    for (const session of userKey === undefined ? sockets.all() : sockets.ofUser(userKey)) {
      session.write(outgoing)
      reached = true
    }
    return reached
  }

  /** What an event means for this server besides. */
  function follow ({ event, userKey, roomId, correlationId }: Envelope, text: string): void {
    if (roomId === undefined) return
    if (event === 'room.member_role_changed') rights.forget(roomId, userKey)
    if (userKey === undefined || (event !== 'room.member_kicked' && event !== 'room.member_blocked')) return
    rights.forget(roomId, userKey)
    const eventId = correlationId ?? createHash('sha256').update(text).digest('hex')
    if (event === 'room.member_kicked') endings.kick(roomId, userKey, eventId)
    else endings.block(roomId, userKey, eventId)
  }

  function malformed (problem: string): void {
    dropped.inc({ reason: 'malformed' })
    if (performance.now() - warnedAt < warnMs) return
    warnedAt = performance.now()
    log.warn({ problem }, 'what came on the channel of the backend is no event')
  }

  function handle (text: string, at: number): void {
    const result = readEnvelope(text)
    if ('problem' in result) {
      malformed(result.problem)
    } else if (!allowed.has(result.envelope.event)) {
      dropped.inc({ reason: 'unknown' })
      log.debug({ event: result.envelope.event.slice(0, 64) }, 'an event of the backend is not one that is passed on')
    } else if (!isNew(result.envelope, at)) {
      dropped.inc({ reason: 'duplicate' })
    } else {
      const { envelope } = result
      const delivered = passOn(envelope)
      follow(envelope, text)
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
