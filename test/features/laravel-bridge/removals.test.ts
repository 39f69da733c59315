import t from 'tap'
import type { Test } from 'tap'
import type { RoomRecord } from '../../../plugins/store/types.ts'
import { startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { silenceableProxy } from './support.ts'

async function setUp (t: Test) {
  const redis = await startRedis(t)
  const backend = await startBackend(t, { redisUrl: redis.url })
  backend.everyRoom = () => 42
  const env = { ...backend.env, REDIS_URL: redis.url }
  return { backend, a: await build(t, { env }), b: await build(t, { env }) }
}

const roleOf = async ({ app }: TestServer, roomId: string, userId: number) => {
  const [session] = app.sockets.ofUser(String(userId))
  return await app.rooms.roleOf(await app.store.getRoom(roomId) as RoomRecord, session as NonNullable<typeof session>)
}

t.test('a kick by the backend notifies the user and applies on every server', async (t) => {
  const { backend, a, b } = await setUp(t)
  const watcher = await a.connect(1)
  const there = [await a.connect(2), await b.connect(2)]
  const elsewhere = await b.connect(2)
  for (const client of [watcher, ...there]) await client.ok('room:join', { roomId: '7' })
  await elsewhere.ok('room:join', { roomId: '8' })
  await backend.publish('room.member_kicked', { user_id: 2, room_id: 7, payload: { by: 42 } })
  for (const client of there) {
    t.match(await client.closed, { code: 4403, reason: 'KICKED' })
    t.same(await client.event('room.member_kicked'), { by: 42 }, 'the event arrives before the close')
  }
  t.same(await elsewhere.event('room.member_kicked'), { by: 42 })
  t.same(await watcher.event('room:userLeft'), { roomId: '7', userId: 2 })
  const back = await b.connect(2)
  await back.ok('room:join', { roomId: '7' })
  t.match(await watcher.event('room:userJoined', ({ userId }) => userId === 2), { userId: 2 })
  // Wait until the delayed check of the kick has finished and the check's job is deleted.
  await until(async () => (await a.app.redis.exists('msab:jobs:{backend-kick}')) === 0)
  await back.ok('room:leave')
  await elsewhere.ok('room:leave')
})

t.test('a user kicked while disconnected loses the seat', async (t) => {
  const { backend, a, b } = await setUp(t)
  const [watcher, away] = [await a.connect(1), await b.connect(2)]
  for (const client of [watcher, away]) await client.ok('room:join', { roomId: '7' })
  await away.ok('seat:take', { seatIndex: 3 })
  await away.close()
  await watcher.event('room:userLeft')
  await backend.publish('room.member_kicked', { user_id: 2, room_id: 7 })
  t.same(await watcher.event('seat:cleared'), { roomId: '7', seatIndex: 3, userId: 2, reason: 'removed' })
})

t.test('a user on a server that missed the kick is removed later', async (t) => {
  const redis = await startRedis(t)
  const network = await silenceableProxy(t, redis.port)
  const backend = await startBackend(t, { redisUrl: redis.url })
  backend.everyRoom = () => 42
  const a = await build(t, { env: { ...backend.env, REDIS_URL: redis.url } })
  const b = await build(t, { env: { ...backend.env, REDIS_URL: network.url } })
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: '7' })
  // A user who connects after the kick is allowed to stay. The servers' clocks may differ, so wait until the time of
  // the connection has passed on the clock of server `a`.
  const [session] = b.app.sockets.ofUser('2')
  await until(() => a.app.clock.now() > (session?.connectedAt ?? Infinity))
  network.silence(true)
  await backend.publish('room.member_kicked', { user_id: 2, room_id: 7 })
  t.match(await bob.closed, { code: 4403 })
  t.notOk(bob.events.some(({ type }) => type === 'room.member_kicked'), 'the event was missed')
  t.same(await ada.event('room:userLeft'), { roomId: '7', userId: 2 })
})

t.test('a user blocked by the backend is removed and cannot rejoin', async (t) => {
  const { backend, a, b } = await setUp(t)
  const [ada, bob, other] = [await a.connect(1), await b.connect(2), await a.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: '7' })
  await backend.publish('room.member_blocked', { user_id: 2, room_id: 7, payload: { reason: 'rude' } })
  t.match(await bob.closed, { code: 4403 })
  t.same(await bob.event('room.member_blocked'), { reason: 'rude' })
  t.same(await ada.event('room:userLeft'), { roomId: '7', userId: 2 })
  t.strictSame((await a.app.store.listBans('7', '', 10)).map(({ userId }) => userId), [2], 'lists of bans show the id as the backend sent it')
  t.equal(other.ws.readyState, other.ws.OPEN, 'a socket outside the room stays open')
  for (const client of [other, await b.connect(2)]) {
    const { error } = await client.request('room:join', { roomId: '7' })
    t.match(error, { code: 'BANNED', details: { until: Number } })
    t.ok((error.details as { until: number }).until > Date.now() + 9 * 365 * 86_400_000)
    await client.ok('room:join', { roomId: '8' })
  }
})

t.test('every server looks up a changed role again', async (t) => {
  const { backend, a, b } = await setUp(t)
  const clients = [await a.connect(2), await b.connect(2)]
  for (const client of clients) await client.ok('room:join', { roomId: '7' })
  for (const server of [a, b]) t.equal(await roleOf(server, '7', 2), 'member')
  const calls = backend.calls('role')
  for (const server of [a, b]) t.equal(await roleOf(server, '7', 2), 'member')
  t.equal(backend.calls('role'), calls)
  backend.roles.set('7/2', 'admin')
  await backend.publish('room.member_role_changed', { user_id: 2, room_id: 7, payload: { role: 'admin' } })
  for (const client of clients) t.same(await client.event('room.member_role_changed'), { role: 'admin' })
  for (const server of [a, b]) t.equal(await roleOf(server, '7', 2), 'admin')
  backend.roles.set('7/2', 'member')
  await backend.publish('room.member_role_changed', { room_id: 7, payload: { user_id: 2 } })
  for (const client of clients) await client.event('room.member_role_changed')
  for (const server of [a, b]) t.equal(await roleOf(server, '7', 2), 'member', 'published to the whole room')
  backend.everyRoom = () => 2
  await backend.publish('room.member_role_changed', { user_id: 2, room_id: 7, payload: { role: 'owner' } })
  for (const client of clients) await client.event('room.member_role_changed')
  for (const server of [a, b]) t.equal(await server.app.rooms.ownerOf(await server.app.store.getRoom('7') as RoomRecord), 2)
})
