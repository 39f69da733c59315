import type { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { rateLimited } from '../errors/codes.ts'

/** Counts messages per user in fixed minutes. */
export interface RateLimits {
  /**
   * @param name what is limited
   * @param key who is counted
   * @throws RATE_LIMITED with `retryAfterMs` when the minute is used up
   */
  consume (name: string, key: string, perMinute: number): Promise<void>
}

/**
 * @param redis counts over all servers; when it is away, and without one, this
 *   server counts alone: a limit must not become an outage
 */
export function createRateLimits (redis: Redis | undefined): RateLimits {
  const limiters = new Map<string, { here: RateLimiterMemory, limiter: RateLimiterMemory | RateLimiterRedis }>()

  function limiterOf (name: string, perMinute: number) {
    const known = limiters.get(name)
    if (known) {
      // It may have been changed; what was counted counts.
      known.here.points = known.limiter.points = perMinute
      return known.limiter
    }
    const options = { points: perMinute, duration: 60, keyPrefix: `ratelimit:${name}` }
    const here = new RateLimiterMemory(options)
    const limiter = redis ? new RateLimiterRedis({ ...options, storeClient: redis, insuranceLimiter: here }) : here
    limiters.set(name, { here, limiter })
    return limiter
  }

  return {
    async consume (name, key, perMinute) {
      try {
        await limiterOf(name, perMinute).consume(key)
      } catch (reason) {
        if (reason instanceof RateLimiterRes) throw rateLimited(reason.msBeforeNext)
        throw reason
      }
    }
  }
}
