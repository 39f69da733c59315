import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'
import { withTimeout } from 'flylive-audio-server/feature'
import type { Clock, Logger, Metrics } from 'flylive-audio-server/feature'
import type { Batch, Gift, Outbox, Outcome } from './outbox.ts'
import type { GiftProcessor } from './processor.ts'

/** Poll interval of the outbox, in milliseconds (set by the backend's contract). */
const intervalMs = 500
/**
 * Maximum batch size by number of failed attempts. Retries use smaller batches and
 * finally single gifts, so that one bad gift does not fail the others. The length of
 * this list is the maximum number of attempts (three, set by the backend's contract).
 */
const batchSizes: readonly number[] = [100, 10, 1]
/** Delay before the second attempt of a gift, in milliseconds; doubled for the third. */
const retryMs = 1000
/** Maximum number of batches in flight per server. */
const maxInFlight = 4
/** Exponential backoff while the backend is unavailable, in milliseconds. */
const backoffMs = { min: 500, max: 5000 }
/**
 * How much longer a lease lasts than the timeout of a backend call, in milliseconds. The lease may start up to 2 s (the
 * Redis timeout) before the flusher receives the gifts.
 */
const leaseMarginMs = 3000

/**
 * The code and reason in gift:error for a dead letter (set by the backend's contract). Only admins see the
 * actual cause.
 */
export const processingFailed = { code: 'PROCESSING_FAILED', reason: 'Processing the gift failed' }

export interface FlusherOptions {
  outbox: Outbox
  /** The current processor; see {@link processorOf}. */
  processor: () => GiftProcessor | 'ledger' | undefined
  /** Called for each gift that failed permanently. */
  onRejected: (gift: Gift, code: number | string, reason: string) => void
  clock: Clock
  metrics: Metrics
  log: Pick<Logger, 'info' | 'warn' | 'error'>
}

/** Sends gifts from the outbox to the backend. */
export interface Flusher {
  /** Must be called after each gift is added to the outbox. Sends gifts once there are enough for a full batch. */
  added (): void
  /** Polls the outbox immediately. */
  wake (): void
  /** Stops taking gifts and waits for the batches in flight. */
  close (): Promise<void>
}

/**
 * Starts a flusher. Several servers (and, during a reload, two instances of this feature) can
 * share an outbox. Only one flusher holds a gift at a time, because the lease outlasts the
 * timeout of a backend call.
 */
