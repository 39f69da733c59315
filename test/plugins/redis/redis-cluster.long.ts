import t from 'tap'
import type { Test } from 'tap'
import { loadConfig } from '../../../config/load.ts'
import { createRedisOutbox } from '../../../features/gifts/outbox.redis.ts'
import { createRedisLeases } from '../../../plugins/cluster/leases.redis.ts'
import { createRedisLocks } from '../../../plugins/cluster/locks.ts'
import { createRedisDirectory } from '../../../plugins/directory/redis.ts'
import { createRedisJobStore } from '../../../plugins/jobs/redis.ts'
import { createRedisKeyValue } from '../../../plugins/kv/redis.ts'
import { createRedisClient } from '../../../plugins/redis/client.ts'
import { createRedisStore } from '../../../plugins/store/redis/index.ts'
import { leasesContract, locksContract } from '../../contracts/cluster.ts'
import { directoryContract } from '../../contracts/directory.ts'
import { giftOutboxContract } from '../../contracts/gift-outbox.ts'
import { jobStoreContract } from '../../contracts/jobs.ts'
import { keyValueContract } from '../../contracts/kv.ts'
import { storeContract } from '../../contracts/store.ts'
import { storeDocumentsContract } from '../../contracts/store-documents.ts'
import { storeListsContract } from '../../contracts/store-lists.ts'
import { build, jwtSecret, shortTimings, tokenFor } from '../../support/build.ts'
import { commandTimeoutMs, redisCommand } from '../../support/redis.ts'
import { startRedisCluster } from '../../support/redis-cluster.ts'
import { until } from '../../support/retry.ts'

t.test('the stores work in a Redis Cluster', async (t) => {
  const { env } = await startRedisCluster(t)
  let databases = 100
  // Databases have different hash tags, so the tests use different primaries.
  const create = async (t: Test) => {
    const config = loadConfig({ NODE_ENV: 'test', JWT_SECRET: jwtSecret, ...env, REDIS_DB: String(++databases) })
    const client = createRedisClient(config, commandTimeoutMs)
    client.on('error', () => { /* The call that fails throws. */ })
    t.teardown(() => client.disconnect())
    await client.connect()
    return client
  }
  const storeOf = async (t: Test) => {
    const client = await create(t)
    return createRedisStore(client, 'node-a', createRedisLeases(client, 'node-a'))
  }
  for (const contract of [storeContract, storeDocumentsContract, storeListsContract]) contract(t, storeOf)
  keyValueContract(t, async (t) => createRedisKeyValue(await create(t)))
  jobStoreContract(t, async (t) => createRedisJobStore(await create(t)))
  leasesContract(t, async (t) => createRedisLeases(await create(t), 'node-a'))
  locksContract(t, async (t) => createRedisLocks(await create(t), 'node-a'))
  directoryContract(t, async (t) => {
    const client = await create(t)
    const leases = createRedisLeases(client, 'node-a')
    await leases.heartbeat()
    return createRedisDirectory(client, leases)
  })
  giftOutboxContract(t, async (t, kept) => {
    const client = await create(t)
    const clock = { now: 1_000_000 }
    const options = { now: () => clock.now, ...(kept === undefined ? {} : { keptLedger: kept, keptFailed: kept }) }
    return { a: createRedisOutbox(client, options), b: createRedisOutbox(client, options), clock }
  })
})

t.test('servers switch to the new primary after a failover, even if the old primary hangs', async (t) => {
  const { env, primary, replica, others } = await startRedisCluster(t)
  const [a, b] = [await build(t, { timings: shortTimings, env: { FEATURES: 'auth,seats,chat', ...env } }), await build(t, { timings: shortTimings, env: { FEATURES: 'auth,seats,chat', ...env } })]
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await until(async () => (await client.request('room:join', { roomId: 'r1' })).ok)
  for (const { port } of others) t.equal(await redisCommand(port, 'DBSIZE'), 0, 'all keys are on one primary')
  t.ok((await redisCommand(primary.port, 'KEYS', '*') as string[]).every((key) => key.startsWith('{msab:2}:')))
  const clientsOf = async (port: number) => String(await redisCommand(port, 'CLIENT', 'LIST')).split('\n').filter((line) => line.includes('name=flylive')).length
  const talk = async () => {
    const content = String(Math.random())
    await until(async () => (await ada.request('chat:message', { content })).ok, 30_000)
    await bob.event('chat:message', (data) => data.content === content)
  }
  await talk()
  const connections = await clientsOf(primary.port)
  t.equal(connections, 4, 'each server has a client and a subscriber')

  await redisCommand(replica.port, 'CLUSTER', 'FAILOVER')
  await until(async () => JSON.stringify(await redisCommand(replica.port, 'ROLE')).includes('master'), 30_000)
  await until(async () => await clientsOf(replica.port) === connections && await clientsOf(primary.port) === 0, 30_000)
  // Messages that are sent while a server reconnects may be lost.
  const ready = async () => { for (const { url } of [a, b]) await until(async () => (await fetch(`${url}/readyz`)).status === 200, 30_000) }
  await ready()
  await talk()

  // Bans and the sessions of dead servers need a test, because scripts build the keys of this data themselves.
  t.equal((await a.admin('POST', '/admin/rooms/r1/kick', { userId: 2, banSeconds: 60 })).status, 204)
  t.match((await b.admin('GET', '/admin/rooms/r1/bans')).body, { bans: [{ userId: 2 }] })
  const token = tokenFor(3)
  const carl = await b.connect(3, { token })
  t.equal((await a.admin('POST', '/admin/tokens/revoke', { token })).status, 204)
  t.match(await carl.closed, { code: 4401 })

  await until(async () => await redisCommand(replica.port, 'WAIT', '1', '1000') === 1)
  replica.process.kill('SIGSTOP')
  t.teardown(() => { replica.process.kill('SIGCONT') })
  await until(async () => JSON.stringify(await redisCommand(primary.port, 'ROLE')).includes('master'), 30_000)
  await until(async () => (await ada.request('seat:take', { seatIndex: 0 })).error === undefined, 30_000)
  await ready()
})
