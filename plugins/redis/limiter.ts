import type { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { rateLimited } from '../errors/codes.ts'

export interface LimiterOptions {
  /** Prefix of the keys in Redis. */
  name: string
  /** Maximum events per key and window. */
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
 * @param redis counts over all servers. Without it, and while it cannot be
 *   reached, this server counts alone: a limit must not become an outage
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
   * @param name what is limited
   * @param key whose messages are counted
   * @throws RATE_LIMITED (details `{retryAfterMs}`) if the key has used its messages of this minute
   */
  consume (name: string, key: string, perMinute: number): Promise<void>
}

/** @param redis counts cluster-wide; see {@link createLimiter} */
export function createRateLimits (redis: Redis | undefined): RateLimits {
  const limiters = new Map<string, Limiter>()
  return {
    async consume (name, key, perMinute) {
      const limiter = limiters.get(name) ?? createLimiter(redis, { name: `ratelimit:${name}`, max: perMinute, windowSeconds: 60 })
      limiters.set(name, limiter)
      limiter.setMax(perMinute)
      await limiter.consume(key)
    }
  }
}
