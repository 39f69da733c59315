import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'
import { withTimeout } from 'flylive-audio-server/feature'
import type { Logger, Metrics } from 'flylive-audio-server/feature'
import type { Batch, Gift, Outbox, Outcome } from './outbox.ts'
import type { GiftProcessor } from './processor.ts'

/** How often queued gifts are looked for, in milliseconds (contracts/flylive.md). */
const intervalMs = 500
/**
 * Gifts in a batch, by how often they were tried in vain. A batch that the
 * backend fails on as a whole is tried again in smaller ones and then one by one,
 * so that a gift it chokes on takes no others along. There are as many tries as
 * there are sizes (three: contracts/flylive.md).
 */
const batchSizes: readonly number[] = [100, 10, 1]
/** Wait before the second try of a gift; it doubles for the third. In milliseconds. */
const retryMs = 1000
/** Batches that one server has on the way at most. */
const maxUnderWay = 4
/** Wait after the backend could not be asked: from the first to the last, doubling, in milliseconds. */
const pauseMs = { from: 500, to: 5000 }
/**
 * What a lease is longer than a call to the backend may be, in milliseconds:
 * taking gifts lasts up to 2 s (plugins/redis) and counts from its start.
 */
const leaseMarginMs = 3000

/** What gift:error says when a gift could not be processed (contracts/flylive.md). What went wrong inside is for admins. */
export const processingFailed = { code: 'PROCESSING_FAILED', reason: 'The gift could not be processed' }

export interface FlusherOptions {
  outbox: Outbox
  /** Who takes gifts at this moment; see {@link GiftProcessor}. */
  processor: () => GiftProcessor | 'ledger' | undefined
  /** How long a call of the processor may take, in milliseconds. */
  timeoutMs: number
  /** Hears of every gift that will not be booked. */
  refused: (gift: Gift, code: number | string, reason: string) => void
  metrics: Metrics
  log: Pick<Logger, 'info' | 'warn' | 'error'>
}

/** Carries gifts from the outbox to the backend. */
export interface Flusher {
  /** A gift was put into the outbox here; a full batch of them is not kept waiting. */
  added (): void
  /** Looks for gifts at once. */
  wake (): void
  /** Takes no more gifts and waits for the batches that are on the way. */
  close (): Promise<void>
}

/**
 * Starts carrying. Any number of servers (and generations of this feature) may
 * do so on one outbox: each gift is with one of them at a time, because a lease is
 * longer than a call to the backend may take.
 */
