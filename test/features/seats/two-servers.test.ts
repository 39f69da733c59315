import t from 'tap'
import type { Test } from 'tap'
import { noSeats, seatState } from '../../../features/seats/state.ts'
import { createRedisLeases } from '../../../plugins/cluster/leases.redis.ts'
import { createRedisStore } from '../../../plugins/store/redis/index.ts'
import { build, shortTimings, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import type { TestClient } from '../../support/client.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { startServer } from '../../support/process.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { consume, hurry, produce, seatsOf, seatEvents } from './scene.ts'
import { follow } from './view.ts'

const env = { FEATURES: 'auth,media,seats', REDIS_URL: await redisDatabase(), SEAT_GRACE_SECONDS: '60', WS_MESSAGES_PER_SECOND: '100000', WS_MESSAGES_BURST: '100000' }
/** Two servers for the tests that do not stop a server. Each test has its own room. */
const [a, b] = [await build(t, { env, timings: shortTimings }), await build(t, { env })]
/** Starts a server that a test can stop without affecting other tests. */
const another = (t: Test) => build(t, { env })
let rooms = 0

/** Creates a room of four seats. The owner (1) is on server `a`, and the members (3, '4') are on the other server. */
async function enter (there = b) {
  const roomId = `r${++rooms}`
  const [owner, member, other] = [await a.connect(1), await there.connect(3), await there.connect('4')]
  await owner.ok('room:join', { roomId, seatCount: 4 })
  for (const client of [member, other]) await client.ok('room:join', { roomId })
  return { roomId, owner, member, other, all: [owner, member, other] }
}

const waits = (server: TestServer, roomId: string, userId: unknown) => until(async () => {
  const seat = (await seatsOf(server, roomId)).seats.find((seat) => seat.userId === userId)
  return seat?.awayUntil ?? false
})

const producersOn = (server: TestServer, roomId: string) => server.app.sfu.producersOf(roomId).map(({ producerId, isPaused }) => ({ producerId, isPaused }))

t.test('changes on one server are announced on both', async (t) => {
  const { roomId, owner, member, other, all } = await enter()
  const steps: [client: TestClient, type: string, data: object, seatEvents: string[]][] = [
    [member, 'seat:take', { seatIndex: 0 }, ['updated 0 3 false']],
    [owner, 'seat:take', { seatIndex: 1 }, ['updated 1 1 false']],
    [owner, 'seat:mute', { userId: 3 }, ['userMuted 3 true false']],
    [owner, 'seat:unmute', { userId: '3' }, ['userMuted 3 false false']],
    [owner, 'seat:assign', { userId: 4, seatIndex: 0 }, ['cleared 0 3 removed', 'updated 0 4 false']],
    [owner, 'seat:lock', { seatIndex: 0 }, ['cleared 0 4 locked', 'locked 0 true']],
    [owner, 'seat:invite', { userId: 3, seatIndex: 2 }, ['invite:pending 2 true 3']],
    [member, 'seat:invite:accept', {}, ['invite:pending 2 false 3', 'updated 2 3 false']],
    [owner, 'seat:unlock', { seatIndex: 0 }, ['locked 0 false']],
    [owner, 'seat:remove', { userId: 3 }, ['cleared 2 3 removed']],
    [other, 'seat:take', { seatIndex: 3 }, ['updated 3 4 false']],
    [other, 'seat:leave', {}, ['cleared 3 4 left']]
  ]
  const expected: string[] = []
  for (const [client, type, data, texts] of steps) {
    await client.ok(type, data)
    expected.push(...texts)
    for (const each of all) {
      await until(() => seatEvents(each).filter((text) => !text.startsWith('invite:received')).length === expected.length)
      t.same(seatEvents(each).filter((text) => !text.startsWith('invite:received')), expected, type)
    }
  }
  t.same(await seatsOf(a, roomId), await seatsOf(b, roomId), 'both servers return the same state to admins')
})

t.test('concurrent changes on both servers are announced in the same order', async (t) => {
  const { roomId, owner, member, all } = await enter()
  const crowd = await Promise.all(Array.from({ length: 8 }, (_, i) => [a, b][i % 2]?.connect(100 + i) as Promise<TestClient>))
  for (const client of crowd) await client.ok('room:join', { roomId })
  for (const client of all) await client.flush()
  await Promise.all([...crowd, member, owner].map(async (client, i) => {
    for (let round = 0; round < 9; round++) {
      const data = { seatIndex: (i + round) % 4 }
      await client.request('seat:take', data)
      if (client === owner) {
        await client.request('seat:lock', data)
        await client.request('seat:unlock', data)
      } else if (round % 3 === 2) await client.request('seat:leave')
    }
  }))
  // A client that has received this last event has also received all earlier events.
  const { status } = await a.admin('PATCH', `/admin/rooms/${roomId}/seats`, { seatCount: 9 })
  t.equal(status, 200)
  const everybody = [...all, ...crowd]
  for (const client of everybody) await client.event('seat:count')
  t.ok(seatEvents(owner).length > 50, `${seatEvents(owner).length} events`)
  for (const client of everybody) t.same(seatEvents(client), seatEvents(owner))
})

t.test('seat changes apply to the audio of a user on the other server', async (t) => {
  const { roomId, owner, member, other } = await enter()
  await member.ok('seat:take', { seatIndex: 0 })
  // Mute the member before the member sends any audio.
  await owner.ok('seat:mute', { userId: 3 })
  const first = await produce(member)
  await other.event('audio:newProducer')
  t.same(await other.event('audio:producerPaused'), { roomId, producerId: first, userId: 3, source: 'voice' })
  t.same(producersOn(b, roomId), [{ producerId: first, isPaused: true }])
  const consumerId = await consume(other, first)
  t.same(await other.ok('consumer:resume', { consumerId }), { deferred: true })
  await owner.ok('seat:unmute', { userId: 3 })
  t.same(await other.event('audio:producerResumed'), { roomId, producerId: first, userId: 3, source: 'voice' })
  t.same(producersOn(b, roomId), [{ producerId: first, isPaused: false }])
  await owner.ok('seat:mute', { userId: 3 })
  t.same(await other.event('audio:producerPaused'), { roomId, producerId: first, userId: 3, source: 'voice' })
  t.same(producersOn(b, roomId), [{ producerId: first, isPaused: true }])

  const ends: Record<string, () => Promise<unknown>> = {
    removed: () => owner.ok('seat:remove', { userId: 3 }),
    'locked out': () => owner.ok('seat:lock', { seatIndex: 0 }),
    displaced: () => owner.ok('seat:assign', { userId: 1, seatIndex: 1 }),
    'removed with the seat': () => a.admin('PATCH', `/admin/rooms/${roomId}/seats`, { seatCount: 2 })
  }
  let producerId = first
  for (const [i, [name, end]] of Object.entries(ends).entries()) {
    if (i > 0) {
      await member.ok('seat:take', { seatIndex: [0, 0, 1, 2][i] })
      producerId = await produce(member)
      await other.event('audio:newProducer', (data) => data.producerId === producerId)
    }
    await end()
    t.same(await other.event('audio:producerClosed', (data) => data.producerId === producerId), { roomId, producerId, userId: 3, source: 'voice' }, name)
    t.same(producersOn(b, roomId), [], name)
    t.same(await member.fails('audio:selfMute', { producerId }), 'PRODUCER_NOT_FOUND')
  }
})

t.test('a seat is reserved on every server', async (t) => {
  const { roomId, owner, member, other } = await enter()
  await member.ok('seat:take', { seatIndex: 2 })
  member.ws.terminate()
  await owner.event('room:userLeft')
  t.equal(await waits(a, roomId, 3), await waits(b, roomId, 3))
  const again = await a.connect(3)
  const { view } = await follow(again, roomId)
  t.same(view().seats, ['2: 3'])
  await until(async () => (await seatsOf(b, roomId)).seats[0]?.awayUntil === null)
  await produce(again)
  t.same(await again.ok('seat:leave'), { seatIndex: 2 })
  for (const client of [owner, other]) {
    await client.event('seat:cleared')
    t.same(seatEvents(client), ['updated 2 3 false', 'cleared 2 3 left'], 'no other event is sent')
  }
})

t.test('clears the seat of a user on any server', async (t) => {
  const { roomId, owner, member, other } = await enter()
  const more = await a.connect(5)
  await more.ok('room:join', { roomId })
  await member.ok('seat:take', { seatIndex: 0 })
  await more.ok('seat:take', { seatIndex: 1 })
  for (const client of [member, more]) client.ws.terminate()
  for (const userId of [3, 5]) await waits(a, roomId, userId)
  // End the grace period early.
  await hurry(b, 200, roomId)
  for (const client of [owner, other]) {
    for (const [seatIndex, userId] of [[0, 3], [1, 5]]) {
      t.same(await client.event('seat:cleared', (data) => data.userId === userId), { roomId, seatIndex, userId, reason: 'disconnected' })
    }
    t.equal(seatEvents(client).length, 4, 'each event arrives once, although both servers check')
  }
  for (const server of [a, b]) t.same((await seatsOf(server, roomId)).seats, [])
})

t.test('a user keeps the seat while a socket on either server is open', async (t) => {
  const { roomId, owner, member, other } = await enter()
  await member.ok('seat:take', { seatIndex: 0 })
  await other.ok('seat:take', { seatIndex: 1 })
  const phone = await a.connect('3')
  await phone.ok('room:join', { roomId })
  member.ws.terminate()
  await until(async () => !((await b.admin('GET', '/admin/users/3')).body?.sockets as { sessionId: unknown }[]).some(({ sessionId }) => sessionId === member.greeting.sessionId))
  // If the server wrongly reserved the other seat, it would do so before it reserves this seat.
  other.ws.terminate()
  await waits(b, roomId, '4')
  t.match((await seatsOf(b, roomId)).seats, [{ seatIndex: 0, userId: 3, awayUntil: null }, { userId: '4' }])
  phone.ws.terminate()
  await waits(b, roomId, 3)
  await hurry(b, 200, roomId)
  t.same(await owner.event('seat:cleared', ({ userId }) => userId === 3), { roomId, seatIndex: 0, userId: 3, reason: 'disconnected' })
})

t.test('reserves the seats of users on a server that shuts down', async (t) => {
  const there = await another(t)
  const { roomId, owner, member, other } = await enter(there)
  await member.ok('seat:take', { seatIndex: 0 })
  await other.ok('seat:take', { seatIndex: 1 })
  await there.close()
  t.match((await seatsOf(a, roomId)).seats, [{ userId: 3, awayUntil: Number }, { userId: '4', awayUntil: Number }])
  const again = await a.connect(3)
  await again.ok('room:join', { roomId })
  await hurry(a, 200, roomId)
  t.same(await owner.event('seat:cleared'), { roomId, seatIndex: 1, userId: '4', reason: 'disconnected' })
  t.match((await seatsOf(a, roomId)).seats, [{ seatIndex: 0, userId: 3, awayUntil: null }], 'a user who returned keeps the seat')
  t.same(seatEvents(owner), ['updated 0 3 false', 'updated 1 4 false', 'cleared 1 4 disconnected'])
})

t.test('reserves seats at a shutdown with a slow store', async (t) => {
  const there = await another(t)
  const { roomId, member, other } = await enter(there)
  await member.ok('seat:take', { seatIndex: 0 })
  await other.ok('seat:take', { seatIndex: 1 })
  // Delay the responses of Redis until long after the sockets are closed.
  await a.app.redis.call('CLIENT', 'PAUSE', '300', 'ALL')
  await there.close()
  t.match((await seatsOf(a, roomId)).seats, [{ userId: 3, awayUntil: Number }, { userId: '4', awayUntil: Number }])
})

t.test('reserves seats at a shutdown under load', async (t) => {
  const there = await another(t)
  const crowds = await Promise.all(['load-1', 'load-2'].map(async (roomId) => {
    const stay = await Promise.all([1, 2, 3].map((n) => a.connect(`stay ${n} ${roomId}`)))
    const go = await Promise.all([5, 6, 7, 8, 9].map((n) => there.connect(`go ${n} ${roomId}`)))
    for (const client of [...stay, ...go]) await client.ok('room:join', { roomId })
    for (const [i, client] of go.entries()) await client.ok('seat:take', { seatIndex: 5 + i })
    return { roomId, stay }
  }))
  const enough = new AbortController()
  const noise = crowds.flatMap(({ stay }) => stay.map(async (client) => {
    for (let i = 0; !enough.signal.aborted; i++) await client.request('seat:take', { seatIndex: i % 5 })
  }))
  // While the server closes, changes by other users force the server to retry its writes.
  await there.close()
  enough.abort()
  await Promise.all(noise)
  for (const { roomId } of crowds) {
    const { seats } = await seatsOf(a, roomId)
    t.equal(seats.filter(({ awayUntil }) => awayUntil !== null).length, 5, roomId)
  }
})

t.test('clears the seats of users on a dead server', async (t) => {
  const roomId = 'dying'
  const dying = startServer(t, { ...env, FEATURES: 'auth,seats', HOST: '127.0.0.1', PORT: '0', NODE_ID: 'dying' })
  const url = await dying.url
  const owner = await a.connect(1)
  await owner.ok('room:join', { roomId, seatCount: 4 })
  const { view } = await follow(owner, roomId)
  const [member, other] = await Promise.all([3, '4'].map((id) => connect(t, url, { token: tokenFor(id) })))
  for (const [seatIndex, client] of [member, other].entries()) {
    await client?.ok('room:join', { roomId })
    await client?.ok('seat:take', { seatIndex })
  }
  await until(() => view().seats.length === 2)

  dying.child.kill('SIGKILL')
  await dying.exit
  // The other servers have not yet detected that this server is dead.
  const again = await a.connect(3)
  t.match(await again.ok('room:join', { roomId }), { seats: [{ seatIndex: 0, userId: 3 }, { seatIndex: 1, userId: '4' }] })
  // Deletes the lease instead of waiting for it to expire.
  const [nodeKey = ''] = await a.app.redis.keys('msab:node:{dying-*}')
  t.equal(await a.app.redis.del(nodeKey), 1)
  t.same(await owner.event('room:userLeft'), { roomId, userId: '4' })
  await waits(a, roomId, '4')
  await hurry(a, 200, roomId)
  for (const client of [owner, again]) t.same(await client.event('seat:cleared'), { roomId, seatIndex: 1, userId: '4', reason: 'disconnected' })
  t.match((await seatsOf(a, roomId)).seats, [{ seatIndex: 0, userId: 3, awayUntil: null }], 'a user who returned keeps the seat')
  t.same(view().seats, ['0: 3'])
  t.same(await again.ok('seat:leave'), { seatIndex: 0 })
})

t.test('on start, a server reserves the seats of users on a dead server', async (t) => {
  const alone = { ...env, FEATURES: 'auth,seats', REDIS_URL: await redisDatabase() }
  const first = await build(t, { env: alone })
  const owner = await first.connect(1)
  await owner.ok('room:join', { roomId: 'r1', seatCount: 4 })
  // Simulates a server that has died while one of its users had a seat.
  const connection = first.app.redis.duplicate()
  t.teardown(() => connection.disconnect())
  await connection.connect()
  const leases = createRedisLeases(connection, 'dead-node')
  await leases.heartbeat()
  await createRedisStore(connection, 'dead-node', leases, 0).join({ roomId: 'r1', sessionId: 's', userKey: '7', profile: { userId: 7, id: 7 }, limit: 10, now: Date.now() })
  await first.app.rooms.roomState.define('seats', seatState).change('r1', (state = noSeats(4)) => ({ state: { ...state, seats: [{ seatIndex: 2, userId: 7, sitting: 1, selfMuted: false }], sittings: 1 }, result: undefined }))
  await first.close()
  await connection.del('msab:node:{dead-node}')
  // This feature delays the start of the other features until long after the server has connected to Redis.
  const folder = featureFolder(t)
  folder.write('asks', { 'index.ts': saying('asks', 'done', { before: 'for (let i = 0; i < 100; i++) await app.redis.ping()' }) })
  const second = await build(t, { env: { ...alone, FEATURES: 'asks,auth,seats', FEATURES_PATH: folder.path } })
  await waits(second, 'r1', 7)
})
