import { createSigner } from 'fast-jwt'
import t from 'tap'
import { codeOf, RoomClient } from '../../client/index.ts'
import { build, jwtSecret, tokenFor } from '../support/build.ts'
import { until } from '../support/retry.ts'
import { backoff, watch } from './watch.ts'

const sign = createSigner({ key: jwtSecret, algorithm: 'HS256' })

const server = await build(t, { env: { FEATURES: 'auth,seats' } })

t.test('a rejected token closes the connection with the reason', async (t) => {
  const { connection, states } = watch(t, { url: server.url, token: () => 'no.good.token' })
  await t.rejects(connection.connect(), { name: 'RequestError', code: 'UNAUTHORIZED', message: 'The token is not valid' })
  t.equal(states.at(-1), 'closed UNAUTHORIZED')
  t.equal(server.app.sockets.size, 0)
})

t.test('retries with another token', async (t) => {
  const refusals: unknown[] = []
  const { connection } = watch(t, {
    url: server.url,
    token: (refusal) => {
      refusals.push(refusal?.message)
      return refusal ? tokenFor(1) : tokenFor(1, { iat: 1, exp: 2 })
    }
  })
  await connection.connect()
  t.same(refusals, [undefined, 'The token has expired'])
})

t.test('retries a failing token callback', async (t) => {
  let asked = 0
  const { connection, states } = watch(t, {
    url: server.url,
    token: async () => {
      if (++asked < 3) throw new Error('the backend is away')
      return tokenFor(1)
    }
  })
  await connection.connect()
  t.same(states.filter((state) => state.startsWith('waiting')), ['waiting TOKEN_UNAVAILABLE', 'waiting TOKEN_UNAVAILABLE'])
})

t.test('retries a token endpoint that returns an error page', async (t) => {
  const pages = ['<html><h1>502 Bad Gateway</h1></html>', 'Unauthorized', '', undefined as unknown as string]
  const { connection, states } = watch(t, { url: server.url, token: () => pages.length > 0 ? pages.shift() as string : tokenFor(1) })
  await connection.connect()
  t.same(states.filter((state) => state !== 'connecting'), [...Array<string>(4).fill('waiting TOKEN_UNAVAILABLE'), 'open'])
})

t.test('retries a token endpoint that does not answer', async (t) => {
  let asked = 0
  const { connection, states } = watch(t, { url: server.url, connectTimeoutMs: 300, token: () => ++asked === 1 ? new Promise(() => {}) : tokenFor(1) })
  await connection.connect()
  t.same(states, ['connecting', 'waiting TOKEN_UNAVAILABLE', 'connecting', 'open'])
})

t.test('a malformed address closes the connection', async (t) => {
  for (const url of ['localhost:3030', 'ftp://127.0.0.1', '', 'http://[']) {
    const { connection, states } = watch(t, { url })
    await t.rejects(connection.connect(), { code: 'CONNECTION_INVALID' }, url)
    t.same(states, ['connecting', 'closed CONNECTION_INVALID'])
  }
})

t.test('retries a server that rejects connections', async (t) => {
  const server = await build(t, { env: { MAX_CONNECTIONS: '1' } })
  const first = await server.connect(7)
  const { connection, reached } = watch(t, { url: server.url })
  const connected = connection.connect()
  await reached('waiting OVERLOADED')
  await first.close()
  await connected
  t.equal(connection.state, 'open')
})

t.test('a kicked client does not reconnect', async (t) => {
  const { connection, reached, states, why } = watch(t, { url: server.url })
  await connection.connect()
  await connection.request('room:join', { roomId: 'r1' })
  t.equal((await server.admin('POST', '/admin/rooms/r1/kick', { userId: 1 })).status, 204)
  await reached('closed KICKED')
  t.match(why(), { details: { closeCode: 4403, reason: 'KICKED' } })
  t.same(states, ['connecting', 'open', 'closed KICKED'])
  t.equal(await connection.request('room:leave', {}).catch(codeOf), 'NOT_CONNECTED')
})

