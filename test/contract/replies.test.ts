import t from 'tap'
import { requests as mediaRequests } from '../../features/media/messages.ts'
import { build, onEveryStore } from '../support/build.ts'
import { nativeOnly } from '../support/client.ts'
import type { TestClient } from '../support/client.ts'
import { emptyArray } from '../support/empty-array.ts'
import { until } from '../support/retry.ts'

interface Frame { id?: unknown, ok?: boolean, type?: string, data?: unknown, error?: { code: string, message: string } }

function record (client: TestClient): Frame[] {
  const frames: Frame[] = []
  client.ws.on('message', (raw) => { frames.push(JSON.parse(String(raw)) as Frame) })
  return frames
}

t.test('each request receives one reply with its id', async (t) => {
  const server = await build(t)
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const frames = record(ada)
  const types = ['user:getRoom', 'transport:create', 'nothing:like:that', 'audio:consume', 'room:leave', 'room:join'] as const
  const data = { userId: 1, type: 'consumer', roomId: 'r1' }
  const ids = Array.from({ length: 120 }, (_, i) => i % 3 ? 1000 + i : `text ${i}`)
  ids.forEach((id, i) => ada.send({ id, type: types[i % types.length], data }))
  await until(() => frames.filter((frame) => 'ok' in frame).length >= ids.length)
  // A duplicate reply would have arrived before this reply.
  await ada.ok('room:join', { roomId: 'r1' })
  await ada.ok('transport:create', { type: 'producer' })

  const answered = frames.filter((frame) => 'ok' in frame).map(({ id }) => id).slice(0, -2)
  t.equal(answered.length, ids.length)
  t.same(new Set(answered), new Set(ids), 'ids keep their type, number or string')
  for (const frame of frames) t.equal('ok' in frame && 'type' in frame, false, 'a reply is not an event')

  frames.length = 0
  for (let i = 0; i < 2; i++) ada.send({ id: 'again', type: 'user:getRoom', data: { userId: 1 } })
  await ada.flush()
  t.equal(frames.filter(({ id }) => id === 'again').length, 2, 'each use of an id receives a reply')
})

t.test('a message without an id receives a reply only on failure', async (t) => {
  const server = await build(t)
  const ada = await server.connect(1)
  const frames = record(ada)

  ada.send({ type: 'room:join', data: { roomId: 'r1' } })
  ada.send({ id: null, type: 'user:getRoom', data: { userId: 1 } })
  await ada.flush()
  t.equal(frames.length, 1, 'only the last request receives a reply')

  ada.send({ type: 'room:join', data: { roomId: 'no room' } })
  t.match(await ada.event('error'), { code: 'VALIDATION_FAILED', message: String, type: 'room:join', details: [{ path: 'roomId', message: String }] })
  ada.send({ type: 'nothing' })
  t.match(await ada.event('error'), { code: 'UNKNOWN_TYPE', type: 'nothing' })
  await ada.flush()
  t.equal(frames.filter(({ type }) => type === 'error').length, 2, 'once')
})

t.test('a frame without a type receives one error', nativeOnly, async (t) => {
  const ada = await (await build(t)).connect(1)
  ada.send('nonsense')
  const { code, type } = await ada.event('error')
  t.same([code, type], ['VALIDATION_FAILED', undefined])
  await ada.flush()
  t.equal(ada.events.filter(({ type }) => type === 'error').length, 1)
})

t.test('an id that is neither a string nor a number receives one error', nativeOnly, async (t) => {
  const ada = await (await build(t)).connect(1)
  for (const id of [true, {}, [1]]) {
    ada.send({ id, type: 'session:ping' })
    t.match(await ada.event('error'), { code: 'VALIDATION_FAILED', type: 'session:ping', details: [{ path: 'id', message: 'must be a string or a number' }] })
  }
})

