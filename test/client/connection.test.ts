import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { codeOf, RequestError, RoomClient } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import { featureFolder } from '../support/features.ts'
import { until } from '../support/retry.ts'
import { createRelay } from './relay.ts'
import { backoff, watch } from './watch.ts'

const server = await build(t, { env: { FEATURES: 'auth,seats' } })

t.test('returns replies and emits events', async (t) => {
  const { connection, states } = watch(t, { url: server.url })
  const greeting = await connection.connect()
  t.equal(greeting.userId, 1)
  t.equal(greeting.protocol, 'msab.v1')
  t.equal(connection.greeting, greeting)
  t.same(states, ['connecting', 'open'])
  t.equal(await connection.connect(), greeting, 'a second connect() returns the same greeting')

  const order: string[] = []
  connection.on('room:userJoined', ({ userId }) => order.push(`joined ${userId}`))
  const reply = await connection.request('room:join', { roomId: 'r1' }, ({ self }) => order.push(`reply ${self.role}`))
  t.equal(reply.ownerId, 1)
  t.same(await connection.request('user:getRoom', { userId: 1 }), { roomId: 'r1' })
  const bob = await server.connect(2)
  await bob.ok('room:join', { roomId: 'r1' })
  await connection.request('user:getRoom', { userId: 1 })
  t.same(order, ['reply owner', 'joined 2'])
  await connection.request('room:leave', {})
})

t.test('rejects with the server\'s error code', async (t) => {
  const { connection } = watch(t, { url: server.url })
  await connection.connect()
  const wrong = await connection.request('room:join', { roomId: 'no good' }).catch((error: unknown) => error)
  t.ok(wrong instanceof RequestError)
  t.match(wrong, { code: 'VALIDATION_FAILED', details: [{ path: 'roomId' }] })
  await t.rejects(connection.request('room:leave', {}), { code: 'NOT_IN_ROOM' })
})

t.test('an error in the apply callback rejects only that request', async (t) => {
  const { connection } = watch(t, { url: server.url })
  await connection.connect()
  await t.rejects(connection.request('user:getRoom', { userId: 1 }, () => { throw new Error('mine') }), { message: 'mine' })
  t.same(await connection.request('user:getRoom', { userId: 1 }), { roomId: null })
})

t.test('rejects requests while disconnected', async (t) => {
  const { connection } = watch(t, { url: 'http://127.0.0.1:9' })
  await t.rejects(connection.request('room:leave', {}), { code: 'NOT_CONNECTED' })
})

t.test('a lost connection rejects pending requests and reconnects with a fresh token', async (t) => {
  let asked = 0
  const { connection, reached, states } = watch(t, { url: server.url, token: async () => tokenFor(1, { asked: ++asked }) })
  const { sessionId } = await connection.connect()
  await reached('open')

  const pending = connection.request('user:getRoom', { userId: 1 })
  for (const session of server.app.sockets.all()) session.terminate()
  await t.rejects(pending, { code: 'CONNECTION_LOST' })
  const again = await connection.connect()
  t.not(again.sessionId, sessionId)
  t.equal(asked, 2)
  await reached('open')
  t.same(states, ['connecting', 'open', 'waiting CONNECTION_LOST', 'connecting', 'open'])
  t.same(await connection.request('user:getRoom', { userId: 1 }), { roomId: null })
})

t.test('reconnects to a restarted server', async (t) => {
  const first = await build(t)
  const relay = await createRelay(t, first.url)
  const { connection, reached, states } = watch(t, { url: relay.url })
  await connection.connect()
  await relay.cut()
  await first.close()
  await reached('waiting UNREACHABLE')
  await reached('waiting UNREACHABLE')
  t.notOk(states.some((state) => state.startsWith('closed')))
  const second = await build(t)
  await relay.mend(second.url)
  await connection.connect()
  t.same(await connection.request('user:getRoom', { userId: 1 }), { roomId: null })
})

t.test('waits for a server that is not running yet', async (t) => {
  const relay = await createRelay(t, server.url)
  await relay.cut()
  const { connection, reached } = watch(t, { url: relay.url })
  const connected = connection.connect()
  await reached('waiting UNREACHABLE')
  await relay.mend()
  t.equal((await connected).userId, 1)
})