t.test('a client renews its token before the token expires', async (t) => {
  const now = Math.floor(Date.now() / 1000)
  const expiries = [now + 10, now + 600]
  const { connection, states } = watch(t, { url: server.url, token: () => sign({ id: 1, name: 'Ada', exp: expiries.shift() ?? 0 }) })
  const greeting = await connection.connect()
  const session = server.app.sockets.get(greeting.sessionId)
  await until(() => session?.identity.expiresAt === (now + 600) * 1000)
  await until(() => Date.now() > (now + 11) * 1000)
  t.same(states, ['connecting', 'open'])
  t.same(connection.greeting, greeting, 'it is the same connection')
})

t.test('a client whose token expires reconnects with a new one', async (t) => {
  const now = Math.floor(Date.now() / 1000)
  const first = sign({ id: 1, name: 'Ada', exp: now + 6 })
  const { connection, states } = watch(t, {
    url: server.url,
    token () {
      // Fail every renewal while the connection is open, so that the token expires.
      if (connection.state === 'open') throw new Error('the token endpoint is down')
      return connection.state === 'connecting' && connection.greeting ? sign({ id: 1, name: 'Ada', exp: now + 600 }) : first
    }
  })
  await connection.connect()
  await until(() => states.length >= 5)
  t.same(states, ['connecting', 'open', 'waiting CONNECTION_LOST', 'connecting', 'open'])
})

t.test('a client returns to its room and seat after its token expires', async (t) => {
  const exp = Math.floor(Date.now() / 1000) + 5
  let expired = false
  const room = new RoomClient({ url: server.url, token: () => sign({ id: 1, name: 'Ada', exp: expired ? exp + 600 : exp }), audio: false, backoff })
  t.teardown(() => room.close())
  await room.join('r2')
  await room.connection.request('seat:take', { seatIndex: 3 })
  const states: string[] = []
  room.on('state', (state) => states.push(state))
  room.connection.on('state', (state) => { expired ||= state === 'waiting' })
  await until(() => states.length === 2)
  t.same(states, ['rejoining', 'in'])
  t.equal(room.seats.own?.seatIndex, 3)
})

t.test('a client retries the renewal of its token until the token expires', async (t) => {
  const now = Math.floor(Date.now() / 1000)
  const answers = [() => sign({ id: 1, name: 'Ada', exp: now + 30 }), () => { throw new Error('away') }, () => '<html>502</html>', () => sign({ id: 2, name: 'Bob', exp: now + 600 })]
  const { connection, states } = watch(t, { url: server.url, token: () => (answers.shift() ?? (() => sign({ id: 1, name: 'Ada', exp: now + 600 })))() })
  const { sessionId } = await connection.connect()
  await until(() => server.app.sockets.get(sessionId)?.identity.expiresAt === (now + 600) * 1000)
  t.same(states, ['connecting', 'open'])
})

t.test('a client with a revoked token does not reconnect', async (t) => {
  const token = tokenFor(1)
  const { connection, reached, states } = watch(t, { url: server.url, token: () => token })
  await connection.connect()
  t.equal((await server.admin('POST', '/admin/tokens/revoke', { token })).status, 204)
  await reached('closed UNAUTHORIZED')
  t.same(states, ['connecting', 'open', 'closed UNAUTHORIZED'])
})

t.test('the older of two logins stays disconnected', async (t) => {
  const server = await build(t, { env: { SINGLE_SESSION: 'true' } })
  const older = watch(t, { url: server.url })
  await older.connection.connect()
  const newer = watch(t, { url: server.url })
  await newer.connection.connect()
  await older.reached('closed REPLACED')
  t.equal(newer.connection.state, 'open')
  t.same(older.states, ['connecting', 'open', 'closed REPLACED'])
})
