import type { Redis, Result } from 'ioredis'
import { failClosed } from '../errors/fail-closed.ts'
import type { JobStore } from './store.ts'

declare module 'ioredis' {
  interface RedisCommander<Context> {
    msabTakeDueJobs (...args: (string | number)[]): Result<string[], Context>
    msabSettleJob (...args: (string | number)[]): Result<number, Context>
  }
}

/**
 * KEYS due held — ARGV now limit token lostToken…
 *
 * A job is "held" while it runs. If a held job is rescheduled, it becomes due only after the current run is settled.
 *
 * The lost tokens are those of earlier calls whose replies did not arrive. No server runs the jobs that are held under
 * these tokens, so the jobs become due again.
 */
const takeDue = `
local function release(keys)
  for _, key in ipairs(keys) do
    redis.call('ZREM', KEYS[2], key)
    redis.call('ZADD', KEYS[1], 'LT', ARGV[1], key)
  end
end
for i = 4, #ARGV do release(redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[i], ARGV[i])) end
release(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2]))
local taken = {}
local waiting = redis.call('ZCARD', KEYS[2])
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, tonumber(ARGV[2]) + waiting)) do
  if #taken < tonumber(ARGV[2]) and not redis.call('ZSCORE', KEYS[2], key) then
    redis.call('ZREM', KEYS[1], key)
    redis.call('ZADD', KEYS[2], ARGV[3], key)
    table.insert(taken, key)
  end
end
return taken
`

/** KEYS due held — ARGV key token retryAt */
const settle = `
local held = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not held or tonumber(held) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if ARGV[3] ~= '' then redis.call('ZADD', KEYS[1], 'LT', ARGV[3], ARGV[1]) end
return 1
`

const dueKey = (queue: string) => `msab:jobs:{${queue}}`
const heldKey = (queue: string) => `${dueKey(queue)}:held`

/** The job store in the Redis instance that the servers share. */
export function createRedisJobStore (redis: Redis): JobStore {
  redis.defineCommand('msabTakeDueJobs', { numberOfKeys: 2, lua: takeDue })
  redis.defineCommand('msabSettleJob', { numberOfKeys: 2, lua: settle })
  // For each queue, the tokens of the calls of `takeDue` whose replies did not arrive. Redis may have run these calls,
  // or may run them later. Each token is kept until the lease of its jobs ends.
  const lost = new Map<string, Set<number>>()

  return failClosed<JobStore>({
    async schedule (queue, key, at) {
      await redis.zadd(dueKey(queue), 'LT', at, key)
    },
    async takeDue (queue, now, limit, until) {
      // The token is the end of the lease. The random fraction of a millisecond makes the token different from the
      // tokens of other calls.
      const token = until - Math.random()
      const lostTokens = lost.get(queue) ?? new Set()
      for (const lostToken of lostTokens) if (lostToken <= now) lostTokens.delete(lostToken)
      // Without a connection, the call fails without reaching Redis.
      const isSent = redis.status === 'ready'
      try {
        const keys = await redis.msabTakeDueJobs(dueKey(queue), heldKey(queue), now, limit, token, ...lostTokens)
        return keys.map((key) => ({ key, token }))
      } catch (error) {
        if (isSent) lost.set(queue, lostTokens.add(token))
        throw error
      }
    },
    async settle (queue, { key, token }, retryAt) {
      await redis.msabSettleJob(dueKey(queue), heldKey(queue), key, token, retryAt ?? '')
    }
  })
}
