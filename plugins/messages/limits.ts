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
  const limiters = new Map<string, RateLimiterMemory | RateLimiterRedis>()

  function limiter (name: string, perMinute: number) {
    const id = `${name}:${perMinute}`
    const known = limiters.get(id)
    if (known) return known
    const options = { points: perMinute, duration: 60, keyPrefix: `ratelimit:${name}` }
    const here = new RateLimiterMemory(options)
    const made = redis ? new RateLimiterRedis({ ...options, storeClient: redis, insuranceLimiter: here }) : here
    limiters.set(id, made)
    return made
  }

  return {
    async consume (name, key, perMinute) {
      try {
        await limiter(name, perMinute).consume(key)
      } catch (reason) {
        if (reason instanceof RateLimiterRes) throw rateLimited(reason.msBeforeNext)
        throw reason
      }
    }
  }
}
