import type { Redis } from 'ioredis'
import { StartError } from '../../config/error.ts'
import { withTimeout } from '../errors/timeout.ts'

/** Timeout of the checks, in milliseconds. */
const timeoutMs = 10_000

/** True if Redis rejected the login or denied permission for a command, so that a retry would also fail. */
export const isRefusal = (error: unknown): error is Error => error instanceof Error && /^(NOPERM|NOAUTH|WRONGPASS)\b/.test(error.message)

/**
 * True if Redis rejected the database number, so that the client would use database 0. False for the error of a Redis
 * Cluster node, which has only database 0.
 */
export function isNoDatabase (error: Error): boolean {
  const { command, message } = error as Error & { command?: { name?: string } }
  return command?.name === 'select' && !isRefusal(error) && !/cluster/i.test(message)
}

/** @returns an error that makes the server exit at startup */
export function refusedBy (error: Error): StartError {
  return new StartError(`Redis rejected the server's user: ${error.message.replace(/\.$/, '')}. Check the password, and which commands, keys (~) and channels (&) the Redis user may access; since Redis 7, users have access to channels only if their rules contain &`)
}

/**
 * Checks that the server's Redis user may use keys, scripts and channels.
 *
 * @param channel one of the server's channels
 * @param key one of the server's keys
 * @throws {StartError} if Redis denies access to the key, the script or the channel
 */
export async function checkPermissions (redis: Redis, { channel, key }: { channel: string, key: string }): Promise<void> {
  const subscriber = redis.duplicate({ enableOfflineQueue: true, lazyConnect: true, autoResubscribe: false })
  subscriber.on('error', () => { /* Ignore the error here: the subscription below fails with the same error. */ })
  try {
    await withTimeout(Promise.all([
      redis.set(key, 1, 'PX', 1000),
      redis.eval("return redis.call('GET', KEYS[1])", 1, key),
      redis.publish(channel, ''),
      subscriber.connect().then(() => subscriber.subscribe(channel))
    ]), timeoutMs, () => { throw new Error('Redis did not reply in time') })
  } catch (error) {
    // Ignore all other errors, because they may be temporary, such as a lost connection or a full disk on the Redis
    // server.
    if (isRefusal(error)) throw refusedBy(error)
  } finally {
    subscriber.disconnect()
  }
}
