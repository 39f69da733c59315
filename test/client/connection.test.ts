import t from 'tap'
import { codeOf, RequestError } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import { createRelay } from './relay.ts'
import { watch } from './watch.ts'

t.test('returns replies and emits events', async (t) => {
  const server = await build(t)
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
})

t.test('rejects with the server\'s error code', async (t) => {
  const server = await build(t)
  const { connection } = watch(t, { url: server.url })
  await connection.connect()
  const wrong = await connection.request('room:join', { roomId: 'no good' }).catch((error: unknown) => error)
  t.ok(wrong instanceof RequestError)
  t.match(wrong, { code: 'VALIDATION_FAILED', details: [{ path: 'roomId' }] })
  await t.rejects(connection.request('room:leave', {}), { code: 'NOT_IN_ROOM' })
})

t.test('an error in apply rejects only its request', async (t) => {
  const server = await build(t)
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
  const server = await build(t)
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
  const server = await build(t)
  const relay = await createRelay(t, server.url)
  await relay.cut()
  const { connection, reached } = watch(t, { url: relay.url })
  const connected = connection.connect()
  await reached('waiting UNREACHABLE')
  await relay.mend()
  t.equal((await connected).userId, 1)
})

t.test('detects a connection without traffic', async (t) => {
  const server = await build(t)
  const relay = await createRelay(t, server.url)
  const { connection, reached } = watch(t, { url: relay.url, timeoutMs: 300 })
  await connection.connect()
  relay.freeze()
  const [first, second] = [connection.request('user:getRoom', { userId: 1 }), connection.request('user:getRoom', { userId: 2 })]
  t.match(await Promise.all([first, second].map((request) => request.catch(codeOf))), ['TIMEOUT', /TIMEOUT|CONNECTION_LOST/])
  await reached('waiting CONNECTION_LOST')
  await connection.connect()
  t.same(await connection.request('user:getRoom', { userId: 1 }), { roomId: null })
})

t.test('emits closed and can connect again after close()', async (t) => {
  const server = await build(t)
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

t.test('a listener that throws does not affect others', async (t) => {
  const server = await build(t)
  const { connection } = watch(t, { url: server.url })
  const thrown = new Promise((resolve) => process.once('uncaughtException', resolve))
  connection.on('session:ready', () => { throw new Error('a listener') })
  await connection.connect()
  t.match(await thrown, { message: 'a listener' })
  t.equal(connection.state, 'open')
})
