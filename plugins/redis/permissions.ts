import type { Redis } from 'ioredis'
import { StartError } from '../../config/error.ts'
import { withTimeout } from '../errors/timeout.ts'

/** How long Redis may take to answer the checks, in milliseconds. */
const timeoutMs = 10_000

/** Whether Redis refuses what this user does, or the user itself. Retrying does not help. */
export const isRefusal = (error: unknown): error is Error => error instanceof Error && /^(NOPERM|NOAUTH|WRONGPASS)\b/.test(error.message)

/** @returns the error that ends the start, in one line */
export function refusedBy (error: Error): StartError {
  return new StartError(`Redis refuses the server's user: ${error.message.replace(/\.$/, '')}. Check the password, and the commands, keys (~) and channels (&) that the Redis user has permission for; since Redis 7, a user has no channels unless its rules contain &`)
}

/**
 * Checks that the server's Redis user may use keys, scripts and channels.
 *
 * @param channel a channel of the server
 * @param key a key of the server
 * @throws {StartError} if Redis refuses one of them
 */
export async function checkPermissions (redis: Redis, { channel, key }: { channel: string, key: string }): Promise<void> {
  const subscriber = redis.duplicate({ enableOfflineQueue: true, lazyConnect: true, autoResubscribe: false })
  subscriber.on('error', () => { /* The subscription below fails with the same error. */ })
  try {
    await withTimeout(Promise.all([
      redis.set(key, 1, 'PX', 1000),
      redis.eval("return redis.call('GET', KEYS[1])", 1, key),
      redis.publish(channel, ''),
      subscriber.connect().then(() => subscriber.subscribe(channel))
    ]), timeoutMs, () => { throw new Error('Redis did not answer in time') })
  } catch (error) {
    // Other errors may pass: the connection was lost, or Redis refuses writes because its disk is full.
    if (isRefusal(error)) throw refusedBy(error)
  } finally {
    subscriber.disconnect()
  }
}
