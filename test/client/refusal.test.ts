import { createSigner } from 'fast-jwt'
import t from 'tap'
import { codeOf } from '../../client/index.ts'
import { build, jwtSecret, tokenFor } from '../support/build.ts'
import { until } from '../support/retry.ts'
import { watch } from './watch.ts'

const sign = createSigner({ key: jwtSecret, algorithm: 'HS256' })

t.test('a rejected token closes the connection with the reason', async (t) => {
  const server = await build(t)
  const { connection, states } = watch(t, { url: server.url, token: () => 'no.good.token' })
  await t.rejects(connection.connect(), { name: 'RequestError', code: 'UNAUTHORIZED', message: 'The token is not valid' })
  t.equal(states.at(-1), 'closed UNAUTHORIZED')
  t.equal(server.app.sockets.size, 0)
})

t.test('retries with another token', async (t) => {
  const server = await build(t)
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
  const server = await build(t)
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

t.test('retries a server that rejects connections', async (t) => {
  const server = await build(t, { env: { MAX_CONNECTIONS: '1' } })
  const first = await server.connect(7)
  const { connection, reached } = watch(t, { url: server.url })
  const connected = connection.connect()
  await reached('waiting REFUSED')
  await first.close()
  await connected
  t.equal(connection.state, 'open')
})

t.test('a kicked client does not reconnect', async (t) => {
  const server = await build(t)
  const { connection, reached, states, why } = watch(t, { url: server.url })
  await connection.connect()
  await connection.request('room:join', { roomId: 'r1' })
  t.equal((await server.admin('POST', '/admin/rooms/r1/kick', { userId: 1 })).status, 204)
  await reached('closed KICKED')
  t.match(why(), { details: { closeCode: 4403, reason: 'KICKED' } })
  t.same(states, ['connecting', 'open', 'closed KICKED'])
  t.equal(await connection.request('room:leave', {}).catch(codeOf), 'NOT_CONNECTED')
})

t.test('a client renews its token before it expires', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
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
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const now = Math.floor(Date.now() / 1000)
  let calls = 0
  const { connection, states } = watch(t, {
    url: server.url,
    token () {
      // The second call is the renewal before the token expires.
      if (++calls === 2) throw new Error('the token endpoint is down')
      return sign({ id: 1, name: 'Ada', exp: now + (calls === 1 ? 6 : 600) })
    }
  })
  await connection.connect()
  await until(() => states.length >= 5)
  t.same(states, ['connecting', 'open', 'waiting CONNECTION_LOST', 'connecting', 'open'])
})

t.test('a client with a revoked token does not reconnect', async (t) => {
  const server = await build(t)
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
