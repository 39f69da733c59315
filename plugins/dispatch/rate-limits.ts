import type { Redis } from 'ioredis'
import { createLimiter, MinuteCounter } from '../redis/limiter.ts'
import type { Limiter } from '../redis/limiter.ts'

/**
 * Limits messages per user and minute, across all servers. Each server counts its own messages exactly.
 * Messages to other servers are included once those servers have reported their counts to Redis.
 */
export interface RateLimits {
  /**
   * Counts a message. Reads the count of the other servers first if this server has no message of the
   * key in this minute. Otherwise, it does not wait for Redis. The count is reported immediately.
   *
   * @param name identifies the limit
   * @param key identifies the user
   * @returns undefined if the message is counted immediately
   * @throws RATE_LIMITED (details `{retryAfterMs}`) if the key has reached its limit for this minute
   */
  consume (name: string, key: string, perMinute: number): Promise<void> | undefined
  /**
   * Counts a message without ever waiting for Redis. The count is reported within {@link reportMs}.
   *
   * @throws RATE_LIMITED, like {@link consume}
   */
  count (name: string, key: string, perMinute: number): void
}

/** How long a server collects the counts of {@link RateLimits.count} before it reports them, in milliseconds. */
const reportMs = 100

const soon = (report: () => void) => { setImmediate(report) }
const later = (report: () => void) => { setTimeout(report, reportMs).unref() }

/** The counts of one limit. */
interface Counts {
  /** The messages on all servers, by key: this server's own count and the last count read from Redis. */
  total: MinuteCounter
  /** The number of messages, by key, that this server has not reported. */
  unreported: Map<string, number>
  /** Pending reads of the other servers' counts, by key. */
  reading: Map<string, Promise<void>>
  /** The count in Redis. */
  shared: Limiter
}

/**
 * @param redis makes the counts cluster-wide; if Redis cannot be reached, each server counts only its own
 * messages
 */
export function createRateLimits (redis: Redis | undefined): RateLimits {
  const limits = new Map<string, Counts>()

  function countsOf (name: string, perMinute: number): Counts {
    const counts = limits.get(name) ?? {
      total: new MinuteCounter(),
      unreported: new Map<string, number>(),
      reading: new Map<string, Promise<void>>(),
      shared: createLimiter(redis, { name: `ratelimit:${name}`, max: perMinute, windowSeconds: 60 })
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

  /**
   * Counts a message of a key whose current minute this server has.
   *
   * @param schedule delays the report
   */
  function count (counts: Counts, key: string, perMinute: number, schedule: (report: () => void) => void): void {
    const { total, unreported } = counts
    total.check(key, perMinute)
    total.add(key)
    if (!redis) return
    if (unreported.size === 0) schedule(() => report(counts))
    unreported.set(key, (unreported.get(key) ?? 0) + 1)
  }

  /** Reads the count of the other servers. */
  async function read ({ total, reading, shared }: Counts, key: string): Promise<void> {
    try {
      const usage = await shared.read(key)
      if (usage) total.set(key, usage)
    } finally {
      reading.delete(key)
    }
  }

  async function readAndCount (counts: Counts, key: string, perMinute: number): Promise<void> {
    const reading = counts.reading.get(key) ?? read(counts, key)
    counts.reading.set(key, reading)
    await reading
    count(counts, key, perMinute, soon)
  }

  return {
    consume (name, key, perMinute) {
      const counts = countsOf(name, perMinute)
      if (redis && !counts.total.has(key)) return readAndCount(counts, key, perMinute)
      count(counts, key, perMinute, soon)
    },
    count (name, key, perMinute) {
      count(countsOf(name, perMinute), key, perMinute, later)
    }
  }
}
