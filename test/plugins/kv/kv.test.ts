import t from 'tap'
import { createMemoryKeyValue } from '../../../plugins/kv/memory.ts'
import { createRedisKeyValue } from '../../../plugins/kv/redis.ts'
import { keyValueContract } from '../../contracts/kv.ts'
import { databaseClient } from '../../support/redis.ts'

t.test('memory', async (t) => keyValueContract(t, async (t) => {
  const kv = createMemoryKeyValue(t.testdir())
  t.teardown(() => kv.close())
  return kv
}))

t.test('redis', async (t) => keyValueContract(t, async (t) => createRedisKeyValue(await databaseClient(t))))

t.test('two servers share values', async (t) => {
  const client = await databaseClient(t)
  const [a, b] = [createRedisKeyValue(client), createRedisKeyValue(client)]
  await a.namespace('n').set('k', 'v')
  t.equal(await b.namespace('n').get('k'), 'v')
  await a.plainKeys('auth:revoked:').set('hash', '1', { ttlMs: 60_000 })
  t.equal(await client.get('auth:revoked:hash'), '1', 'the key in Redis is exactly the prefix and the key')
  t.equal(await b.plainKeys('auth:revoked:').get('hash'), '1')
})

t.test('the keys of a namespace share a cluster slot', async (t) => {
  const client = await databaseClient(t)
  const values = createRedisKeyValue(client).namespace('n')
  for (const key of ['a', '{b}', '']) await values.set(key, 'x')
  const keys = await client.keys('*')
  t.equal(keys.length, 4)
  t.ok(keys.every((key) => key.startsWith('msab:kv:{n}')), keys.join(' '))
})

t.test('the index of a namespace does not keep expired keys', async (t) => {
  const client = await databaseClient(t)
  const values = createRedisKeyValue(client).namespace('n')
  for (let i = 0; i < 20; i++) await values.set(`old ${i}`, 'x', { expiresAt: Date.now() - 1 })
  await values.set('new', 'x', { ttlMs: 60_000 })
  t.same(await client.zrange('msab:kv:{n}', '0', '-1'), ['new'])
})

t.test('rejects with UNAVAILABLE while Redis is unreachable', async (t) => {
  const client = await databaseClient(t)
  const kv = createRedisKeyValue(client)
  const values = kv.namespace('n')
  client.disconnect()
  const calls: (() => Promise<unknown>)[] = [
    () => values.get('k'), () => values.getMany(['k']), () => values.set('k', 'v'), () => values.delete('k'),
    () => values.compareAndSet('k', undefined, 'v'), () => values.list(), () => kv.plainKeys('p:').get('k'), () => kv.plainKeys('p:').set('k', 'v')
  ]
  for (const call of calls) await t.rejects(call(), { code: 'UNAVAILABLE', statusCode: 503, details: { retryable: true } })
})
