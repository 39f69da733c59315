import t from 'tap'
import { WebSocket } from 'ws'
import { build, onEveryStore, shortTimings } from '../support/build.ts'
import { emptyArray } from '../support/empty-array.ts'
import { redisDatabase } from '../support/redis.ts'
import { until } from '../support/retry.ts'

onEveryStore(t, 'a kicked client is removed even if it does not respond', async (t, env) => {
  const server = await build(t, { env })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const bob = await server.connect(2)
  await bob.ok('room:join', { roomId: 'r1' })
  await bob.ok('transport:create', { type: 'producer' })
  // A client that has stopped reading never confirms the close.
  bob.ws.pause()
  t.equal((await server.admin('POST', '/admin/rooms/r1/kick', { userId: 2, banSeconds: 60 })).status, 204)
  t.same(await ada.event('room:userLeft'), { roomId: 'r1', userId: 2 })
  t.match(await server.admin('GET', '/admin/rooms/r1'), { body: { participantCount: 1, transports: emptyArray } })
  t.equal(bob.ws.readyState, WebSocket.OPEN)
})

t.test('a room created while its predecessor closes is a new room', async (t) => {
  const env = { REDIS_URL: await redisDatabase(), EMPTY_ROOM_SECONDS: '0' }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (let i = 0; i < 20; i++) {
    await ada.ok('room:join', { roomId: 'r1' })
    await Promise.all([b.admin('POST', '/admin/rooms/r1/close'), bob.request('room:join', { roomId: 'r1' }), ada.request('room:join', { roomId: 'r1' })])
    for (const client of [ada, bob]) await client.request('room:leave')
  }
  await Promise.all([ada.close(), bob.close()])
  for (const server of [a, b]) await until(async () => (await server.admin('GET', '/admin/rooms/r1')).status === 404)
})

t.test('a new room does not inherit the members of its predecessor', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env, timings: shortTimings }), await build(t, { env, timings: shortTimings })]
  const [ada, bob] = [await a.connect(1), await a.connect(2)]
  await ada.ok('room:join', { roomId: 'r1' })
  // Simulates a server that closed the room and died before it notified the other servers.
  t.ok(await b.app.store.removeRoom('r1'))
  t.match(await bob.ok('room:join', { roomId: 'r1' }), { ownerId: 2, participantCount: 1 })
  t.match(await ada.event('room:closed'), { roomId: 'r1', reason: 'closed_by_admin' })
  t.equal(await ada.fails('chat:message', { content: 'still here?' }), 'NOT_IN_ROOM')
  await bob.ok('chat:message', { content: 'a new room' })
  await bob.event('chat:message')
  await Promise.all([ada.flush(), bob.flush()])
  t.same(ada.events.filter(({ type }) => type === 'chat:message'), [])
  t.same(bob.events.filter(({ type }) => type === 'room:closed'), [])
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { ownerId: 2, participantCount: 2 })
})

t.test('a drain can be shortened', async (t) => {
  const server = await build(t)
  const client = await server.connect(1)
  const drained = server.admin('POST', '/admin/drain', { deadlineSeconds: 600 })
  await client.event('server:draining')
  t.equal(await server.app.drain.begin(0), 'deadline')
  t.match(await drained, { status: 200, body: { result: 'deadline', sessions: 1 } })
})

t.test('a server that is still draining can be drained again', async (t) => {
  const server = await build(t)
  const client = await server.connect(1)
  const drain = (deadlineSeconds: number) => server.admin('POST', '/admin/drain', { deadlineSeconds })
  t.match(await drain(0), { body: { result: 'deadline', sessions: 1 } })
  await client.event('server:draining')
  const second = drain(600)
  await client.event('server:draining')
  await client.close()
  t.match(await second, { body: { result: 'empty', sessions: 0 } })
  t.match(await drain(600), { body: { result: 'empty', sessions: 0 } })
})

t.test('after a partition, a server closes a room that another server has closed', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env, timings: shortTimings }), await build(t, { env, timings: shortTimings })]
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  // Removes the room without an event and closes the subscription of server b, as if this server had missed the event.
  const room = await a.app.store.removeRoom('r1')
  t.ok(room)
  const name = `flylive:${b.app.config.NODE_ID}`
  for (const line of String(await a.app.redis.call('CLIENT', 'LIST')).split('\n')) {
    if (line.includes(`name=${name}`) && line.includes('sub=')) {
      const id = /^id=(\d+)/.exec(line)?.[1]
      if (id !== undefined && / sub=[1-9]/.test(line)) await a.app.redis.call('CLIENT', 'KILL', 'ID', id)
    }
  }
  for (const client of [ada, bob]) t.match(await client.event('room:closed'), { roomId: 'r1', reason: 'closed_by_admin' })
  t.equal(await bob.fails('room:leave'), 'NOT_IN_ROOM')
  t.equal((await b.admin('GET', '/admin/rooms/r1')).status, 404)
  await bob.ok('room:join', { roomId: 'r1' })
})