t.test('invalid requests receive an error code', async (t) => {
  const server = await build(t)
  const ada = await server.connect(1)
  t.match(await ada.request('room:join', { roomId: 'r1', seatCount: 99, pin: 'abc' }), {
    ok: false,
    error: { code: 'VALIDATION_FAILED', message: /pin/, details: [{ path: 'pin', message: String }, { path: 'seatCount', message: String }] }
  })
  for (const userId of [undefined, null, true, {}]) {
    t.match((await ada.request('user:getRoom', { userId })).error, { code: 'VALIDATION_FAILED', details: [{ path: 'userId', message: /a whole number or a string/ }] }, `user ${String(userId)}`)
  }
  t.match((await ada.request('gift:send', { giftId: 1 })).error, { details: [{ path: 'recipientId', message: /a whole number or a string/ }] })
  t.match((await ada.request('nothing:like:that')).error, { code: 'UNKNOWN_TYPE', message: /nothing:like:that/ })
  t.equal(await ada.fails('room:leave'), 'NOT_IN_ROOM')
  t.equal(await ada.fails('transport:create', { type: 'producer' }), 'NOT_IN_ROOM')
  await ada.ok('room:join', { roomId: 'r1', unknown: 'field' })
  t.equal(await ada.fails('transport:create', { roomId: 'r2', type: 'producer' }), 'NOT_IN_ROOM')
  t.equal(await ada.fails('room:leave', { roomId: 'r2' }), 'NOT_IN_ROOM')
  for (const roomId of ['', 'a b', 'ä', 'x'.repeat(129), '../etc', 'a/b', 'r1\n', 7, null]) t.equal(await ada.fails('room:join', { roomId }), 'VALIDATION_FAILED', `room ${String(roomId)}`)
  for (const roomId of ['x'.repeat(128), 'A.b_c-d:1']) await ada.ok('room:join', { roomId })
})

t.test('requests of a disabled feature are rejected with FEATURE_DISABLED', async (t) => {
  const server = await build(t, { env: { FEATURES: '-media' } })
  const ada = await server.connect(1)
  t.same((ada.greeting.features as string[]).includes('media'), false)
  const joined = await ada.ok('room:join', { roomId: 'r1' })
  t.notOk('rtpCapabilities' in joined || 'existingProducers' in joined)
  for (const type of Object.keys(mediaRequests)) {
    t.match((await ada.request(type, {})).error, { code: 'FEATURE_DISABLED', message: /media/ }, type)
  }
  ada.send({ type: 'audio:produce' })
  t.match(await ada.event('error'), { code: 'FEATURE_DISABLED', type: 'audio:produce' })
})

onEveryStore(t, "starts a socket's requests in order", async (t, env) => {
  const server = await build(t, { env })
  const ada = await server.connect(1)
  const frames = record(ada)
  for (let round = 0; round < 10; round++) {
    const roomId = `r${round}`
    const replies = await Promise.all([
      ada.request('room:join', { roomId }),
      ada.request('transport:create', { type: 'producer' }),
      ada.request('transport:create', { roomId, type: 'consumer' }),
      ada.request('user:getRoom', { userId: 1 })
    ])
    t.ok(replies.every(({ ok }) => ok), 'a client need not wait for the reply to a join')
    t.equal(replies[3]?.data.roomId, roomId)
  }
  const [left, ...late] = await Promise.all([
    ada.request('room:leave'), ada.request('transport:create', { type: 'producer' }), ada.request('room:leave'), ada.request('room:join', { roomId: 'last' })
  ])
  t.same([left.ok, ...late.map(({ ok, error }) => ok || error.code)], [true, 'NOT_IN_ROOM', 'NOT_IN_ROOM', true])
  const ids = frames.filter(({ ok }) => ok !== undefined).map(({ id }) => Number(id))
  t.equal(ids.length, 44)
})

onEveryStore(t, 'sends the greeting first', async (t, env) => {
  const server = await build(t, { env })
  const ada = await server.connect(1)
  t.match(ada.greeting, {
    sessionId: /^[0-9a-f-]{36}$/, userId: 1, protocol: 'msab.v1', features: Array, iceServers: emptyArray, serverTime: Number
  })
  t.same(ada.greeting.features, server.app.features.enabled())
  t.equal(ada.events[0]?.type, 'session:ready')
  t.ok(Math.abs(Number(ada.greeting.serverTime) - Date.now()) < 60_000)
})
