import { once } from 'node:events'
import { request as get } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { createSigner } from 'fast-jwt'
import t from 'tap'
import { WebSocket } from 'ws'
import { build, jwtSecret, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { until } from '../../support/retry.ts'
import { createClient, enter, refusal } from './support.ts'

// Tests how Socket.IO clients connect: transports, tokens, origins and limits.

const sign = createSigner({ key: jwtSecret, algorithm: 'HS256' })
const transports = [['websocket'], ['polling'], ['polling', 'websocket']] as const
const refusedTotal = async ({ app }: TestServer) => (await app.metrics.counter('flylive_socket_refused_total', '', ['code']).get()).values

/** Sends a request of the Engine.IO protocol. */
async function request ({ url }: TestServer, query: string, options: RequestInit = {}) {
  const response = await fetch(`${url}/socket.io/${query}`, options)
  return { status: response.status, headers: response.headers, text: await response.text() }
}

t.test('connects over WebSocket, over polling, and over polling with an upgrade', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat,socket-io' } })
  const ada = await server.connect(1, { face: 'native' })
  await ada.ok('room:join', { roomId: 'r1' })
  for (const [i, allowed] of transports.entries()) {
    const { socket, ask, event } = await enter(t, server.url, 10 + i, { transports: [...allowed] })
    t.match(await event('session:ready'), { userId: 10 + i, sessionId: String, features: ['auth', 'chat', 'socket-io'] })
    t.match(await ask('room:join', { roomId: 'r1' }), { success: true, roomId: 'r1' })
    await ada.ok('chat:message', { content: `to ${allowed.join()}` })
    t.match(await event('chat:message'), { content: `to ${allowed.join()}` })
    await until(() => socket.io.engine.transport.name === allowed.at(-1))
    t.match(await ask('chat:message', { content: 'hello' }), { success: true })
    socket.disconnect()
    await ada.event('room:userLeft', ({ userId }) => userId === 10 + i)
  }
  t.equal(server.app.sockets.size, 1)
})

t.test('accepts the token in `auth` or in the Authorization header', async (t) => {
  const { url } = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  for (const [i, allowed] of transports.slice(0, 2).entries()) {
    const { event } = createClient(t, url, 0, { token: undefined, headers: { authorization: `Bearer ${tokenFor(i)}` }, transports: [...allowed] } as never)
    t.match(await event('session:ready'), { userId: i })
  }
  const both = await enter(t, url, 5, { headers: { authorization: 'Bearer nonsense' } })
  t.match(await both.event('session:ready'), { userId: 5 })
})

t.test('rejected clients receive the error code and the message that Socket.IO clients expect', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io', MAX_CONNECTIONS_PER_USER: '1', CORS_ORIGINS: 'https://app.example.com' } })
  const { url } = server
  const from = (origin: string) => ({ token: tokenFor(1), headers: { origin } })
  for (const allowed of transports) {
    const kinds = { transports: [...allowed] }
    t.match(await refusal(t, url, { ...from('https://evil.example.com'), ...kinds }), { message: 'Origin not allowed', data: { code: 'ORIGIN_NOT_ALLOWED' } })
    t.match(await refusal(t, url, kinds), { message: 'Authentication required', data: { code: 'UNAUTHORIZED' } })
    t.match(await refusal(t, url, { token: 'no.good.token', ...kinds }), { message: 'Invalid credentials', data: { code: 'UNAUTHORIZED' } })
  }
  t.match(await refusal(t, url, { token: sign({ id: 1, name: 'Ada', iat: 1, exp: 2 }) }), { message: 'Invalid credentials', data: { details: { reason: 'expired' } } })
  await enter(t, url, 1, from('https://app.example.com'))
  t.match(await refusal(t, url, { token: tokenFor(1) }), { message: /^Too many connections/, data: { code: 'TOO_MANY_CONNECTIONS', details: { limit: 1 } } })
  t.match(await refusedTotal(server), [{ labels: { code: 'ORIGIN_NOT_ALLOWED' }, value: 3 }, { labels: { code: 'UNAUTHORIZED' }, value: 7 }, { labels: { code: 'TOO_MANY_CONNECTIONS' }, value: 1 }])
  t.equal(server.app.sockets.size, 1)

  const closed = await build(t, { env: { FEATURES: 'socket-io' } })
  t.match(await refusal(t, closed.url, { token: tokenFor(1) }), { message: 'Authentication failed', data: { code: 'FEATURE_DISABLED' } })
  const open = await build(t, { env: { FEATURES: 'socket-io', ALLOW_ANONYMOUS: 'true' } })
  t.match(await (await enter(t, open.url, 1)).event('session:ready'), { userId: /^guest-/ })
})

