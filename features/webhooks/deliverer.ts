import { setTimeout as delay } from 'node:timers/promises'
import { withTimeout } from 'flylive-audio-server/feature'
import type { Clock, Logger } from 'flylive-audio-server/feature'
import type { WebhookMetrics } from './metrics.ts'
import type { Delivery, Outcome, QueueState, Target, WebhookStorage } from './queue.ts'
import type { Sender, SendResult } from './sender.ts'

export interface DelivererOptions {
  storage: WebhookStorage
  target: Target
  sender: Sender
  timeoutMs: number
  concurrency: number
  /** Delay before the first retry, in milliseconds. */
  retryMs: number
  /** How long the server retries an undelivered event, in milliseconds. */
  retryForMs: number
  clock: Clock
  metrics: WebhookMetrics
  log: Pick<Logger, 'info' | 'warn' | 'error'>
}

/** Sends the events in the queue of one receiver. */
export interface Deliverer {
  /** Call this after adding events to the queue. */
  wake (): void
  /** Waits up to 2 s for in-flight requests, then aborts the remaining ones. Aborted events stay in the queue. */
  close (): Promise<void>
}

/** Interval at which the deliverer looks for due retries and for events from other servers, in milliseconds. */
const pollMs = 500
/** Time that a lease lasts beyond the timeout of a request, in milliseconds. */
const leaseMarginMs = 5000
const maxBackoffMs = 600_000
const graceMs = 2000
/** Minimum time between two log lines about dead letters of the queue, in milliseconds. */
const logIntervalMs = 60_000

/** @returns the delay before the next attempt, in milliseconds: exponential, with 20 % jitter */
export function backoffMs (retryMs: number, tries: number, random = Math.random()): number {
  return Math.round(Math.min(retryMs * 2 ** Math.min(tries, 30), maxBackoffMs) * (0.8 + 0.4 * random))
}

/** Decides what happens to an event after an attempt to deliver it (docs/webhooks.md, "Retries"). */
export function outcomeOf (sent: SendResult, { tries, event }: Pick<Delivery, 'tries' | 'event'>, { now, retryMs, retryForMs }: { now: number, retryMs: number, retryForMs: number }): Outcome {
  if (sent.result === 'ok') return { to: 'sent' }
  if (sent.result === 'aborted') return { to: 'retry', delayMs: 0 }
  const { reason } = sent
  if (now - event.queuedAt >= retryForMs) return { to: 'dead', reason }
  return { to: 'retry', delayMs: Math.max(backoffMs(retryMs, tries), ('retryAfterMs' in sent ? sent.retryAfterMs : undefined) ?? 0), reason }
}

