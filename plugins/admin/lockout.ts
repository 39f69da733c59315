import type { Redis } from 'ioredis'
import { isCoded } from '../errors/codes.ts'
import { createLimiter } from '../redis/limiter.ts'

/**
 * Maximum wrong keys per address per window. An address that reaches the limit is locked out for the
 * rest of the window. Keys have at least 32 characters, so the limit can be high enough to tolerate a
 * script that still uses an outdated key.
 */
export const wrongKeys = { tries: 30, seconds: 600 } as const

/** Prevents key guessing: counts wrong keys per address, across all servers. */
export interface Lockout {
  /** @throws RATE_LIMITED while the address is locked out, even for a valid key */
  check (address: string): Promise<void>
  /** Counts a wrong key. */
  wrong (address: string): Promise<void>
}

/** @param redis makes the count cluster-wide; see {@link createLimiter} */
export function createLockout (redis: Redis | undefined): Lockout {
  const limiter = createLimiter(redis, { name: 'lockout:admin', max: wrongKeys.tries, windowSeconds: wrongKeys.seconds })
  return {
    check: limiter.check,
    async wrong (address) {
      await limiter.consume(address).catch((error: unknown) => { if (!isCoded(error)) throw error })
    }
  }
}
