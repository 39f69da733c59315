import type { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { rateLimited } from '../errors/codes.ts'

/**
 * Wrong keys an address may try, and in how long; after that it is locked out for as long. A key has
 * 32 characters at least: what is to be stopped is a machine, not a script with the key of yesterday.
 */
export const wrongKeys = { tries: 30, seconds: 600 } as const

/** Makes guessing a key hopeless: counts wrong ones by address, over all servers. */
export interface Lockout {
  /** @throws RATE_LIMITED while the address is locked out, whatever key it has */
  check (address: string): Promise<void>
  /** Counts a wrong key. */
  wrong (address: string): Promise<void>
}

/** @param redis where addresses are counted for all servers; while it is away, and without one, this server counts alone */
export function createLockout (redis: Redis | undefined): Lockout {
  const options = { points: wrongKeys.tries, duration: wrongKeys.seconds, keyPrefix: 'lockout:admin' }
  const here = new RateLimiterMemory(options)
  const limiter = redis ? new RateLimiterRedis({ ...options, storeClient: redis, insuranceLimiter: here }) : here
  return {
    async check (address) {
      const state = await limiter.get(address)
      if (state && state.consumedPoints >= wrongKeys.tries) throw rateLimited(state.msBeforeNext)
    },
    async wrong (address) {
      await limiter.consume(address).catch((reason: unknown) => { if (!(reason instanceof RateLimiterRes)) throw reason })
    }
  }
}
