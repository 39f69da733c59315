import t from 'tap'
import { createRedisLeases } from '../../../plugins/cluster/leases.redis.ts'
import { createMemoryDirectory } from '../../../plugins/directory/memory.ts'
import { createRedisDirectory } from '../../../plugins/directory/redis.ts'
import { directoryContract } from '../../contracts/directory.ts'
import { createRenewal, parts } from '../../../plugins/directory/renewal.ts'
import { build, shortTimings } from '../../support/build.ts'
import { databaseClient, redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

t.test('memory', async (t) => directoryContract(t, async () => createMemoryDirectory()))

t.test('redis', async (t) => directoryContract(t, async (t) => {
  const client = await databaseClient(t)
  const leases = createRedisLeases(client, 'node-a')
  await leases.heartbeat()
  return createRedisDirectory(client, leases)
}))

t.test('omits the sessions of a dead server', async (t) => {
  const client = await databaseClient(t)
  const [a, b] = [createRedisLeases(client, 'node-a'), createRedisLeases(client, 'node-b')]
  for (const leases of [a, b]) await leases.heartbeat()
  const directory = createRedisDirectory(client, b)
  await directory.put('1', { sessionId: 'phone', nodeId: 'node-b', roomId: 'r1', connectedAt: 1 })
  await directory.put('1', { sessionId: 's-1', nodeId: 'node-a', roomId: 'r1', connectedAt: 1 })
  t.equal((await directory.sessionsOf('1')).length, 2)
  await client.del('msab:node:{node-a}')
  t.same((await directory.sessionsOf('1')).map(({ sessionId }) => sessionId), ['phone'])
  client.disconnect()
  await t.rejects(directory.sessionsOf('1'), { code: 'UNAVAILABLE' })
  await t.rejects(directory.remove('1', 's-1'), { code: 'UNAVAILABLE' })
})

t.test('removes the sessions of a dead server, but not those of a live server', async (t) => {
  const client = await databaseClient(t)
  const [a, b] = [createRedisLeases(client, 'node-a'), createRedisLeases(client, 'node-b')]
  for (const leases of [a, b]) await leases.heartbeat()
  const directory = createRedisDirectory(client, b)
  // Add more sessions than one script call removes.
  for (let i = 0; i < 1200; i++) directory.put(`user ${i}`, { sessionId: `s-${i}`, nodeId: 'node-a', roomId: null, connectedAt: 1 }).catch(() => {})
  await directory.put('user 7', { sessionId: 'phone', nodeId: 'node-b', roomId: null, connectedAt: 1 })
  await directory.put('user 8', { sessionId: 'closed', nodeId: 'node-a', roomId: null, connectedAt: 1 })
  await directory.remove('user 8', 'closed')
  t.equal(await client.scard('msab:node:{node-a}:sessions'), 1200)

  await directory.removeNode('node-a')
  t.equal(await client.hlen('msab:user:{user 7}:sessions'), 2, 'the server is alive')
  await client.del('msab:node:{node-a}')
  await directory.removeNode('node-a')
  t.same(await client.keys('msab:user:*'), ['msab:user:{user 7}:sessions'])
  t.same(await client.hkeys('msab:user:{user 7}:sessions'), ['phone'])
  t.same(await client.keys('msab:node:*:sessions'), ['msab:node:{node-b}:sessions'])
})

t.test('the record of a session does not expire while the session is open', async (t) => {
  const server = await build(t, { env: { REDIS_URL: await redisDatabase(), FEATURES: 'auth' } })
  const { app } = server
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const keys = ['msab:user:{1}:sessions', 'msab:user:{2}:sessions', `msab:node:{${app.nodeId}}:sessions`]
  for (const key of keys) await app.redis.expire(key, 60)
  const renewNext = createRenewal(app)
  for (let i = 0; i < parts; i++) await renewNext()
  for (const key of keys) t.ok(await app.redis.ttl(key) > 80_000, key)
  t.match(await app.directory.sessionsOf('1'), [{ sessionId: ada.greeting.sessionId, roomId: 'r1' }])
})

t.test("a killed server's sessions, and sessions that close while Redis is down, leave the user's list", async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url, FEATURES: 'auth' }
  const server = await build(t, { env, timings: shortTimings })
  const user = async () => (await server.admin('GET', '/admin/users/1')).body as { sockets: { sessionId: string }[] }
  const leases = createRedisLeases(server.app.redis, 'killed')
  await leases.heartbeat()
  await createRedisDirectory(server.app.redis, leases).put('1', { sessionId: 'lost', nodeId: 'killed', roomId: 'r1', connectedAt: 1 })
  const [phone, tablet] = [await server.connect(1), await server.connect(1)]
  await until(async () => (await user()).sockets.length === 3)

  // Simulate a server that no longer renews its lease.
  await server.app.redis.del('msab:node:{killed}')
  const key = 'msab:user:{1}:sessions'
  await until(async () => await server.app.redis.hlen(key) === 2, 30_000)
  t.equal((await user()).sockets.length, 2)

  // Suspend Redis, so that Redis keeps its data but does not learn that the session has ended.
  redis.process.kill('SIGSTOP')
  tablet.ws.terminate()
  await until(() => server.app.sockets.size === 1)
  await until(async () => (await fetch(`${server.url}/readyz`)).status === 503)
  await server.app.redis.hlen(key).catch(() => {})
  redis.process.kill('SIGCONT')
  await until(async () => await server.app.redis.hlen(key) === 1, 30_000)
  t.same((await user()).sockets.map(({ sessionId }) => sessionId), [phone.greeting.sessionId])
})
