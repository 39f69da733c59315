import t from 'tap'
import { createRedisLeases } from '../../plugins/cluster/leases.redis.ts'
import { createRedisStore } from '../../plugins/store/redis/index.ts'
import { build, shortTimings } from '../support/build.ts'
import { redisDatabase, startRedis } from '../support/redis.ts'
import { until } from '../support/retry.ts'

t.test('two servers on one Redis share rooms', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env: { ...env, NODE_ID: 'a' } }), await build(t, { env: { ...env, NODE_ID: 'b' } })]
  const ada = await a.connect(1)
  const bob = await b.connect(2)

  const { body } = await until(async () => {
    const { body } = await a.admin('GET', '/admin/users/2')
    return (body?.sockets as unknown[]).length > 0 && { body }
  })
  t.equal(body?.userId, 2, 'a user id keeps its type, also on another server and outside of rooms')
  await ada.ok('room:join', { roomId: 'r1' })
  t.match(await bob.ok('room:join', { roomId: 'r1' }), { ownerId: 1, participantCount: 2, participants: [{ userId: 1 }, { userId: 2 }] })
  t.match(await ada.event('room:userJoined'), { user: { id: 2 } })
  t.same(await ada.ok('user:getRoom', { userId: 2 }), { roomId: 'r1' }, 'a user is found on another server')
  t.match(await a.admin('GET', '/admin/users/2'), { status: 200, body: { roomId: 'r1', sockets: [{ node: b.app.nodeId }] } })

  await t.test('the details of a room contain the transports on all servers', async (t) => {
    await ada.ok('transport:create', { type: 'producer' })
    await bob.ok('transport:create', { type: 'consumer' })
    await until(() => a.app.nodes.list().length === 2)
    t.match(await a.admin('GET', '/admin/rooms/r1'), {
      body: { transports: [{ userId: 1, type: 'producer', node: a.app.nodeId }, { userId: 2, type: 'consumer', node: b.app.nodeId }], worker: 0 }
    })
  })

  await t.test('a kick with a ban applies on all servers', async (t) => {
    t.equal((await a.admin('POST', '/admin/rooms/r1/kick', { userId: 2, banSeconds: 3600 })).status, 204)
    t.match(await bob.closed, { code: 4403 })
    t.same(await ada.event('room:userLeft'), { roomId: 'r1', userId: 2 })
    for (const server of [a, b]) {
      const again = await server.connect(2)
      const { error } = await again.request('room:join', { roomId: 'r1' })
      t.match(error, { code: 'BANNED', details: { until: Number } })
      await again.close()
    }
    t.equal((await b.admin('DELETE', '/admin/rooms/r1/bans/2')).status, 204)
    await (await a.connect(2)).ok('room:join', { roomId: 'r1' })
  })

  await t.test('closes a room for everyone', async (t) => {
    const eve = await b.connect(3)
    await eve.ok('room:join', { roomId: 'r1' })
    t.equal((await b.admin('POST', '/admin/rooms/r1/close')).status, 204)
    for (const client of [ada, eve]) t.match(await client.event('room:closed'), { roomId: 'r1', reason: 'closed_by_admin' })
    t.equal((await a.admin('POST', '/admin/rooms/r1/close')).status, 404)
    t.equal(await eve.fails('room:leave'), 'NOT_IN_ROOM')
  })
})

t.test('members on all servers receive events in the same order', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  const watchers = await Promise.all(servers.map(async (server, i) => {
    const client = await server.connect(`watcher${i}`)
    await client.ok('room:join', { roomId: 'r1' })
    return client
  }))
  const crowd = await Promise.all(Array.from({ length: 40 }, (_, i) => servers[i % 2 as 0 | 1].connect(100 + i)))
  await Promise.all(crowd.map(async (client) => {
    await client.ok('room:join', { roomId: 'r1' })
    await client.ok('room:leave')
  }))
  const seen = watchers.map((client) => () => client.events
    .filter(({ type, data }) => type.startsWith('room:user') && !String(data.userId).startsWith('watcher'))
    .map(({ type, data }) => `${type} ${String(data.userId)}`))
  await until(() => seen.every((list) => list().length === 80))
  t.same(seen[0]?.(), seen[1]?.())
})

t.test('removes the members of a dead server', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env, timings: shortTimings }), await build(t, { env, timings: shortTimings })]
  const ada = await a.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  // Simulates a killed server that left behind a member and an expired lease.
  const connection = a.app.redis.duplicate()
  t.teardown(() => connection.disconnect())
  await connection.connect()
  const leases = createRedisLeases(connection, 'dead-node')
  await leases.heartbeat()
  const dead = createRedisStore(connection, 'dead-node', leases)
  const profile = { userId: 9, id: 9 }
  await dead.join({ roomId: 'r1', sessionId: 's', userKey: '9', profile, limit: 10, now: Date.now() })
  b.app.rooms.emit('r1', 'room:userJoined', { userId: 9, user: profile })
  await a.app.redis.del('msab:node:{dead-node}')
  t.same(await ada.event('room:userLeft'), { roomId: 'r1', userId: 9 })
  await until(async () => (await b.app.leases.listDead()).length === 0)
  t.match(await b.admin('GET', '/admin/rooms/r1'), { body: { participantCount: 1 } })
})

t.test('a room continues while Redis is down, and Redis is synced afterwards', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const [a, b] = [await build(t, { env, timings: shortTimings }), await build(t, { env, timings: shortTimings })]
  const [ada, bob, eve] = [await a.connect(1), await a.connect(2), await b.connect(3)]
  for (const client of [ada, bob, eve]) await client.ok('room:join', { roomId: 'r1' })
  await until(async () => (await fetch(`${a.url}/readyz`)).status === 200)

  await redis.kill()
  await until(async () => (await fetch(`${a.url}/readyz`)).status === 503)
  t.equal(await eve.fails('room:join', { roomId: 'r2' }), 'UNAVAILABLE')
  await bob.ok('room:leave')
  t.same(await ada.event('room:userLeft', ({ userId }) => userId === 2), { roomId: 'r1', userId: 2 }, 'local members receive the leave')

  // Redis restarts without data.
  await redis.start()
  for (const server of [a, b]) await until(async () => (await fetch(`${server.url}/readyz`)).status === 200)
  await until(async () => {
    const { body } = await b.admin('GET', '/admin/rooms/r1')
    return body?.participantCount === 2
  })
  const { body } = await b.admin('GET', '/admin/rooms/r1')
  t.equal(body?.ownerId, 1)
  t.same(new Set((body?.participants as { userId: number }[]).map(({ userId }) => userId)), new Set([1, 3]), 'each server restored its own members')
  const late = await b.connect(4)
  t.match(await late.ok('room:join', { roomId: 'r1' }), { ownerId: 1, participantCount: 3 })
  t.match(await ada.event('room:userJoined', ({ userId }) => userId === 4), { userId: 4 }, 'the bus recovers')
})
