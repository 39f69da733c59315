import type { FastifyBaseLogger } from 'fastify'
import type { Redis } from 'ioredis'
import { addressKey } from '../connections/addresses.ts'
import { createLimiter } from './limiter.ts'

/**
 * Maximum number of wrong secrets per address per window. An address that reaches the limit is locked out for the rest
 * of the window. The limit is low, to slow down guessing. The limit does not affect requests with a valid secret, even
 * if a script at the same address keeps using an outdated secret.
 */
export const wrongKeys = { tries: 30, seconds: 600 } as const

/** Protects a secret from being guessed. Counts wrong secrets per address on all servers, and logs them. */
export interface Lockout {
  /**
   * Do not call this for a request with a valid secret, because a lockout must not affect such a request.
   *
   * @throws RATE_LIMITED while the address is locked out
   */
  check (address: string): Promise<void>
  /** Counts and logs a wrong secret. */
  wrong (address: string): Promise<void>
}

export interface LockoutOptions {
  /** Identifies the counter. */
  name: string
  /** The name of the secret in log lines. */
  secret: string
  log: FastifyBaseLogger
}

/** @param redis where wrong secrets are counted; see {@link createLimiter} */
export function createLockout (redis: Redis | undefined, { name, secret, log }: LockoutOptions): Lockout {
  const { tries, seconds } = wrongKeys
  const limiter = createLimiter(redis, { name: `lockout:${name}`, max: tries, windowSeconds: seconds })
  return {
    check: (address) => limiter.check(addressKey(address)),
    async wrong (address) {
      const { used: count } = await limiter.add(addressKey(address))
      // During a lockout, `check` rejects new requests. Only a request that was already in progress when the lockout
      // began reaches this line.
      if (count > tries) return
      log.warn({ security: true, ip: address, count }, `wrong ${secret}`)
      if (count === tries) log.warn({ security: true, ip: address, seconds }, `address locked out after ${tries} attempts with a wrong ${secret}`)
    }
  }
}
