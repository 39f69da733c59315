import t from 'tap'
import { createMemoryLeases } from '../../../plugins/cluster/leases.ts'
import { createRedisLeases } from '../../../plugins/cluster/leases.redis.ts'
import { createMemoryLocks, createRedisLocks } from '../../../plugins/cluster/locks.ts'
import { leasesContract, locksContract } from '../../contracts/cluster.ts'
import { databaseClient } from '../../support/redis.ts'

t.test('memory', async (t) => {
  leasesContract(t, async () => createMemoryLeases('node-a'))
  locksContract(t, async () => createMemoryLocks())
})

t.test('redis', async (t) => {
  leasesContract(t, async (t) => createRedisLeases(await databaseClient(t), 'node-a'))
  locksContract(t, async (t) => createRedisLocks(await databaseClient(t), 'node-a'))
})

t.test('only one of two servers gets a lock', async (t) => {
  const client = await databaseClient(t)
  const [a, b] = [createRedisLocks(client, 'node-a'), createRedisLocks(client, 'node-b')]
  const results = await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? a : b).tryLock('turn', 5000)))
  t.equal(results.filter(Boolean).length, 1)
})

t.test('a server that sends no heartbeats counts as dead', async (t) => {
  const client = await databaseClient(t)
  const [a, b] = [createRedisLeases(client, 'node-a'), createRedisLeases(client, 'node-b')]
  t.equal(await a.heartbeat(), false, 'no lease before the first heartbeat')
  t.equal(await b.heartbeat(), false)
  t.equal(await a.heartbeat(), true)
  t.same(await b.listDead(), [])
  const lease = await client.pttl('msab:node:{node-a}')
  t.ok(lease > 9000 && lease <= 10_000, `${lease} ms`)

  await client.del('msab:node:{node-a}')
  t.same(await b.listDead(), ['node-a'])
  t.same(await a.listDead(), [], 'no server considers itself dead')
  await b.remove('node-a')
  t.same(await b.listDead(), [])
  t.equal(await a.heartbeat(), false, 'the lease had expired')
  t.ok(await a.msSinceLoss() < 5000, 'Redis may have lost its data')
  t.equal(await b.msSinceLoss(), Infinity)
})

t.test('leases and locks reject with UNAVAILABLE while Redis is unreachable', async (t) => {
  const client = await databaseClient(t)
  const [leases, locks] = [createRedisLeases(client, 'node-a'), createRedisLocks(client, 'node-a')]
  await leases.heartbeat()
  client.disconnect()
  await new Promise((resolve) => client.once('end', resolve))
  const calls: (() => Promise<unknown>)[] = [
    () => leases.heartbeat(), () => leases.listDead(), () => leases.areAlive(['node-a']), () => leases.remove('node-b'),
    () => leases.msSinceLoss(), () => locks.tryLock('turn', 1000)
  ]
  for (const call of calls) await t.rejects(call(), { code: 'UNAVAILABLE', statusCode: 503 })
})
