import t from 'tap'
import { createRedisLeases } from '../../../plugins/cluster/leases.redis.ts'
import { createRedisStore } from '../../../plugins/store/redis/index.ts'
import { build, onBothStores, shortTimings } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { redisDatabase, startRedis } from '../../support/redis.ts'
import { clocksDifferMs } from '../../support/pace.ts'
import { until } from '../../support/retry.ts'
import { createHoldingProxy } from '../chat/holding.ts'
import { createEmptyRooms, names, createOccupiedRooms, removals, storeElsewhere } from './support.ts'

// The tests mostly wait, so they run in parallel.
t.jobs = 4

const env = { FEATURES: 'auth,chat,media,seats,auto-close', EMPTY_ROOM_SECONDS: '1' }

const listed = async (server: TestServer) => ((await server.admin('GET', '/admin/rooms')).body?.rooms as { id: string }[]).map(({ id }) => id)

onBothStores(t, 'closes an empty room and removes all its data', async (t, store, kind) => {
  const server = await build(t, { env: { ...env, ...store } })
  const removed = removals(server)
  const [ada, bob, eve] = [await server.connect(1), await server.connect(2), await server.connect(3)]
  await ada.ok('room:join', { roomId: 'r1', pin: '1234', seatCount: 4 })
  await bob.ok('room:join', { roomId: 'r1', pin: '1234' })
  await eve.ok('room:join', { roomId: 'r2' })
  await ada.ok('transport:create', { type: 'producer' })
  await ada.ok('seat:take', { seatIndex: 2 })
  await ada.ok('chat:message', { content: 'good night' })
  t.same(await listed(server), ['r1', 'r2'])

  await ada.ok('room:leave')
  const left = Date.now()
  bob.ws.terminate()
  await until(() => removed.length > 0)
  t.match(removed, [{ roomId: 'r1', reason: 'inactivity' }])
  t.ok(Number(removed[0]?.at) - left >= 1000 - clocksDifferMs, 'the room closes after the timeout')
  t.equal((await server.admin('GET', '/admin/rooms/r1')).status, 404)
  t.equal((await server.admin('POST', '/admin/rooms/r1/close')).status, 404)
  t.same(await listed(server), ['r2'])
  t.same(await server.app.store.listEmptyRooms(Date.now(), 10), [])
  t.match(await (await fetch(`${server.url}/metrics`)).text(), 'flylive_rooms_auto_closed_total 1')
  if (kind === 'redis') {
    const { redis } = server.app
    for (const key of (await redis.keys('*')).filter((key) => key.includes('r1'))) t.ok(await redis.pttl(key) > 0, `${key} expires`)
    for (const key of (await redis.keys('*')).filter((key) => key.endsWith('rooms') || key.endsWith(':empty'))) {
      const members = await redis.type(key) === 'set' ? await redis.smembers(key) : await redis.zrange(key, '0', '-1')
      t.same(members, ['r2'], key)
    }
  }

  const joined = await ada.ok('room:join', { roomId: 'r2' })
  t.match(joined, { participantCount: 2 }, 'other rooms are kept')
  t.strictSame(eve.events.filter(({ type }) => type === 'room:closed'), [])
  const again = await eve.ok('room:join', { roomId: 'r1' })
  t.match(again, { ownerId: 3, self: { role: 'owner' }, participantCount: 1, seatCount: 15, seats: emptyArray, chatHistory: emptyArray }, 'a later room with the same id is a new room')
})

onBothStores(t, 'keeps an occupied room, and a rejoin restarts the wait', async (t, store) => {
  const hour = 3_600_000
  // Enable the feature only after the rejoins, so that slow rejoins cannot fail the test.
  const server = await build(t, { env: { FEATURES: 'auth,chat', EMPTY_ROOM_SECONDS: '3600', ...store } })
  const removed = removals(server)
  await createEmptyRooms(storeElsewhere(server), ['left', 'visited', 'back'], Date.now() - 2 * hour)
  const createdAt = async (roomId: string) => (await server.app.store.getRoom(roomId))?.createdAt
  const before = await createdAt('visited')
  const [ada, bob, phone, laptop] = [await server.connect('ada'), await server.connect('bob'), await server.connect(3), await server.connect(3)]
  await ada.ok('room:join', { roomId: 'visited' })
  await ada.ok('room:leave')
  await bob.ok('room:join', { roomId: 'back' })
  for (const client of [phone, laptop]) await client.ok('room:join', { roomId: 'twice' })
  await phone.ok('room:leave')

  t.match(await server.admin('POST', '/admin/features/auto-close/enable'), { status: 200 })
  await until(() => removed.length > 0)
  // The request that disables the feature returns only after the current sweep has finished.
  t.match(await server.admin('POST', '/admin/features/auto-close/disable'), { status: 200 })
  t.match(removed, [{ roomId: 'left', reason: 'inactivity' }])
  t.equal(await createdAt('visited'), before)
  const { id } = await bob.ok('chat:message', { content: 'still here' })
  t.match(await bob.event('chat:message'), { id, roomId: 'back' })
  for (const roomId of ['back', 'twice']) t.match(await server.admin('GET', `/admin/rooms/${roomId}`), { status: 200, body: { participantCount: 1 } })
  t.same(await server.app.store.listEmptyRooms(Date.now(), 10), ['visited'])
})

t.test('closes a room whose last members were on a dead server', async (t) => {
  const server = await build(t, { env: { ...env, REDIS_URL: await redisDatabase(), EMPTY_ROOM_SECONDS: '0' }, timings: shortTimings })
  const removed = removals(server)
  const connection = server.app.redis.duplicate()
  t.teardown(() => connection.disconnect())
  await connection.connect()
  const leases = createRedisLeases(connection, 'dead-node')
  await leases.heartbeat()
  const dead = createRedisStore(connection, 'dead-node', leases)
  await createOccupiedRooms(dead, ['r1', 'r2'])
  // Simulates a server that died while a user left: the room is empty but not in the index of empty rooms.
  await createEmptyRooms(dead, ['r3'], Date.now() + 3_600_000)
  await connection.zrem('msab:rooms:empty', 'r3')
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r2' })
  await connection.del('msab:node:{dead-node}')
  await until(() => removed.length === 2)
  t.same(removed.map(({ roomId, reason }) => `${roomId} ${reason}`).sort(), ['r1 inactivity', 'r3 inactivity'])
  t.match(await server.admin('GET', '/admin/rooms/r2'), { status: 200, body: { participantCount: 1 } })
})

t.test('retries after a failed sweep', async (t) => {
  const redis = await startRedis(t)
  const proxy = await createHoldingProxy(t, redis)
  const server = await build(t, { env: { ...env, REDIS_URL: proxy.url } })
  const removed = removals(server)
  await createEmptyRooms(storeElsewhere(server), names('r', 5), Date.now())
  // Make Redis fail first during the query for empty rooms, then while a room is being closed.
  for (const moment of [/zrangebyscore\r\n\$\d+\r\nmsab:rooms:empty\r\n/, /\r\nmsab:room:\{r0\}:closed\r\n/]) {
    await proxy.hold(moment)
    proxy.drop()
    t.same(removed, [])
  }
  await until(() => removed.length === 5)
  t.same(await server.app.store.listRooms('', 10), [])
  t.same(await server.app.store.listEmptyRooms(Date.now(), 10), [])
})