export function createDeliverer (options: DelivererOptions): Deliverer {
  const { storage, target, sender, timeoutMs, concurrency, clock, metrics, log } = options
  const queue = target.id
  const closing = new AbortController()
  const inFlight = new Set<Promise<void>>()
  let pumping: Promise<void> | undefined
  let wanted = false
  let pausedUntil = 0
  let isFailing = false
  let storageFailed = false
  let dead = { count: 0, loggedAt: -Infinity }

  // Start the counter at 0, because an alert does not count the first value of a series as an increase.
  metrics.dead.inc({ queue, reason: 'expired' }, 0)

  function measure ({ pending, oldestAt, deadLetters }: QueueState): void {
    metrics.pending.set({ queue }, pending)
    metrics.oldestAge.set({ queue }, oldestAt === undefined ? 0 : Math.max(0, clock.now() - oldestAt) / 1000)
    metrics.deadLetters.set(deadLetters)
  }

  /** Leases and sends due events until none remain or the maximum number of requests is in flight. */
  async function takeAll (): Promise<void> {
    while (wanted && !closing.signal.aborted) {
      wanted = false
      const free = concurrency - inFlight.size
      // While the queue is paused, update its metrics but take no events.
      const limit = performance.now() < pausedUntil ? 0 : free
      const taken = await storage.take(queue, limit, timeoutMs + leaseMarginMs)
      measure(taken)
      for (const delivery of taken.deliveries) start(delivery)
      wanted ||= limit > 0 && taken.deliveries.length === limit && inFlight.size < concurrency
      storageFailed = false
    }
  }

  function pump (): void {
    wanted = true
    if (pumping || closing.signal.aborted || inFlight.size >= concurrency) return
    pumping = takeAll().catch((err: unknown) => {
      if (!storageFailed) log.warn({ err, queue }, 'failed to read the webhook queue')
      storageFailed = true
      wanted = false
    }).finally(() => {
      pumping = undefined
      if (wanted) pump()
    })
  }

  function start (delivery: Delivery): void {
    const leaseEnd = performance.now() + timeoutMs + leaseMarginMs
    const done = deliver(delivery, leaseEnd).finally(() => {
      inFlight.delete(done)
      pump()
    })
    inFlight.add(done)
  }

  async function deliver (delivery: Delivery, leaseEnd: number): Promise<void> {
    const begin = performance.now()
    const sent = closing.signal.aborted ? { result: 'aborted' } as const : await sender.send(delivery.event.body)
    if (sent.result !== 'aborted') {
      metrics.requests.inc({ queue, result: sent.result })
      metrics.duration.observe({ queue }, (performance.now() - begin) / 1000)
      report(sent, delivery)
    }
    if (sent.result === 'limited' && sent.retryAfterMs !== undefined) pausedUntil = Math.max(pausedUntil, performance.now() + sent.retryAfterMs)
    const outcome = outcomeOf(sent, delivery, { now: clock.now(), ...options })
    const settled = await settle(delivery, outcome, leaseEnd)
    if (settled && outcome.to === 'dead') {
      metrics.dead.inc({ queue, reason: 'expired' })
      logDead(outcome.reason, delivery)
    }
  }

  function report (sent: SendResult, { roomId, event }: Delivery): void {
    const failed = sent.result !== 'ok'
    if (failed && !isFailing) log.warn({ queue, roomId, webhookId: event.id, reason: 'reason' in sent ? sent.reason : undefined }, 'a webhook request failed')
    if (!failed && isFailing) log.info({ queue }, 'webhooks are delivered again')
    isFailing = failed
  }

  function logDead (reason: string, { roomId, event }: Delivery): void {
    dead.count++
    if (performance.now() - dead.loggedAt < logIntervalMs) return
    log.error({ code: 'WEBHOOK_DEAD', queue, roomId, webhookId: event.id, reason, count: dead.count }, 'webhooks became dead letters')
    dead = { count: 0, loggedAt: performance.now() }
  }

  /**
   * Stores the outcome of an attempt. If storing fails, retries until the lease ends; after that, the event is sent
   * again.
   *
   * @returns whether the outcome was stored
   */
  async function settle (delivery: Delivery, outcome: Outcome, leaseEnd: number): Promise<boolean> {
    for (let wait = 50; ; wait = Math.min(wait * 2, 1000)) {
      try {
        const overflow = await storage.settle(queue, delivery, outcome)
        if (overflow) metrics.deleted.inc(overflow.deleted)
        return overflow !== undefined
      } catch (err) {
        if (closing.signal.aborted || performance.now() + wait > leaseEnd) {
          log.warn({ err, queue, webhookId: delivery.event.id }, 'the result of a webhook was not stored, the webhook will be sent again')
          return false
        }
        await delay(wait, undefined, { signal: closing.signal }).catch(() => { /* While closing, only one more attempt follows. */ })
      }
    }
  }

  const timer = setInterval(pump, pollMs).unref()
  pump()

  return {
    wake: pump,
    async close () {
      clearInterval(timer)
      closing.abort()
      await pumping
      const all = async () => { while (inFlight.size > 0) await Promise.all(inFlight) }
      await withTimeout(all(), graceMs, () => { /* The remaining requests are aborted. */ })
      await sender.close()
      await all()
      metrics.pending.remove({ queue })
      metrics.oldestAge.remove({ queue })
    }
  }
}
