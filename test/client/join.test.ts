import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { defaultConnectTimeoutMs } from '../../client/connection.ts'
import { codeOf, RoomClient } from '../../client/index.ts'
import type { RoomOptions } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import { stopwatch } from '../support/pace.ts'
import { unknownHost } from '../support/unknown-host.ts'
import { createRelay } from './relay.ts'
import { backoff, rejectionOf } from './watch.ts'

// Tests join() when the client cannot connect.

function createClient (t: Test, url: string, options: Partial<RoomOptions> = {}): { room: RoomClient, states: string[] } {
  const room = new RoomClient({ url, token: () => tokenFor(1), audio: false, backoff, connectTimeoutMs: 500, ...options })
  t.teardown(() => room.close())
  const states: string[] = []
  room.on('state', (state, why) => states.push(why ? `${state} ${why.code}` : state))
  return { room, states }
}

// Start this join before the tests, so that the long default timeout does not delay the tests.
const passed = stopwatch()
const { room: byDefault } = createClient(t, 'http://127.0.0.1:9', { connectTimeoutMs: defaultConnectTimeoutMs })
const failedByDefault = byDefault.join('r1').catch((error: unknown) => ({ code: codeOf(error), ms: passed() }))

t.test('fails if the server is unreachable, and can be called again', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const relay = await createRelay(t, server.url)
  await relay.cut()
  for (const url of [relay.url, `https://${unknownHost}`]) {
    const { room, states } = createClient(t, url)
    await t.rejects(room.join('r1'), { name: 'RequestError', code: 'UNREACHABLE', message: 'The server cannot be reached', details: { url: `${url}/ws` } })
    t.same(states, ['joining', 'out UNREACHABLE'])
    t.equal(room.connection.state, 'closed', 'the client stops connecting')
    if (url !== relay.url) continue
    await relay.mend()
    await room.join('r1')
    t.equal(room.state, 'in')
  }
})

t.test('fails with the reason that the server or the token endpoint returns', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', MAX_CONNECTIONS: '1' } })
  const ada = await server.connect(2)
  t.match(await rejectionOf(t, { url: server.url }), { code: 'OVERLOADED', message: 'The server is at its limit' })
  await ada.close()
  await t.rejects(createClient(t, server.url, { token: () => '<html>' }).room.join('r1'), { code: 'TOKEN_UNAVAILABLE' })
  await t.rejects(createClient(t, server.url, { token: () => new Promise(() => {}) }).room.join('r1'), { code: 'TOKEN_UNAVAILABLE', message: 'The token function did not return in time' })
  await t.rejects(createClient(t, server.url, { token: () => { throw new Error('No token: HTTP 500') } }).room.join('r1'), { code: 'TOKEN_UNAVAILABLE', message: 'The token could not be fetched: No token: HTTP 500' })
  t.match(await rejectionOf(t, { url: server.url, token: () => 'no.good.token' }), { code: 'UNAUTHORIZED', message: 'The token is not valid' })
  const other = await build(t, { env: { FEATURES: 'chat' } })
  t.match(await rejectionOf(t, { url: other.url }), { code: 'FEATURE_DISABLED' })
})

t.test('fails with the HTTP status if a proxy rejects the connection without a reason', async (t) => {
  const proxy = createServer((_request, response) => { response.writeHead(403, { 'content-type': 'text/html' }).end('<h1>Forbidden</h1>') })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => proxy.close())
  const why = await rejectionOf(t, { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` })
  t.match(why, { code: 'REFUSED', message: 'The connection was rejected with HTTP 403', details: { status: 403 } })
})

t.test('a failed join does not close a connection that was established earlier', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const relay = await createRelay(t, server.url)
  const { room } = createClient(t, relay.url)
  await room.connection.connect()
  await relay.cut()
  await t.rejects(room.join('r1'), { code: /UNREACHABLE|CONNECTION_LOST/ })
  t.match(room.connection.state, /waiting|connecting/)
  await relay.mend()
  await room.connection.connect()
  await room.join('r1')
})

t.test('a client in a room keeps trying to reconnect', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const relay = await createRelay(t, server.url)
  const { room, states } = createClient(t, relay.url)
  await room.join('r1')
  await relay.cut()
  let failures = 0
  const passed = stopwatch()
  // A join would fail after half a second.
  await new Promise<void>((resolve) => room.connection.on('state', (state) => { if (state === 'waiting' && ++failures >= 10 && passed() > 2000) resolve() }))
  t.same(states, ['joining', 'in', 'rejoining CONNECTION_LOST'])
})

t.test('fails within 10 s by default', async (t) => {
  const { code, ms } = await failedByDefault as { code: string, ms: number }
  t.equal(code, 'UNREACHABLE')
  t.ok(ms < 10_000, `${ms} ms`)
})
