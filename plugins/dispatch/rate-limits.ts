import type { Redis } from 'ioredis'
import { rateLimited } from '../errors/codes.ts'
import { createLimiter, MinuteCounter } from '../redis/limiter.ts'
import type { Limiter, Usage } from '../redis/limiter.ts'

/** Limits the number of messages per user and minute. Messages on all servers count together. */
export interface RateLimits {
  /**
   * Counts a message exactly, with a round trip to Redis.
   *
   * @param name identifies the limit
   * @param key identifies the user
   * @throws RATE_LIMITED (details `{retryAfterMs}`) if the key has reached its limit for this minute
   */
  consume (name: string, key: string, perMinute: number): Promise<void>
  /**
   * Counts a message, usually without waiting for Redis. A server admits at most {@link uncountedShare} of the limit
   * before it reads how many messages the other servers have received. A user with sessions on several servers may
   * therefore exceed the limit by this share for each additional server.
   *
   * @returns undefined if the message is admitted immediately; otherwise a promise, which rejects with RATE_LIMITED if
   *   the limit is exceeded
   * @throws RATE_LIMITED, like {@link consume}
   */
  count (name: string, key: string, perMinute: number): Promise<void> | undefined
}

/** How long a server collects counts before it reports them to Redis, in milliseconds. */
const reportMs = 100
/** The share of a limit that a server admits without a reply from Redis; at least one message is admitted this way. */
const uncountedShare = 1 / 20

/** The counts of one limit. */
interface Counts {
  /** Number of messages on all servers, by key: the last count from Redis plus this server's later messages. */
  total: MinuteCounter
  /** Number of messages that this server has not reported yet, by key. */
  unreported: Map<string, number>
  /** Number of messages that are in `unreported`, or in a report that Redis has not confirmed yet, by key. */
  unconfirmed: Map<string, number>
  /** The count in Redis. */
  shared: Limiter
}

function add (counts: Map<string, number>, key: string, change: number): number {
  const count = (counts.get(key) ?? 0) + change
  if (count > 0) counts.set(key, count)
  else counts.delete(key)
  return count
}

/**
 * @param redis the store for counts across all servers; if Redis is unreachable, each server counts only its own
 *   messages
 */
export function createRateLimits (redis: Redis | undefined): RateLimits {
  const limits = new Map<string, Counts>()

  function countsOf (name: string): Counts {
    const counts = limits.get(name) ?? {
      total: new MinuteCounter(),
      unreported: new Map<string, number>(),
      unconfirmed: new Map<string, number>(),
      // This limiter has no real maximum, because the limit may change while the server runs. The code below compares
      // the count with the limit.
      shared: createLimiter(redis, { name: `ratelimit:${name}`, max: Number.MAX_SAFE_INTEGER, windowSeconds: 60 })
    }
    limits.set(name, counts)
    return counts
  }

  /** @returns the number of messages for the key on all servers, including the messages in this report */
  async function report ({ total, unreported, unconfirmed, shared }: Counts, key: string): Promise<Usage> {
    const events = unreported.get(key) ?? 0
    unreported.delete(key)
    try {
      const usage = await shared.add(key, events)
      total.set(key, { ...usage, used: usage.used + (unconfirmed.get(key) ?? 0) - events })
      return usage
    } finally {
      add(unconfirmed, key, -events)
    }
  }

  function reportAll (counts: Counts): void {
    for (const key of [...counts.unreported.keys()]) report(counts, key).catch(() => { /* Redis does not count the messages of a failed report. */ })
  }

  async function confirm (counts: Counts, key: string, perMinute: number): Promise<void> {
    const { used, msLeft } = await report(counts, key)
    if (used > perMinute) throw rateLimited(msLeft)
  }

  return {
    async consume (name, key, perMinute) {
      const { used, msLeft } = await countsOf(name).shared.add(key)
      if (used > perMinute) throw rateLimited(msLeft)
    },
    count (name, key, perMinute) {
      const counts = countsOf(name)
      const { total, unreported, unconfirmed } = counts
      total.check(key, perMinute)
      total.add(key)
      if (!redis) return
      if (unreported.size === 0) setTimeout(reportAll, reportMs, counts).unref()
      add(unreported, key, 1)
      if (add(unconfirmed, key, 1) > Math.max(1, perMinute * uncountedShare)) return confirm(counts, key, perMinute)
    }
  }
}