t.test('rejects clients before the handshake while the server accepts no connections', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io', MAX_CONNECTIONS: '2', MAX_CONNECTIONS_PER_IP: '64', TRUST_PROXY: 'true' } })
  const answer = async (headers: Record<string, string> = {}) => {
    const { status, text } = await request(server, '?EIO=4&transport=polling', { headers })
    return `${status} ${text.startsWith('{') ? (JSON.parse(text) as { error: { code: string } }).error.code : text.slice(0, 7)}`
  }
  const ada = await enter(t, server.url, 1)
  t.equal(await answer(), '200 0{"sid"')
  t.equal(await answer(), '503 OVERLOADED', 'a connection without a session counts')
  t.match(await refusal(t, server.url, { token: tokenFor(2) }), { message: 'websocket error' })
  ada.socket.disconnect()
  await until(() => server.app.sockets.size === 0)
  const drained = server.app.drain.begin(0)
  t.equal(await answer(), '503 DRAINING')
  await drained

  const limited = await build(t, { env: { FEATURES: 'auth,socket-io', MAX_CONNECTIONS_PER_IP: '2', TRUST_PROXY: 'true' } })
  const address = (n: number) => ({ headers: { 'x-forwarded-for': `203.0.113.${n}` } })
  const first = await enter(t, limited.url, 1, { transports: ['polling'], ...address(1) })
  await enter(t, limited.url, 2, { ...address(1) })
  const tooMany = await request(limited, '?EIO=4&transport=polling', address(1))
  t.match([tooMany.status, JSON.parse(tooMany.text)], [429, { error: { code: 'TOO_MANY_CONNECTIONS', details: { limit: 2 } } }])
  await enter(t, limited.url, 3, address(2))
  first.socket.disconnect()
  await until(async () => (await request(limited, '?EIO=4&transport=polling', address(1))).status === 200)
})

t.test('responds to pages from any origin, but only at its own path', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  const origin = 'https://app.example.com'
  const preflight = await request(server, '?EIO=4&transport=polling', { method: 'OPTIONS', headers: { origin } })
  t.equal(preflight.status, 204)
  t.equal(preflight.headers.get('access-control-allow-origin'), origin)
  t.match(preflight.headers.get('access-control-allow-headers'), 'authorization')
  const handshake = await request(server, '?EIO=4&transport=polling', { headers: { origin } })
  t.equal(handshake.headers.get('access-control-allow-origin'), origin)
  t.equal(handshake.headers.get('access-control-allow-credentials'), 'true')
  t.equal((await request(server, '?EIO=4&transport=polling&sid=unknown', { headers: { origin } })).status, 400)
  t.equal((await request(server, '?EIO=3&transport=polling')).status, 400, 'an older protocol')
  t.equal((await request(server, '?EIO=4&transport=nothing')).status, 400)
  for (const method of ['PUT', 'DELETE']) t.equal((await request(server, '?EIO=4&transport=polling', { method })).status, 404)
  for (const path of ['socket.io.js', 'x', '../socket.iox']) t.equal((await request(server, path)).status, 404, path)
})

t.test('closes connections that do not send their token, or send it twice', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  const open = async () => {
    const ws = new WebSocket(`${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`)
    t.teardown(() => ws.terminate())
    await once(ws, 'message')
    return ws
  }
  const connect = `40${JSON.stringify({ token: tokenFor(1) })}`
  for (const [name, packets] of Object.entries({
    'an event first': ['42["room:join",{"roomId":"r1"}]'],
    'the token twice': [connect, connect],
    'another namespace later': [connect, '40/admin,{}'],
    'no packet': ['4'],
    'an unknown packet': ['49'],
    'many pongs': Array<string>(20).fill('3'),
    'a wrong namespace, many times': Array<string>(20).fill('40/admin,{}')
  })) {
    // The server closes an idle connection after a timeout. Here, the packets must close the connection earlier.
    const [idle, ws] = [await open(), await open()]
    const closed = once(ws, 'close')
    for (const packet of packets) ws.send(packet)
    if (name === 'another namespace later') {
      idle.terminate()
      ws.terminate()
      continue
    }
    await closed
    t.equal(idle.readyState, WebSocket.OPEN, name)
    idle.terminate()
  }
  await until(() => server.app.sockets.size === 0)
})

t.test('a client that opens a network connection per request keeps its address and session', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  const send = async (query: string, body?: string) => {
    const message = get(`${server.url}/socket.io/?EIO=4&transport=polling${query}`, { agent: false, method: body === undefined ? 'GET' : 'POST' }).end(body)
    const [response] = await once(message, 'response') as [IncomingMessage]
    return (await response.toArray()).join('')
  }
  const { sid } = JSON.parse((await send('')).slice(1)) as { sid: string }
  await until(() => new Promise<boolean>((resolve) => server.app.server.getConnections((_error, count) => resolve(count === 0))))
  t.equal(await send(`&sid=${sid}`, `40${JSON.stringify({ token: tokenFor(1) })}`), 'ok')
  t.match(await send(`&sid=${sid}`), /^40/)
  const [session] = server.app.sockets.all()
  t.match(session?.identity, { user: { id: 1 }, address: '127.0.0.1' })
})

t.test('connects without a slash at the end of the path', async (t) => {
  const { url } = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  for (const [i, allowed] of transports.entries()) {
    const { socket, event } = await enter(t, url, i, { transports: [...allowed], manager: { addTrailingSlash: false } })
    await event('session:ready')
    await until(() => socket.io.engine.transport.name === allowed.at(-1))
  }
})

t.test('a connection that closes while its user is being identified does not count towards the limit', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io', MAX_CONNECTIONS_PER_USER: '1' } })
  const auth = server.app.features.getFeature('auth') as NonNullable<ReturnType<typeof server.app.features.getFeature<'auth'>>>
  const { identify } = auth
  const [entered, waiting] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()]
  auth.identify = async (token) => {
    entered.resolve(undefined)
    await waiting.promise
    return await identify(token)
  }
  const gone = createClient(t, server.url, 1)
  await entered.promise
  gone.socket.disconnect()
  await until(() => new Promise<boolean>((resolve) => server.app.server.getConnections((_error, count) => resolve(count === 0))))
  waiting.resolve(undefined)
  await enter(t, server.url, 1)
})
