import type { Redis, Result } from 'ioredis'
import { createClock } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { failClosed } from '../errors/fail-closed.ts'
import { expiryTime, namespaceKey, oncePerName } from './kv.ts'
import type { Expiry, KeyValue, Namespace, PlainKeys } from './kv.ts'

declare module 'ioredis' {
  interface RedisCommander<Context> {
    msabKvSet (...args: (string | number)[]): Result<number, Context>
    msabKvDelete (...args: (string | number)[]): Result<number, Context>
    msabKvList (...args: (string | number)[]): Result<string[], Context>
  }
}

// Each value of a namespace is a Redis string, which may expire. The namespace's index is a sorted set of the keys of
// these values, ordered by expiry. The Redis keys of the values and the index contain the namespace's name as a hash
// tag.

/**
 * KEYS value index — ARGV key value expiresAt compare [expected]
 *
 * @returns 1 if the value was set; 0 if the current value is not the expected one
 */
const set = `
if ARGV[4] == '1' and redis.call('GET', KEYS[1]) ~= (ARGV[5] or false) then return 0 end
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
  redis.call('ZADD', KEYS[2], '+inf', ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
  local time = redis.call('TIME')
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
end
-- The index expires with its last value.
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if last[2] == nil then return 1 end
if last[2] == 'inf' then redis.call('PERSIST', KEYS[2]) else redis.call('PEXPIREAT', KEYS[2], string.format('%.0f', tonumber(last[2]))) end
return 1
`

/** KEYS value index — ARGV key */
const remove = `
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])
`

/** KEYS index */
const list = `
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
return redis.call('ZRANGE', KEYS[1], 0, -1)
`

/** Reads values with one command per key. The client sends all commands in one round trip. */
function readers (redis: Redis, keyOf: (key: string) => string): Pick<PlainKeys, 'get' | 'getMany'> {
  const get = async (key: string) => await redis.get(keyOf(key)) ?? undefined
  return { get, getMany: async (keys) => await Promise.all(keys.map(get)) }
}

function createNamespace (redis: Redis, clock: Clock, name: string): Namespace {
  const index = namespaceKey(name)
  const keyOf = (key: string) => `${index}:${key}`
  const write = async (key: string, value: string, expiry: Expiry | undefined, ...compare: string[]) =>
    await redis.msabKvSet(keyOf(key), index, key, value, expiryTime(expiry, clock) ?? '', ...compare) === 1
  return {
    ...readers(redis, keyOf),
    async set (key, value, expiry) {
      await write(key, value, expiry, '0')
    },
    compareAndSet: (key, expected, value, expiry) => write(key, value, expiry, '1', ...(expected === undefined ? [] : [expected])),
    delete: async (key) => await redis.msabKvDelete(keyOf(key), index, key) === 1,
    list: () => redis.msabKvList(index)
  }
}

function createPlainKeys (redis: Redis, clock: Clock, prefix: string): PlainKeys {
  const keyOf = (key: string) => prefix + key
  return {
    ...readers(redis, keyOf),
    async set (key, value, expiry) {
      const at = expiryTime(expiry, clock)
      await (at === undefined ? redis.set(keyOf(key), value) : redis.set(keyOf(key), value, 'PXAT', at))
    },
    delete: async (key) => await redis.del(keyOf(key)) === 1
  }
}

/**
 * The key-value store in the Redis instance that the servers share.
 *
 * @param redis a client whose commands fail immediately while the client is disconnected
 */
export function createRedisKeyValue (redis: Redis, clock: Clock = createClock()): KeyValue {
  redis.defineCommand('msabKvSet', { numberOfKeys: 2, lua: set })
  redis.defineCommand('msabKvDelete', { numberOfKeys: 2, lua: remove })
  redis.defineCommand('msabKvList', { numberOfKeys: 1, lua: list })
  return {
    namespace: oncePerName((name) => failClosed(createNamespace(redis, clock, name))),
    plainKeys: oncePerName((prefix) => failClosed(createPlainKeys(redis, clock, prefix))),
    close () {}
  }
}
