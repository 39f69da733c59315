import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { createLocalBus } from '../../../plugins/cluster/bus.local.ts'
import { createRedisBus } from '../../../plugins/cluster/bus.redis.ts'
import { createCluster } from '../../../plugins/cluster/cluster.ts'
import { createMemoryLeases } from '../../../plugins/cluster/leases.ts'
import { createRedisLeases } from '../../../plugins/cluster/leases.redis.ts'
import { createMemoryLocks, createRedisLocks } from '../../../plugins/cluster/locks.ts'
import { RegistrationTable } from '../../../plugins/registrations.ts'
import { clusterRequestsContract } from '../../contracts/cluster-requests.ts'
import { build } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { databaseClient, redisClient, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const silent = { debug () {}, warn () {} } as never

/** Creates the `Cluster` object of a server that is connected to Redis. */
async function node (t: Test, client: Redis, nodeId: string) {
  const bus = await createRedisBus(client, client.options.db ?? 0, nodeId, silent)
  t.teardown(() => bus.close())
  const leases = createRedisLeases(client, nodeId)
  await leases.heartbeat()
  return await createCluster({ bus, leases, locks: createRedisLocks(client, nodeId), nodeId, registrations: new RegistrationTable() })
}

t.test('on one server', async (t) => clusterRequestsContract(t, async () => {
  const nodeId = 'node-b'
  const cluster = await createCluster({ bus: createLocalBus(), leases: createMemoryLeases(nodeId), locks: createMemoryLocks(), nodeId, registrations: new RegistrationTable() })
  return { asker: cluster, answerer: cluster, answererId: nodeId }
}))

t.test('a server sends requests over Redis to itself', async (t) => clusterRequestsContract(t, async (t) => {
  const cluster = await node(t, await databaseClient(t), 'node-b')
  return { asker: cluster, answerer: cluster, answererId: 'node-b' }
}))

t.test('a server sends requests over Redis to another server', async (t) => clusterRequestsContract(t, async (t) => {
  const client = await databaseClient(t)
  return { asker: await node(t, client, 'node-a'), answerer: await node(t, client, 'node-b'), answererId: 'node-b' }
}))

t.test('while Redis is unreachable, a server can send requests only to itself', async (t) => {
  const redis = await startRedis(t)
  const client = await redisClient(t, redis)
  const [a, b] = [await node(t, client, 'node-a'), await node(t, client, 'node-b')]
  b.answer('test:double', ({ n }) => ({ doubled: n * 2 }))
  t.same(await a.ask('node-b', 'test:double', { n: 1 }, 15_000), { doubled: 2 })
  await redis.kill()
  await t.rejects(a.ask('node-b', 'test:double', { n: 1 }, 60_000), { code: 'UNAVAILABLE' })
  t.same(await b.ask('node-b', 'test:double', { n: 2 }, 15_000), { doubled: 4 }, 'a server can still send requests to itself')
})

t.test("a feature's request handler is replaced on reload and removed with the feature", async (t) => {
  const folder = featureFolder(t)
  const answering = (n: number) => saying('doubles', 'x', { before: `app.cluster.answer('test:double', () => ({ doubled: ${n} }))` })
  folder.write('doubles', { 'index.ts': answering(1) })
  const { app, admin } = await build(t, { env: { FEATURES: 'auth,doubles', FEATURES_PATH: folder.path } })
  const ask = () => app.cluster.ask(app.nodeId, 'test:double', { n: 0 }, 15_000)
  t.same(await ask(), { doubled: 1 })
  folder.write('doubles', { 'index.ts': answering(2) })
  await admin('POST', '/admin/features/doubles/reload')
  t.same(await ask(), { doubled: 2 })
  await admin('POST', '/admin/features/doubles/disable')
  await t.rejects(ask(), { code: 'UNAVAILABLE' })
})

t.test('only the feature generation in service handles messages to all servers', async (t) => {
  const folder = featureFolder(t)
  const go = Promise.withResolvers<void>()
  const shared = Object.assign(globalThis as unknown as { flyliveHandled: string[] }, { flyliveHandled: [], flyliveGo: go.promise })
  const counting = (text: string, more = '') => saying('counts', text, { before: `app.cluster.on('test:counted', () => { globalThis.flyliveHandled.push('${text}') })\n  app.get('/counts/slow', async () => { await globalThis.flyliveGo; return 'done' })\n  ${more}` })
  folder.write('counts', { 'index.ts': counting('one') })
  const { app, admin, url } = await build(t, { env: { FEATURES: 'auth,counts', FEATURES_PATH: folder.path } })
  const send = () => app.cluster.send('test:counted' as never, {} as never)
  const slow = fetch(`${url}/counts/slow`)
  const inService = () => app.features.generations().find(({ name }) => name === 'counts')
  await until(() => inService()?.calls.running === 1)

  folder.write('counts', { 'index.ts': counting('broken', "await app.cluster.send('test:counted', {})\n  throw new Error('broken')") })
  t.match(await admin('POST', '/admin/features/counts/reload'), { status: 422 })
  t.same(shared.flyliveHandled, ['one'], 'a generation that fails to start handles no message')
  folder.write('counts', { 'index.ts': counting('two') })
  const reloading = admin('POST', '/admin/features/counts/reload')
  await until(() => inService()?.number === 3)
  await send()
  t.same(shared.flyliveHandled, ['one', 'two'], 'a generation that finishes its last calls handles no message')
  go.resolve()
  t.equal(await (await slow).text(), 'done')
  t.match(await reloading, { status: 200 })
  t.match(await admin('POST', '/admin/features/counts/disable'), { status: 200 })
  await send()
  t.equal(shared.flyliveHandled.length, 2)
})

t.test('a stopping server answers requests until its features are closed', async (t) => {
  const held = Promise.withResolvers<void>()
  Object.assign(globalThis, { doublesHeld: held.promise })
  const folder = featureFolder(t)
  folder.write('doubles', {
    'index.ts': saying('doubles', 'x', {
      before: `app.cluster.answer('test:double', ({ n }) => ({ doubled: n * 2 }))
  app.hooks.on('feature:loaded', (name) => name === 'held' ? globalThis.doublesHeld : undefined)`
    })
  })
  const { app, close } = await build(t, { env: { FEATURES: 'auth,doubles', FEATURES_PATH: folder.path } })
  const ask = () => app.cluster.ask(app.nodeId, 'test:double', { n: 1 }, 15_000)
  app.hooks.emit('feature:loaded', 'held')
  const closed = close()
  await until(() => !app.features.enabled().includes('doubles'))
  t.same(await ask(), { doubled: 2 })
  held.resolve()
  await closed
  await t.rejects(ask(), { code: 'UNAVAILABLE' })
})
