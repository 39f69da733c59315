import type { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { rateLimited } from '../errors/codes.ts'

export interface LimiterOptions {
  /** Prefix of the keys in Redis. */
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
  /** @throws RATE_LIMITED if the limit is reached */
  check (key: string): Promise<void>
  /** Changes the limit. Events that were counted stay counted. */
  setMax (max: number): void
}

/**
 * @param redis counts cluster-wide. Without it, or while it cannot be reached, this server counts only
 * its own events, so that an outage of Redis does not block users
 */
export function createLimiter (redis: Redis | undefined, { name, max, windowSeconds }: LimiterOptions): Limiter {
  const options = { keyPrefix: name, points: max, duration: windowSeconds }
  const local = new RateLimiterMemory(options)
  const limiter = redis ? new RateLimiterRedis({ ...options, storeClient: redis, insuranceLimiter: local }) : local
  // The wall clock may have been set back: no delay is longer than the window.
  const exceeded = ({ msBeforeNext }: RateLimiterRes) => rateLimited(Math.min(msBeforeNext, windowSeconds * 1000))
  return {
    async consume (key) {
      try {
        await limiter.consume(key)
      } catch (reason) {
        throw reason instanceof RateLimiterRes ? exceeded(reason) : reason
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

/** Counts messages per user in fixed minutes. */
export interface RateLimits {
  /**
   * Counts a message cluster-wide, with a round trip to Redis.
   *
   * @param name identifies the limit
   * @param key identifies the user
   * @throws RATE_LIMITED (details `{retryAfterMs}`) if the key has used its messages of this minute
   */
  consume (name: string, key: string, perMinute: number): Promise<void>
  /**
   * Counts a message without waiting for Redis. This server's count is exact; messages on other servers
   * are included once Redis has replied.
   *
   * @throws RATE_LIMITED as {@link consume}
   */
  count (name: string, key: string, perMinute: number): void
}

const minuteMs = 60_000
/** Maximum keys per limit that this server counts itself. */
const maxKeys = 100_000

/** Counts events per key in fixed minutes. */
export class MinuteCounter {
  // The option `max` would allocate all entries at each start; with `maxSize` the cache grows on demand.
  readonly #minutes = new LRUCache<string, { used: number, endsAt: number }>({ maxSize: maxKeys, sizeCalculation: () => 1 })
  readonly #now: () => number

  /** @param now a monotonic clock, in milliseconds */
  constructor (now = () => performance.now()) {
    this.#now = now
  }

  /** @throws RATE_LIMITED if the key has used its events of this minute */
  check (key: string, max: number): void {
    const { used, endsAt } = this.#minuteOf(key)
    if (used >= max) throw rateLimited(Math.ceil(endsAt - this.#now()))
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

  /** Rejects the events of a key for the next `ms` milliseconds. */
  exhaust (key: string, ms: number): void {
    this.#minutes.set(key, { used: Infinity, endsAt: this.#now() + ms })
  }
}

/** @param redis counts cluster-wide; see {@link createLimiter} */
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
