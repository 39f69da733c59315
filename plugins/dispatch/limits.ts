import type { Redis } from 'ioredis'
import { createLimiter } from '../redis/limiter.ts'
import type { Limiter } from '../redis/limiter.ts'

/** Counts messages per user in fixed minutes. */
export interface RateLimits {
  /**
   * @param name what is limited
   * @param key whose messages are counted
   * @throws RATE_LIMITED (details `{retryAfterMs}`) if the minute is used up
   */
  consume (name: string, key: string, perMinute: number): Promise<void>
}

/** @param redis counts over all servers; see {@link createLimiter} */
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
