import type { Redis } from 'ioredis'
import { failClosed } from '../errors/fail-closed.ts'

/** Locks that all servers share. */
export interface Locks {
  /**
   * Takes a lock if it is free. The lock expires after `ttlMs`.
   *
   * @returns whether this call took the lock
   * @throws UNAVAILABLE
   */
  tryLock (key: string, ttlMs: number): Promise<boolean>
}

/** Locks for a single server, in memory. */
export function createMemoryLocks (): Locks {
  const timers = new Map<string, NodeJS.Timeout>()
  return {
    async tryLock (key, ttlMs) {
      if (timers.has(key)) return false
      timers.set(key, setTimeout(() => timers.delete(key), ttlMs).unref())
      return true
    }
  }
}

/** Locks in the Redis instance that the servers share. */
export function createRedisLocks (redis: Redis, nodeId: string): Locks {
  return failClosed<Locks>({
    tryLock: async (key, ttlMs) => await redis.set(`msab:lock:${key}`, nodeId, 'PX', ttlMs, 'NX') === 'OK'
  })
}
