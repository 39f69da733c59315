import type { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { rateLimited } from '../errors/codes.ts'

export interface LimiterOptions {
  /** Prefix of the keys, which begin with `msab:` in Redis. */
  name: string
  /** Maximum events per key per window. */
  max: number
  windowSeconds: number
}

/** Counts events per key in fixed windows. */
export interface Limiter {
  /**
   * Counts an event.
   *
   * @throws RATE_LIMITED (details `{retryAfterMs}`) if the limit is exceeded
   */
  consume (key: string): Promise<void>
  /**
   * Counts an event even if the limit is exceeded.
   *
   * @returns the number of the key's events in the current window
   */
  add (key: string): Promise<number>
  /** @throws RATE_LIMITED if the limit is reached */
  check (key: string): Promise<void>
  /** Changes the limit. Events counted so far stay counted. */
  setMax (max: number): void
}

/**
 * @param redis makes the count cluster-wide. If Redis is not configured or cannot be reached, this server
 * counts only its own events, so that a Redis outage does not block users
 */
export function createLimiter (redis: Redis | undefined, { name, max, windowSeconds }: LimiterOptions): Limiter {
  const options = { keyPrefix: `msab:${name}`, points: max, duration: windowSeconds }
  const local = new RateLimiterMemory(options)
  const limiter = redis ? new RateLimiterRedis({ ...options, storeClient: redis, insuranceLimiter: local }) : local
  // The wall clock may have been set back, so the delay is limited to the window.
  const exceeded = ({ msBeforeNext }: RateLimiterRes) => rateLimited(Math.min(msBeforeNext, windowSeconds * 1000))
  return {
    async consume (key) {
      try {
        await limiter.consume(key)
      } catch (reason) {
        throw reason instanceof RateLimiterRes ? exceeded(reason) : reason
      }
    },
    async add (key) {
      try {
        return (await limiter.consume(key)).consumedPoints
      } catch (reason) {
        if (reason instanceof RateLimiterRes) return reason.consumedPoints
        throw reason
      }
    },
    async check (key) {
      const state = await limiter.get(key)
      if (state && state.consumedPoints >= limiter.points) throw exceeded(state)
    },
    setMax (max) {
      local.points = limiter.points = max
    }
  }
}

/** Limits messages per user and minute. */
export interface RateLimits {
  /**
   * Counts a message cluster-wide, with a round trip to Redis.
   *
   * @param name identifies the limit
   * @param key identifies the user
   * @throws RATE_LIMITED (details `{retryAfterMs}`) if the key has reached its limit for this minute
   */
  consume (name: string, key: string, perMinute: number): Promise<void>
  /**
   * Counts a message without waiting for Redis. This server's messages are counted exactly;
   * messages to other servers are included once Redis has replied.
   *
   * @throws RATE_LIMITED, like {@link consume}
   */
  count (name: string, key: string, perMinute: number): void
}

const minuteMs = 60_000
/** Maximum number of keys per limit that this server keeps in memory. */
const maxKeys = 100_000

/** Counts events per key in windows of one minute. A key's window starts with its first event. */
export class MinuteCounter {
  // The option `max` would allocate all entries up front; with `maxSize`, the cache grows on demand.
  readonly #minutes = new LRUCache<string, { used: number, endsAt: number }>({ maxSize: maxKeys, sizeCalculation: () => 1 })
  readonly #now: () => number

  /** @param now a monotonic clock, in milliseconds */
  constructor (now = () => performance.now()) {
    this.#now = now
  }

  /** @throws RATE_LIMITED if the key has reached its limit for this minute */
  check (key: string, max: number): void {
    const { used, endsAt } = this.#minuteOf(key)
    if (used >= max) throw rateLimited(Math.ceil(endsAt - this.#now()))
  }

  /** @returns the number of the key's events in this minute */
  used (key: string): number {
    return this.#minuteOf(key).used
  }

  /** Counts an event. */
  add (key: string): void {
    const minute = this.#minuteOf(key)
    minute.used++
    this.#minutes.set(key, minute)
  }

  #minuteOf (key: string): { used: number, endsAt: number } {
    const now = this.#now()
    const known = this.#minutes.get(key)
    return known && now < known.endsAt ? known : { used: 0, endsAt: now + minuteMs }
  }

  /** Rejects all events of a key for the next `ms` milliseconds. */
  exhaust (key: string, ms: number): void {
    this.#minutes.set(key, { used: Infinity, endsAt: this.#now() + ms })
  }
}

/** @param redis makes the counts cluster-wide; see {@link createLimiter} */
export function createRateLimits (redis: Redis | undefined): RateLimits {
  const limiters = new Map<string, Limiter>()
  const counters = new Map<string, MinuteCounter>()

  function limiterOf (name: string, perMinute: number): Limiter {
    const limiter = limiters.get(name) ?? createLimiter(redis, { name: `ratelimit:${name}`, max: perMinute, windowSeconds: 60 })
    limiters.set(name, limiter)
    limiter.setMax(perMinute)
    return limiter
  }

  return {
    async consume (name, key, perMinute) {
      await limiterOf(name, perMinute).consume(key)
    },
    count (name, key, perMinute) {
      const counter = counters.get(name) ?? new MinuteCounter()
      counters.set(name, counter)
      counter.check(key, perMinute)
      counter.add(key)
      if (!redis) return
      limiterOf(name, perMinute).consume(key).catch((error: { details?: { retryAfterMs?: number } }) => {
        const ms = error.details?.retryAfterMs
        if (ms !== undefined) counter.exhaust(key, ms)
      })
    }
  }
}
