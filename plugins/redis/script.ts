import { createHash } from 'node:crypto'
import type { Redis } from 'ioredis'

/** Runs a Lua script. The parameters are the script's keys and then its other arguments. */
export type RedisScript = (...args: (string | number)[]) => Promise<unknown>

/**
 * Returns a function that runs a Lua script by its hash. `defineCommand` would register scripts by name on the shared
 * client, where two versions of a feature could call each other's scripts.
 *
 * @param numberOfKeys how many of the parameters are keys
 */
export function redisScript (redis: Redis, lua: string, numberOfKeys: number): RedisScript {
  const sha = createHash('sha1').update(lua).digest('hex')
  return async (...args) => {
    try {
      return await redis.evalsha(sha, numberOfKeys, ...args)
    } catch (error) {
      // Redis has lost the script, for example in a restart, and has not run it. It is therefore safe to send the
      // script again.
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
      return await redis.eval(lua, numberOfKeys, ...args)
    }
  }
}
