import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'
import { withTimeout } from 'flylive-audio-server/feature'
import type { Clock, Logger, Metrics } from 'flylive-audio-server/feature'
import type { Batch, Gift, Outbox, Outcome } from './outbox.ts'
import type { GiftProcessor } from './processor.ts'

/** How often the flusher polls the outbox, in milliseconds. The contract with the backend prescribes this interval. */
const intervalMs = 500
/**
 * Maximum batch size for the first, second and third attempt. Retries use smaller batches and finally single gifts, so
 * that one bad gift does not make the other gifts fail. The contract with the backend prescribes three attempts.
 */
const batchSizes: readonly number[] = [100, 10, 1]
/**
 * Delay before the second attempt to send a gift, in milliseconds. The delay before the third attempt is twice as long.
 */
const retryMs = 1000
/** Maximum number of batches that a server sends at the same time. */
const maxInFlight = 4
/**
 * Shortest and longest pause while the backend is unavailable, in milliseconds. The pause doubles after each failure.
 */
const backoffMs = { min: 500, max: 5000 }
/**
 * How much longer a lease lasts than the timeout of a backend call, in milliseconds. The margin is needed because a
 * lease can start up to 2 s (the Redis timeout) before the flusher receives the gifts.
 */
const leaseMarginMs = 3000

/**
 * The code and reason that gift:error contains if a gift becomes a dead letter. The contract with the backend
 * prescribes them. Only admins see the actual cause.
 */
export const processingFailed = { code: 'PROCESSING_FAILED', reason: 'Processing the gift failed' }

export interface FlusherOptions {
  outbox: Outbox
  /** Returns the current processor; see {@link processorOf}. */
  processor: () => GiftProcessor | 'ledger' | undefined
  /** Called for each gift that will not be charged. */
  onRejected: (gift: Gift, code: number | string, reason: string) => void
  clock: Clock
  metrics: Metrics
  log: Pick<Logger, 'info' | 'warn' | 'error'>
}

/** Sends gifts from the outbox to the backend. */
export interface Flusher {
  /**
   * Must be called after a gift is added to the outbox. When enough gifts for a full batch have been added, sends them
   * without waiting for the next poll.
   */
  added (): void
  /** Polls the outbox immediately. */
  wake (): void
  /** Stops taking gifts from the outbox, and waits for the batches in flight. */
  close (): Promise<void>
}

/**
 * Starts a flusher. The flushers of several servers (and, during a reload, of two generations of this feature) can
 * share an outbox. A gift is never sent by two flushers at the same time, because its lease is longer than the timeout
 * of a backend call.
 */
export function createFlusher ({ outbox, processor, onRejected, clock, metrics, log }: FlusherOptions): Flusher {
  const processed = metrics.counter('flylive_gifts_processed_total', 'Processed gifts, by result: success (charged, or recorded in the ledger), failed (rejected by the backend) or dead (dead letter after all attempts)', ['status'])
  const sizes = metrics.histogram('flylive_gift_batch_size', 'Gifts per batch sent to the backend', [], [1, 2, 5, 10, 25, 50, 75, 100])
  const duration = metrics.histogram('flylive_gift_flush_duration_seconds', 'Duration of the backend calls that charge gifts, by result (ok, error or unavailable)', ['result'], [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30])
  const queueSize = metrics.gauge('flylive_gift_queue_size', 'Gifts queued for the backend, across all servers')
  const deadLetterSize = metrics.gauge('flylive_gift_dead_letter_size', 'Gifts that failed three times (dead letters), across all servers')

  const closing = new AbortController()
  const inFlight = new Set<Promise<void>>()
  let addedHere = 0
  let pause = 0
  let pausedUntil = 0
  let outboxFailed = false

  /** Starts another loop that sends batches, unless sending is paused or the maximum number of loops is running. */
  function pump (): void {
    // While the backend is unavailable, send only one batch at a time, to find out whether the backend is available
    // again.
    if (closing.signal.aborted || performance.now() < pausedUntil || inFlight.size >= (pause > 0 ? 1 : maxInFlight)) return
    const chain = flush().then(() => {
      outboxFailed = false
    }, (err: unknown) => {
      if (!outboxFailed) log.warn({ err }, 'failed to flush gifts')
      outboxFailed = true
    }).finally(() => inFlight.delete(chain))
    inFlight.add(chain)
  }

  /** Sends one batch after another until no gifts are due. */
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
      // Yield to the event loop, because without a backend and Redis this loop does no asynchronous I/O.
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
    // If too little of the lease is left (the process may have been suspended), do not send the batch: the lease could
    // expire during the call, and another server would then send the same gifts.
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
   * Stores the outcomes of a batch, and retries while the outbox is unavailable. If all retries fail, the gifts are
   * sent again after the lease expires; the backend does not charge a gift twice.
   *
   * @returns the ids of the gifts whose outcome was stored
   */
  async function settle (batch: Batch, outcomes: Map<string, Outcome>, leaseEnd: number): Promise<Set<string>> {
    for (let attempt = 1, wait = 50; ; attempt++, wait = Math.min(wait * 2, 1000)) {
      try {
        const settled = await outbox.settle(batch.token, outcomes)
        // During the lease, only this server can store these outcomes. If a retry finds that the outcome of a gift is
        // already stored, an earlier attempt has therefore stored it, but its reply was lost.
        return new Set(attempt > 1 && performance.now() < leaseEnd ? outcomes.keys() : settled)
      } catch (err) {
        if (closing.signal.aborted || performance.now() + wait > leaseEnd) {
          log.warn({ err, gifts: batch.gifts.length }, 'failed to store the results of a gift batch, sending it again later')
          return new Set()
        }
        await delay(wait, undefined, { signal: closing.signal }).catch(() => { /* The flusher is closing, so the loop makes one last attempt. */ })
      }
    }
  }

  /** Pauses sending. The pause doubles after each failure, up to a maximum. */
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