export function createFlusher ({ outbox, processor, timeoutMs, refused, metrics, log }: FlusherOptions): Flusher {
  const leaseMs = timeoutMs + leaseMarginMs
  const processed = metrics.counter('flylive_gifts_processed_total', 'Gifts that were booked (success), refused by the backend (failed) or given up (dead)', ['status'])
  const sizes = metrics.histogram('flylive_gift_batch_size', 'Gifts per batch sent', [], [1, 2, 5, 10, 25, 50, 75, 100])
  const duration = metrics.histogram('flylive_gift_flush_duration_seconds', 'Time from taking a batch to having dealt with it, by result (ok, error or unavailable)', ['result'], [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30])
  const queueSize = metrics.gauge('flylive_gift_queue_size', 'Gifts that wait for the backend, over all servers')
  const deadLetterSize = metrics.gauge('flylive_gift_dead_letter_size', 'Gifts that were given up and wait for an admin, over all servers')

  const closing = new AbortController()
  const underWay = new Set<Promise<void>>()
  let addedHere = 0
  let pause = 0
  let pausedUntil = 0
  let storageAway = false

  /** Starts one more chain of batches where one may be started. */
  function pump (): void {
    // After a failure one batch goes ahead and finds out how things are.
    if (closing.signal.aborted || performance.now() < pausedUntil || underWay.size >= (pause > 0 ? 1 : maxUnderWay)) return
    const chain = flush().then(() => {
      storageAway = false
    }, (err: unknown) => {
      if (!storageAway) log.warn({ err }, 'gifts cannot be flushed')
      storageAway = true
    }).finally(() => underWay.delete(chain))
    underWay.add(chain)
  }

  /** Sends batches until there are no more. */
  async function flush (): Promise<void> {
    let more = true
    while (more && !closing.signal.aborted && performance.now() >= pausedUntil) {
      const to = processor()
      if (to === undefined) {
        const { queued, deadLetters } = await outbox.counts()
        measure(queued, deadLetters)
        return hold()
      }
      const takenAt = performance.now()
      addedHere = 0
      const batch = await outbox.take(batchSizes, leaseMs)
      measure(batch.queued, batch.deadLetters)
      more = batch.more
      if (batch.gifts.length === 0) continue
      if (more) pump()
      await carry(batch, to, takenAt)
      // Without a backend none of this waits for anything outside: others get their turn.
      await nextTurn()
    }
  }

  async function carry (batch: Batch, to: GiftProcessor | 'ledger', takenAt: number): Promise<void> {
    const leaseEnd = takenAt + leaseMs
    const outcomes = to === 'ledger' ? everyOne(batch, { to: 'ledger', at: Date.now() }) : await send(batch, to, leaseEnd)
    const settled = await settle(batch, outcomes, leaseEnd)
    const settledGifts = batch.gifts.filter(({ transactionId }) => settled.has(transactionId))
    const counts = { success: 0, failed: 0, dead: 0 }
    for (const gift of settledGifts) {
      const outcome = outcomes.get(gift.transactionId) as Outcome
      if (outcome.to === 'processed' || outcome.to === 'ledger') counts.success++
      if (outcome.to === 'failed') {
        counts.failed++
        refused(gift, outcome.code, outcome.reason)
      }
      if (outcome.to === 'deadLetters') {
        counts.dead++
        refused(gift, processingFailed.code, processingFailed.reason)
      }
    }
    for (const [status, count] of Object.entries(counts)) if (count > 0) processed.inc({ status }, count)
    if (counts.dead > 0) log.error({ transactionIds: settledGifts.map(({ transactionId }) => transactionId) }, 'gifts were given up and are dead letters now')
  }

  /** Asks the backend. @returns what becomes of each gift, whatever it answers */
  async function send (batch: Batch, to: GiftProcessor, leaseEnd: number): Promise<Map<string, Outcome>> {
    const begin = performance.now()
    const finish = (result: 'ok' | 'error' | 'unavailable') => duration.observe({ result }, (performance.now() - begin) / 1000)
    // This process stood still: a call now could outlast the lease, and
    // somebody else would send the same gifts meanwhile.
    if (begin + timeoutMs > leaseEnd) return everyOne(batch, { to: 'queue', delayMs: 0, counted: false })
    sizes.observe(batch.gifts.length)
    try {
      const { failed } = await withTimeout(to.processGifts(batch.gifts), leaseEnd - begin, () => {
        throw new Error('The backend took too long')
      })
      const outcomes = everyOne(batch, { to: 'processed' })
      for (const { transactionId, code, reason } of failed) {
        if (outcomes.get(transactionId)?.to === 'processed') outcomes.set(transactionId, { to: 'failed', code, reason, at: Date.now() })
      }
      pause = 0
      finish('ok')
      return outcomes
    } catch (err) {
      if ((err as { code?: unknown } | null)?.code === 'UNAVAILABLE') {
        hold()
        finish('unavailable')
        return everyOne(batch, { to: 'queue', delayMs: 0, counted: false })
      }
      const last = batch.tries + 1 >= batchSizes.length
      log.warn({ err, gifts: batch.gifts.length, try: batch.tries + 1 }, 'a batch of gifts failed')
      finish('error')
      return everyOne(batch, last
        ? { to: 'deadLetters', reason: (err instanceof Error ? err.message : String(err)).slice(0, 500), at: Date.now() }
        : { to: 'queue', delayMs: retryMs * 2 ** batch.tries, counted: true })
    }
  }

  /**
   * Writes down what became of a batch, also when the storage is away for a
   * moment. Where that fails for good, the gifts are due again when the lease ends,
   * and the backend, which knows them, books none of them twice.
   *
   * @returns the gifts of which this is what became
   */
  async function settle (batch: Batch, outcomes: Map<string, Outcome>, leaseEnd: number): Promise<Set<string>> {
    for (let attempt = 1, wait = 50; ; attempt++, wait = Math.min(wait * 2, 1000)) {
      try {
        const settled = await outbox.settle(batch.token, outcomes)
        // Nobody else can have had them, so an attempt whose answer was lost has done it.
        return new Set(attempt > 1 && performance.now() < leaseEnd ? outcomes.keys() : settled)
      } catch (err) {
        if (closing.signal.aborted || performance.now() + wait > leaseEnd) {
          log.warn({ err, gifts: batch.gifts.length }, 'what became of gifts could not be written down: they will be sent again')
          return new Set()
        }
        await delay(wait, undefined, { signal: closing.signal }).catch(() => { /* It is closing: one last attempt. */ })
      }
    }
  }

  /** The backend can't be asked: gifts wait, for longer each time. */
  function hold (): void {
    if (performance.now() < pausedUntil) return
    pause = Math.min(Math.max(pause * 2, pauseMs.from), pauseMs.to)
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
      while (underWay.size > 0) await Promise.all(underWay)
    }
  }
}

function everyOne (batch: Batch, outcome: Outcome): Map<string, Outcome> {
  return new Map(batch.gifts.map(({ transactionId }) => [transactionId, outcome]))
}