export function createFlusher ({ outbox, processor, onRejected, clock, metrics, log }: FlusherOptions): Flusher {
  const processed = metrics.counter('flylive_gifts_processed_total', 'Processed gifts, by result: success (charged, or recorded in the ledger), failed (rejected by the backend) or dead (dead letter after all attempts)', ['status'])
  const sizes = metrics.histogram('flylive_gift_batch_size', 'Gifts per batch sent to the backend', [], [1, 2, 5, 10, 25, 50, 75, 100])
  const duration = metrics.histogram('flylive_gift_flush_duration_seconds', 'Duration of backend calls, by result (ok, error or unavailable)', ['result'], [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30])
  const queueSize = metrics.gauge('flylive_gift_queue_size', 'Gifts queued for the backend, across all servers')
  const deadLetterSize = metrics.gauge('flylive_gift_dead_letter_size', 'Gifts that failed three times (dead letters), across all servers')

  const closing = new AbortController()
  const inFlight = new Set<Promise<void>>()
  let addedHere = 0
  let pause = 0
  let pausedUntil = 0
  let outboxFailed = false

  /** Starts another loop that sends batches, unless sending is paused or the limit is reached. */
  function pump (): void {
    // While the backend is unavailable, send only one batch at a time, to check whether the backend is back.
    if (closing.signal.aborted || performance.now() < pausedUntil || inFlight.size >= (pause > 0 ? 1 : maxInFlight)) return
    const chain = flush().then(() => {
      outboxFailed = false
    }, (err: unknown) => {
      if (!outboxFailed) log.warn({ err }, 'failed to flush gifts')
      outboxFailed = true
    }).finally(() => inFlight.delete(chain))
    inFlight.add(chain)
  }

  /** Sends batches until the queue is empty. */
  async function flush (): Promise<void> {
    let more = true
    while (more && !closing.signal.aborted && performance.now() >= pausedUntil) {
      const to = processor()
      if (to === undefined) {
        const { queued, deadLetters } = await outbox.counts()
        measure(queued, deadLetters)
        return backOff()
      }
      const leaseMs = (to === 'ledger' ? 0 : to.timeoutMs) + leaseMarginMs
      const leaseEnd = performance.now() + leaseMs
      addedHere = 0
      const batch = await outbox.take(batchSizes, leaseMs)
      measure(batch.queued, batch.deadLetters)
      more = batch.more
      if (batch.gifts.length === 0) continue
      if (more) pump()
      await processBatch(batch, to, leaseEnd)
      // With neither a backend nor Redis, this loop does no asynchronous I/O, so it must yield here.
      await nextTurn()
    }
  }

  async function processBatch (batch: Batch, to: GiftProcessor | 'ledger', leaseEnd: number): Promise<void> {
    const outcomes = to === 'ledger' ? forAll(batch, { to: 'ledger', at: clock.now() }) : await send(batch, to, leaseEnd)
    const settled = await settle(batch, outcomes, leaseEnd)
    const settledGifts = batch.gifts.filter(({ transactionId }) => settled.has(transactionId))
    const counts = { success: 0, failed: 0, dead: 0 }
    for (const gift of settledGifts) {
      const outcome = outcomes.get(gift.transactionId) as Outcome
      if (outcome.to === 'processed' || outcome.to === 'ledger') counts.success++
      if (outcome.to === 'failed') {
        counts.failed++
        onRejected(gift, outcome.code, outcome.reason)
      }
      if (outcome.to === 'deadLetters') {
        counts.dead++
        onRejected(gift, processingFailed.code, processingFailed.reason)
      }
    }
    for (const [status, count] of Object.entries(counts)) if (count > 0) processed.inc({ status }, count)
    if (counts.dead > 0) log.error({ transactionIds: settledGifts.map(({ transactionId }) => transactionId) }, 'gifts moved to dead letters')
  }

  /**
   * Sends a batch to the backend. The promise never rejects.
   *
   * @returns the outcome of each gift
   */
  async function send (batch: Batch, to: GiftProcessor, leaseEnd: number): Promise<Map<string, Outcome>> {
    const begin = performance.now()
    const finish = (result: 'ok' | 'error' | 'unavailable') => duration.observe({ result }, (performance.now() - begin) / 1000)
    // If the process was suspended, the call could outlast the lease, and another server would send the same gifts.
    if (begin + to.timeoutMs > leaseEnd) return forAll(batch, { to: 'queue', delayMs: 0, counted: false })
    sizes.observe(batch.gifts.length)
    try {
      const { failed } = await withTimeout(to.processGifts(batch.gifts), leaseEnd - begin, () => {
        throw new Error('The backend call timed out')
      })
      const outcomes = forAll(batch, { to: 'processed' })
      for (const { transactionId, code, reason } of failed) {
        if (outcomes.get(transactionId)?.to === 'processed') outcomes.set(transactionId, { to: 'failed', code, reason, at: clock.now() })
      }
      pause = 0
      finish('ok')
      return outcomes
    } catch (err) {
      if ((err as { code?: unknown } | null)?.code === 'UNAVAILABLE') {
        backOff()
        finish('unavailable')
        return forAll(batch, { to: 'queue', delayMs: 0, counted: false })
      }
      const last = batch.tries + 1 >= batchSizes.length
      log.warn({ err, gifts: batch.gifts.length, try: batch.tries + 1 }, 'gift batch failed')
      finish('error')
      return forAll(batch, last
        ? { to: 'deadLetters', reason: (err instanceof Error ? err.message : String(err)).slice(0, 500), at: clock.now() }
        : { to: 'queue', delayMs: retryMs * 2 ** batch.tries, counted: true })
    }
  }

  /**
   * Stores the outcomes of a batch, with retries while the outbox is unavailable. If all retries fail,
   * the gifts are due again when the lease expires; the backend does not charge them twice.
   *
   * @returns the ids of the gifts whose outcome was stored
   */
  async function settle (batch: Batch, outcomes: Map<string, Outcome>, leaseEnd: number): Promise<Set<string>> {
    for (let attempt = 1, wait = 50; ; attempt++, wait = Math.min(wait * 2, 1000)) {
      try {
        const settled = await outbox.settle(batch.token, outcomes)
        // Within the lease, no other server can settle these gifts. If some are already settled on a retry, an earlier
        // attempt settled them and its reply was lost.
        return new Set(attempt > 1 && performance.now() < leaseEnd ? outcomes.keys() : settled)
      } catch (err) {
        if (closing.signal.aborted || performance.now() + wait > leaseEnd) {
          log.warn({ err, gifts: batch.gifts.length }, 'failed to store the results of a gift batch, sending it again later')
          return new Set()
        }
        await delay(wait, undefined, { signal: closing.signal }).catch(() => { /* The flusher is closing: the loop makes one last attempt. */ })
      }
    }
  }

  /** Pauses sending. Each failure doubles the pause, up to a maximum. */
  function backOff (): void {
    if (performance.now() < pausedUntil) return
    pause = Math.min(Math.max(pause * 2, backoffMs.min), backoffMs.max)
    pausedUntil = performance.now() + pause
  }

  function measure (queued: number, deadLetters: number): void {
    queueSize.set(queued)
    deadLetterSize.set(deadLetters)
  }

  const timer = setInterval(pump, intervalMs).unref()

  return {
    added () {
      if (++addedHere >= (batchSizes[0] ?? 0)) pump()
    },
    wake: pump,
    async close () {
      clearInterval(timer)
      closing.abort()
      while (inFlight.size > 0) await Promise.all(inFlight)
    }
  }
}

function forAll (batch: Batch, outcome: Outcome): Map<string, Outcome> {
  return new Map(batch.gifts.map(({ transactionId }) => [transactionId, outcome]))
}