t.test('a request without a reply does not affect other requests', async (t) => {
  const folder = featureFolder(t)
  folder.write('stuck', {
    'index.ts': `import { defineFeature, z } from 'flylive-audio-server/feature'
export const requests = { 'stuck:go': { request: z.object({}), reply: z.object({}) } }
export default defineFeature(async function stuck (app) {
  app.messages.on('stuck:go', { ...requests['stuck:go'], room: false }, () => new Promise((resolve) => { globalThis.flyliveReply = () => resolve({}) }))
}, { name: 'stuck' })
`
  })
  const server = await build(t, { env: { FEATURES: 'auth,stuck', FEATURES_PATH: folder.path } })
  const { connection, states } = watch(t, { url: server.url, timeoutMs: 2000 })
  await connection.connect()
  const stuck = connection.request('stuck:go' as 'session:ping', {})
  t.match(await connection.request('session:ping', {}), { serverTime: Number })
  await t.rejects(stuck, { code: 'TIMEOUT', message: 'The server did not reply to stuck:go' })
  const { flyliveReply } = globalThis as unknown as { flyliveReply: () => void }
  flyliveReply()
  t.same(await connection.request('user:getRoom', { userId: 1 }), { roomId: null }, 'the late reply is ignored')
  t.same(states, ['connecting', 'open'])
})

t.test('reconnects when a request gets no reply because the network path is dead', async (t) => {
  const relay = await createRelay(t, server.url)
  const { connection, reached } = watch(t, { url: relay.url, timeoutMs: 300 })
  await connection.connect()
  relay.freeze()
  const requests = [1, 2].map((userId) => connection.request('user:getRoom', { userId }))
  t.match(await Promise.all(requests.map((request) => request.catch(codeOf))), ['TIMEOUT', /TIMEOUT|CONNECTION_LOST/])
  await reached('waiting CONNECTION_LOST')
  await connection.connect()
  t.same(await connection.request('user:getRoom', { userId: 1 }), { roomId: null })
})

t.test('detects a dead network path while idle, and stays connected while pings are answered', async (t) => {
  const relay = await createRelay(t, server.url)
  const room = new RoomClient({ url: relay.url, token: () => tokenFor(1), audio: false, backoff, idleMs: 100, timeoutMs: 2000 })
  t.teardown(() => room.close())
  const states: string[] = []
  room.on('state', (state, why) => states.push(why ? `${state} ${why.code} ${(why.details as { reason: string }).reason}` : state))
  await room.join('r2')
  await room.seats.takeFree()
  const pings = async () => Number(/flylive_socket_events_total\{event="session:ping",status="ok"\} (\d+)/.exec(await (await fetch(`${server.url}/metrics`)).text())?.[1] ?? 0)
  const before = await pings()
  await until(async () => await pings() >= before + 3)
  t.same(states, ['joining', 'in'])
  relay.freeze()
  await until(() => states.length === 4)
  t.same(states, ['joining', 'in', 'rejoining CONNECTION_LOST TIMEOUT', 'in'])
  t.equal(room.seats.own?.seatIndex, 0, 'the seat is kept')
  await room.leave()
})

t.test('a connection attempt times out if the server does not answer', async (t) => {
  const silent = createServer(() => {})
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const { connection, reached } = watch(t, { url: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`, connectTimeoutMs: 200 })
  connection.connect()
  await reached('waiting UNREACHABLE')
  await reached('waiting UNREACHABLE')
})

t.test('retry() skips the delay before the next connection attempt', async (t) => {
  const relay = await createRelay(t, server.url)
  const { connection, reached } = watch(t, { url: relay.url, backoff: { firstMs: 600_000, longestMs: 600_000 } })
  await connection.connect()
  connection.retry()
  t.equal(connection.state, 'open', 'has no effect while connected')
  await relay.cut()
  await reached('waiting CONNECTION_LOST')
  await relay.mend()
  connection.retry()
  await connection.connect()
})

t.test('close() emits `closed`; afterwards, the client can connect again', async (t) => {
  const { connection, states } = watch(t, { url: server.url })
  await connection.connect()
  const pending = connection.request('user:getRoom', { userId: 1 })
  connection.close()
  connection.close()
  await t.rejects(pending, { code: 'CLOSED' })
  t.same(states, ['connecting', 'open', 'closed CLOSED'])
  await connection.connect()
  t.equal(connection.state, 'open')

  const early = watch(t, { url: server.url })
  const connecting = early.connection.connect()
  early.connection.close()
  await t.rejects(connecting, { code: 'CLOSED' })
  t.equal(early.connection.state, 'closed')
})

t.test('a listener that throws does not affect other listeners', async (t) => {
  const { connection } = watch(t, { url: server.url })
  const thrown = new Promise((resolve) => process.once('uncaughtException', resolve))
  connection.on('session:ready', () => { throw new Error('a listener') })
  await connection.connect()
  t.match(await thrown, { message: 'a listener' })
  t.equal(connection.state, 'open')
})
