import type { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { rateLimited } from '../errors/codes.ts'

export interface LimiterOptions {
  /** The keys in Redis begin with `msab:` and this name. */
  name: string
  /** Maximum events per key per window. */
  max: number
  windowSeconds: number
}

/** How many events a key has in the current window. */
export interface Usage {
  used: number
  /** Milliseconds until the window ends. */
  msLeft: number
}

/** Counts events per key in fixed windows. */
export interface Limiter {
  /**
   * Counts an event.
   *
   * @throws RATE_LIMITED (details `{retryAfterMs}`) if this event exceeds the limit
   */
  consume (key: string): Promise<void>
  /** Counts the given number of events (default: one), even if this exceeds the limit. */
  add (key: string, events?: number): Promise<Usage>
  /** @returns undefined if the key has no events in the current window */
  read (key: string): Promise<Usage | undefined>
  /** @throws RATE_LIMITED if the key has reached the limit */
  check (key: string): Promise<void>
}

/**
 * @param redis where events are counted, so that the limit applies to all servers together. If Redis is not configured
 *   or cannot be reached, this server counts only its own events, so that a Redis outage does not block users
 */
export function createLimiter (redis: Redis | undefined, { name, max, windowSeconds }: LimiterOptions): Limiter {
  const options = { keyPrefix: `msab:${name}`, points: max, duration: windowSeconds }
  const local = new RateLimiterMemory(options)
  const limiter = redis ? new RateLimiterRedis({ ...options, storeClient: redis, insuranceLimiter: local }) : local
  // Limit the remaining time to the length of the window, because the wall clock may have been set back.
  const usage = ({ consumedPoints: used, msBeforeNext }: RateLimiterRes): Usage => ({ used, msLeft: Math.min(msBeforeNext, windowSeconds * 1000) })

  async function add (key: string, events = 1): Promise<Usage> {
    try {
      return usage(await limiter.consume(key, events))
    } catch (reason) {
      if (reason instanceof RateLimiterRes) return usage(reason)
      throw reason
    }
  }

  async function read (key: string): Promise<Usage | undefined> {
    const state = await limiter.get(key)
    return state ? usage(state) : undefined
  }

  return {
    add,
    read,
    async consume (key) {
      const { used, msLeft } = await add(key)
      if (used > limiter.points) throw rateLimited(msLeft)
    },
    async check (key) {
      const state = await read(key)
      if (state && state.used >= limiter.points) throw rateLimited(state.msLeft)
    }
  }
}

const minuteMs = 60_000
/** Maximum number of keys per limit that this server keeps in memory. */
const maxKeys = 100_000

/** Counts events per key in windows of one minute. A key's window starts with its first event. */
export class MinuteCounter {
  // With the `max` option, the cache would allocate memory for all entries at once. With `maxSize`, the cache grows
  // when necessary.
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

  /**
   * Replaces the key's window with the window that Redis reports. The key's count never decreases before the window
   * ends.
   */
  set (key: string, { used, msLeft }: Usage): void {
    this.#minutes.set(key, { used: Math.max(used, this.used(key)), endsAt: this.#now() + msLeft })
  }
}
