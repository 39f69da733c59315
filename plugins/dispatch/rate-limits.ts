import type { Redis } from 'ioredis'
import { rateLimited } from '../errors/codes.ts'
import { createLimiter, MinuteCounter } from '../redis/limiter.ts'
import type { Limiter } from '../redis/limiter.ts'

/** Limits messages per user and minute, across all servers. */
export interface RateLimits {
  /**
   * Counts a message, with a round trip to Redis. The count is exact.
   *
   * @param name identifies the limit
   * @param key identifies the user
   * @throws RATE_LIMITED (details `{retryAfterMs}`) if the key has reached its limit for this minute
   */
  consume (name: string, key: string, perMinute: number): Promise<void>
  /**
   * Counts a message without waiting for Redis. Each server counts its own messages exactly. Messages to
   * other servers are included once both servers have reported their counts to Redis, which takes about
   * {@link reportMs}.
   *
   * @throws RATE_LIMITED, like {@link consume}
   */
  count (name: string, key: string, perMinute: number): void
}

/** How long a server collects counts before it reports them, in milliseconds. */
const reportMs = 100

/** The counts of one limit. */
interface Counts {
  /** The messages on all servers, by key: this server's own count and the last count read from Redis. */
  total: MinuteCounter
  /** The number of messages, by key, that this server has not reported. */
  unreported: Map<string, number>
  /** The count in Redis. */
  shared: Limiter
}

/**
 * @param redis makes the counts cluster-wide; if Redis is unreachable, each server counts only its own
 * messages
 */
export function createRateLimits (redis: Redis | undefined): RateLimits {
  const limits = new Map<string, Counts>()

  function countsOf (name: string): Counts {
    const counts = limits.get(name) ?? {
      total: new MinuteCounter(),
      unreported: new Map<string, number>(),
      // No maximum here: the limit may change while the server runs, so this module compares the count with it.
      shared: createLimiter(redis, { name: `ratelimit:${name}`, max: Number.MAX_SAFE_INTEGER, windowSeconds: 60 })
    }
    limits.set(name, counts)
    return counts
  }

  function report ({ total, unreported, shared }: Counts): void {
    for (const [key, events] of unreported) {
      shared.add(key, events).then((usage) => {
        total.set(key, { ...usage, used: usage.used + (unreported.get(key) ?? 0) })
      }, () => {})
    }
    unreported.clear()
  }

  return {
    async consume (name, key, perMinute) {
      const { used, msLeft } = await countsOf(name).shared.add(key)
      if (used > perMinute) throw rateLimited(msLeft)
    },
    count (name, key, perMinute) {
      const counts = countsOf(name)
      const { total, unreported } = counts
      total.check(key, perMinute)
      total.add(key)
      if (!redis) return
      if (unreported.size === 0) setTimeout(report, reportMs, counts).unref()
      unreported.set(key, (unreported.get(key) ?? 0) + 1)
    }
  }
}
