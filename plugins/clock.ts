import fp from 'fastify-plugin'

/**
 * The clock for deadlines. On every server, this clock follows Redis's clock. Without Redis, the process sets this
 * clock once, at its start, from the machine's clock. This clock never runs backwards, and ignores later changes to the
 * machine's clock.
 */
export interface Clock {
  /** @returns epoch milliseconds, a whole number */
  now (): number
}

declare module 'fastify' {
  interface FastifyInstance {
    clock: Clock & {
      /** How far the machine's clock is ahead of this clock, in milliseconds. */
      skewMs (): number
    }
  }
}

/**
 * Number of comparisons with Redis's clock at the start. On a busy machine, a delayed reply makes a comparison
 * inaccurate.
 */
const firstComparisons = 3
/** Interval between later comparisons with Redis's clock, in milliseconds. */
const syncIntervalMs = 5000
/** Maximum round-trip time to Redis, in milliseconds. Slower replies are ignored, because they are too inaccurate. */
const maxRoundTripMs = 500
/** Maximum backward correction per comparison, in milliseconds. The clock stands still during a backward correction. */
const maxBackMs = 250
/** Difference between the machine's clock and this clock above which a warning is logged, in milliseconds. */
const maxSkewMs = 2000

/**
 * Creates this process's clock. `syncTo` adjusts this clock to another clock, which reads `now`, in epoch milliseconds,
 * with an error of at most `accuracyMs`. A difference of at most `accuracyMs` between the clocks is ignored.
 */
export function createClock (): Clock & { syncTo (now: number, accuracyMs?: number): void } {
  let offsetMs = 0
  let isCompared = false
  let latest = 0
  const uncorrected = () => performance.timeOrigin + performance.now()
  return {
    now () {
      latest = Math.max(latest, Math.floor(uncorrected() + offsetMs))
      return latest
    },
    syncTo (now, accuracyMs = 0) {
      const measured = now - uncorrected()
      const isInUse = latest > 0
      const nearest = isCompared || isInUse ? Math.min(Math.max(offsetMs, measured - accuracyMs), measured + accuracyMs) : measured
      offsetMs = isInUse ? Math.max(nearest, offsetMs - maxBackMs) : nearest
      isCompared = true
    }
  }
}

/**
 * Decorates the instance with the clock for deadlines, and logs a warning if the machine's clock differs from this
 * clock.
 */
export default fp(async function clock (app) {
  const created = createClock()
  const redis = app.hasDecorator('redis') ? app.redis : undefined
  const skewMs = () => Date.now() - created.now()

  /** Adjusts the clock to Redis's clock. Assumes that Redis read its clock halfway through the round trip. */
  async function sync (): Promise<void> {
    if (!redis) return
    const sentAt = performance.now()
    const [seconds, microseconds] = await redis.time()
    const receivedAt = performance.now()
    if (receivedAt - sentAt > maxRoundTripMs) return
    const halfMs = (receivedAt - sentAt) / 2
    created.syncTo(Number(seconds) * 1000 + Number(microseconds) / 1000 + halfMs, halfMs)
  }

  const gauge = app.metrics.gauge('flylive_clock_skew_seconds', "The machine's clock minus the clock that deadlines use (the Redis clock or, without Redis, a monotonic clock)")
  let isReported = false
  function report (): void {
    const isSkewed = Math.abs(skewMs()) > maxSkewMs
    if (isSkewed && !isReported) app.log.warn({ skewMs: skewMs() }, redis ? "this machine's clock differs from the Redis clock" : "this machine's clock was changed")
    isReported = isSkewed
    gauge.set(skewMs() / 1000)
  }

  try {
    for (let i = 0; i < firstComparisons; i++) await sync()
  } catch (err) {
    app.log.debug({ err }, 'failed to read the Redis clock')
  }
  const timer = setInterval(() => {
    sync().catch(() => { /* The next comparison may succeed. */ }).finally(report)
  }, syncIntervalMs).unref()
  report()

  app.decorate('clock', { now: created.now, skewMs })
  app.addHook('onClose', async () => clearInterval(timer))
}, { name: 'clock', dependencies: ['redis', 'metrics'] })
