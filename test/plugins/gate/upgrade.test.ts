import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect as connectSocket } from 'node:net'
import type { Socket } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { adminKey, build, tokenFor } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { until } from '../../support/retry.ts'

// Tests gate.upgrade: WebSocket paths of features. Upgrade requests to other paths are rejected.

/**
 * Sends a raw upgrade request.
 *
 * @returns the response: status, head, body and socket
 */
async function upgrade (t: Test, url: string, target: string, headers: Record<string, string> = {}): Promise<{ status: number, head: string, body: string, socket: Socket }> {
  const { hostname, port } = new URL(url)
  const socket = connectSocket({ host: hostname, port: Number(port) })
  t.teardown(() => socket.destroy())
  const lines = { host: `${hostname}:${port}`, connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', ...headers }
  socket.write(`GET ${target} HTTP/1.1\r\n${Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`)
  let text = ''
  socket.on('data', (chunk) => { text += String(chunk) })
  await new Promise<void>((resolve) => {
    socket.once('close', () => resolve())
    socket.on('data', () => { if (text.startsWith('HTTP/1.1 101')) resolve() })
  })
  const [head = '', body = ''] = text.split('\r\n\r\n')
  return { status: Number(text.split(' ')[1]), head: head.toLowerCase(), body, socket }
}

/**
 * A feature that echoes all data on the path /raw, and identifies users on the path /own without the `auth` feature.
 */
const paths = (greeting: string) => `import { defineFeature, Forbidden } from 'flylive-audio-server/feature'
export default defineFeature(async function paths (app) {
  app.gate.upgrade('/raw', {
    handle (request, socket) {
      if (request.headers['x-fail']) throw new Forbidden('Not you')
      socket.write('HTTP/1.1 101 Switching Protocols\\r\\nconnection: upgrade\\r\\nupgrade: websocket\\r\\n\\r\\n${greeting}')
      socket.pipe(socket)
    }
  })
  app.gate.upgrade('/late', {
    async handle (request, socket) {
      if (request.headers['x-begin']) socket.write('HTTP/1.1 101 Switching Protocols\\r\\n\\r\\n')
      await null
      throw request.headers['x-forbid'] ? new Forbidden('Not you') : new Error('a mistake in handle')
    }
  })
  app.gate.upgrade('/mistakes', {
    subprotocol: 'own.v1',
    authenticate: () => ({ user: { id: 1, name: 'Ada', roles: [], profile: { userId: 1, id: 1, name: 'Ada' } } }),
    opened (session) { if (globalThis.flyliveOpenFails) throw new Error('a mistake in opened') },
    receive (session, data) {
      if (String(data) === 'bad') throw new Error('a mistake in receive')
      session.send('paths:echo', { text: String(data) })
    }
  })
  app.gate.upgrade('/own', {
    subprotocol: 'own.v1',
    async authenticate (request) {
      if (request.query.wait) { globalThis.flyliveInside = ${JSON.stringify(greeting)}; await globalThis.flyliveWait.promise }
      const id = Number(request.query.user)
      if (!id) throw new Forbidden('A user is needed at ' + request.originalUrl)
      return { user: { id, name: 'Own ' + id, roles: [], profile: { userId: id, id, name: 'Own ' + id } } }
    }
  })
  app.gate.upgrade('/native', {})
  app.gate.upgrade('/broken', { subprotocol () { throw new Error('The subprotocol is broken') } })
}, { name: 'paths' })
`
const shared = globalThis as unknown as { flyliveWait: PromiseWithResolvers<void>, flyliveInside?: string, flyliveOpenFails?: boolean }

async function scene (t: Test, env: Record<string, string> = {}, log?: (line: Record<string, unknown>) => void) {
  shared.flyliveWait = Promise.withResolvers()
  t.teardown(() => shared.flyliveWait.resolve())
  delete shared.flyliveInside
  const folder = featureFolder(t)
  folder.write('paths', { 'index.ts': paths('first') })
  const server = await build(t, { env: { FEATURES: 'auth,chat,paths', FEATURES_PATH: folder.path, ...env }, ...(log && { log }) })
  const open = async (path: string, protocols: string[] = [], headers: Record<string, string> = {}) => {
    const ws = new WebSocket(server.url.replace('http', 'ws') + path, protocols, { headers })
    t.teardown(() => ws.terminate())
    const frames: Record<string, unknown>[] = []
    ws.on('message', (data) => frames.push(JSON.parse(String(data)) as Record<string, unknown>))
    await once(ws, 'open')
    return { ws, frames }
  }
  return { server, folder, open, admin: (path: string) => server.admin('POST', `/admin/features/${path}`) }
}

t.test('rejects upgrades of unclaimed paths with 404', async (t) => {
  const { server } = await scene(t)
  for (const target of ['/', '/nowhere', '/livez', '/docs', '/health', '/metrics', '/admin/rooms', '/ws/', '/wss', '/ws/x', '/%77s', '/%zz', '/nowhere?token=x', '/rawer', '/raw/', '//ws', '*', `/${'x'.repeat(5000)}`]) {
    const answer = await upgrade(t, server.url, target, { authorization: `Bearer ${tokenFor(1)}` })
    t.equal(answer.status, 404, target.slice(0, 20))
    t.match(JSON.parse(answer.body), { error: { code: 'NOT_FOUND', message: String } })
    t.match(answer.head, 'content-type: application/json')
  }
  t.equal(server.app.sockets.size, 0)
  await (await server.connect(1)).flush()
})

t.test('/ws returns its usual errors, and accepts a query or an absolute URL as the request target', async (t) => {
  const { server, open } = await scene(t, { WS_QUERY_TOKEN: 'true' })
  const refused = await upgrade(t, server.url, '/ws')
  t.equal(refused.status, 401)
  t.match(JSON.parse(refused.body), { error: { code: 'UNAUTHORIZED' } })
  t.match(refused.head, 'content-security-policy', "the response has the server's headers")
  t.equal((await upgrade(t, server.url, '/ws', { origin: 'https://elsewhere.example', authorization: `Bearer ${tokenFor(1)}` })).status, 403)
  t.equal((await fetch(`${server.url}/ws`)).status, 426)
  t.equal((await upgrade(t, server.url, `${server.url}/ws`, { authorization: `Bearer ${tokenFor(1)}` })).status, 101)
  const { frames } = await open(`/ws?token=${tokenFor(2)}`)
  await until(() => frames.length === 1)
  t.match(frames[0], { type: 'session:ready' })
  await server.app.drain.begin(0)
  const draining = await upgrade(t, server.url, '/ws', { authorization: `Bearer ${tokenFor(1)}` })
  t.equal(draining.status, 503)
  t.match(draining.head, 'retry-after: 5')
})

t.test("a feature's path handles sessions, errors and users like /ws", async (t) => {
  const { server, open } = await scene(t, { MAX_CONNECTIONS: '2' })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  t.equal((await upgrade(t, server.url, '/native')).status, 401)
  t.equal((await upgrade(t, server.url, '/native', { origin: 'https://elsewhere.example', authorization: `Bearer ${tokenFor(2)}` })).status, 403)
  const { ws, frames } = await open('/native', ['msab.v1'], { authorization: `Bearer ${tokenFor(2)}` })
  t.equal(ws.protocol, 'msab.v1')
  ws.send(JSON.stringify({ id: 1, type: 'room:join', data: { roomId: 'r1' } }))
  await ada.event('room:userJoined', ({ userId }) => userId === 2)
  await until(() => frames.some(({ id }) => id === 1))
  t.match(frames[0], { type: 'session:ready', data: { userId: 2 } }, 'the greeting is the first frame')
  t.equal((await upgrade(t, server.url, '/native', { authorization: `Bearer ${tokenFor(3)}` })).status, 503)
})

t.test("a feature's path may identify users without auth", async (t) => {
  const { server, open } = await scene(t)
  const refused = await upgrade(t, server.url, '/own?x=1')
  t.equal(refused.status, 403)
  t.same(JSON.parse(refused.body), { error: { code: 'FORBIDDEN', message: 'A user is needed at /own?x=1' } })
  const { ws, frames } = await open('/own?user=7', ['own.v1'])
  t.equal(ws.protocol, 'own.v1')
  await until(() => frames.length === 1)
  t.match(frames[0], { data: { userId: 7 } })
  ws.send(Buffer.from('x'), { binary: true })
  const [code] = await once(ws, 'close') as [number]
  t.equal(code, 1003)
})

t.test('a feature may take over the socket', async (t) => {
  const { server } = await scene(t)
  const { status, socket, body } = await upgrade(t, server.url, '/raw?x')
  t.equal(status, 101)
  t.equal(body, 'first')
  socket.write('echo')
  const [chunk] = await once(socket, 'data') as [Buffer]
  t.equal(String(chunk), 'echo')
  const failed = await upgrade(t, server.url, '/raw', { 'x-fail': '1' })
  t.equal(failed.status, 403)
  t.match(JSON.parse(failed.body), { error: { code: 'FORBIDDEN' } })
})

t.test('a feature that claims a path already in use fails to load', async (t) => {
  const { server, folder } = await scene(t)
  const claims = (path: string) => `import { defineFeature } from 'flylive-audio-server/feature'\nexport default defineFeature(async function z (app) { app.gate.upgrade('${path}', {}) }, { name: 'z' })\n`
  for (const [path, owner] of [['/raw', 'paths'], ['/ws', 'the server itself']] as const) {
    folder.write('z', { 'index.ts': claims(path) })
    t.match(await server.admin('POST', '/admin/features/rescan'), { status: 200 })
    t.match(await server.admin('POST', '/admin/features/z/enable'), { status: 422, body: { error: { message: new RegExp(`Upgrades to ${path} belong to ${owner}`) } } })
  }
  t.equal((await upgrade(t, server.url, '/raw')).status, 101)
})

t.test('a reload keeps connections and swaps the path', async (t) => {
  const { server, folder, open, admin } = await scene(t)
  const { ws, frames } = await open('/own?user=7')
  const waiting = open('/own?user=8&wait=1')
  await until(() => shared.flyliveInside === 'first')
  folder.write('paths', { 'index.ts': paths('second') })
  const reload = admin('paths/reload')
  await until(async () => (await upgrade(t, server.url, '/raw')).body === 'second')
  shared.flyliveWait.resolve()
  t.equal((await reload).status, 200)
  await waiting
  ws.send(JSON.stringify({ id: 5, type: 'user:getRoom', data: { userId: 1 } }))
  await until(() => frames.some(({ id }) => id === 5))
  t.equal(server.app.sockets.size, 2)
})

t.test('a reload that removes a path closes only the connections on this path', async (t) => {
  const { server, folder, open, admin } = await scene(t)
  const { ws } = await open('/own?user=7')
  const kept = await open('/native', [], { authorization: `Bearer ${tokenFor(2)}` })
  const closed = once(ws, 'close') as Promise<[number, Buffer]>
  folder.write('paths', { 'index.ts': paths('second').replace("'/own'", "'/other'") })
  t.equal((await admin('paths/reload')).status, 200)
  await until(() => ws.readyState === ws.CLOSED)
  const [code, reason] = await closed
  t.same([code, String(reason)], [1001, 'SHUTTING_DOWN'])
  t.equal((await upgrade(t, server.url, '/own?user=7')).status, 404)
  kept.ws.send(JSON.stringify({ id: 5, type: 'user:getRoom', data: { userId: 1 } }))
  await until(() => kept.frames.some(({ id }) => id === 5))
})

t.test('disabling a feature withdraws its paths and closes only their connections', async (t) => {
  const { server, open, admin } = await scene(t)
  const ada = await server.connect(1)
  const { ws } = await open('/own?user=7')
  const late = upgrade(t, server.url, '/own?user=8&wait=1')
  await until(() => shared.flyliveInside === 'first')
  const closed = once(ws, 'close') as Promise<[number, Buffer]>
  const disable = admin('paths/disable')
  const [code, reason] = await closed
  t.same([code, String(reason)], [1001, 'SHUTTING_DOWN'])
  shared.flyliveWait.resolve()
  t.equal((await late).status, 404, 'the path was withdrawn during the authentication')
  t.equal((await disable).status, 200)
  for (const path of ['/own?user=7', '/raw', '/native']) t.equal((await upgrade(t, server.url, path)).status, 404)
  await ada.flush()
})

t.test('a stopping server rejects an upgrade and closes its socket', async (t) => {
  const { server } = await scene(t)
  const authorization = `Bearer ${tokenFor(1)}`
  // This client never confirms the close frame. While the server waits for the confirmation, the server still accepts
  // connections.
  const silent = await upgrade(t, server.url, '/ws', { authorization })
  t.equal(silent.status, 101)
  const closed = once(silent.socket, 'close')
  let left = 0
  silent.socket.on('data', (chunk: Buffer) => { if (chunk[0] === 0x88) left++ })
  const stopped = server.app.close()
  await until(() => left > 0)
  const late = await upgrade(t, server.url, '/ws', { authorization: `Bearer ${tokenFor(2)}` })
  t.equal(late.status, 503)
  t.match(JSON.parse(late.body), { error: { code: 'DRAINING' } })
  await Promise.all([closed, stopped])
})

t.test('claiming paths 50 times does not affect /ws', async (t) => {
  const { server, admin } = await scene(t)
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const before = ['upgrade', 'request', 'connection', 'error', 'close'].map((name) => server.app.server.listenerCount(name))
  for (let i = 0; i < 25; i++) {
    t.equal((await admin('paths/reload')).status, 200)
    t.equal((await admin('paths/disable')).status, 200)
    t.equal((await admin('paths/enable')).status, 200)
  }
  t.same(['upgrade', 'request', 'connection', 'error', 'close'].map((name) => server.app.server.listenerCount(name)), before)
  await ada.ok('chat:message', { content: 'hello' })
  await (await server.connect(2)).ok('room:join', { roomId: 'r1' })
  t.match(await ada.event('room:userJoined'), { userId: 2 })
})

t.test('rejects an upgrade if the feature fails to select a subprotocol', async (t) => {
  const { server } = await scene(t)
  const headers = { authorization: `Bearer ${tokenFor(1)}`, 'sec-websocket-protocol': 'one' }
  const { status, body, socket } = await upgrade(t, server.url, '/broken', headers)
  t.equal(status, 500)
  t.match(JSON.parse(body), { error: { code: 'INTERNAL' } })
  t.ok(socket.destroyed)
  t.equal(server.app.sockets.size, 0)
})

t.test('handles a request that offers another protocol as if it had no offer', async (t) => {
  const { server } = await scene(t)
  const send = async (method: string, path: string, offer: Record<string, string>) => await new Promise<number>((resolve, reject) => {
    const headers = { authorization: `Bearer ${adminKey}`, ...offer }
    httpRequest(server.url + path, { method, headers }, (response) => { response.resume().once('end', () => resolve(response.statusCode ?? 0)) }).once('error', reject).end()
  })
  const http2 = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQBAAAAAAIAAAAA' }
  for (const offer of [http2, { connection: 'Upgrade', upgrade: 'TLS/1.2' }]) {
    t.equal(await send('GET', '/livez', offer), 200)
    t.equal(await send('POST', '/admin/features/chat/reload', offer), 200)
    t.equal(await send('GET', '/ws', offer), 426)
  }
})

t.test('rejects an upgrade if its asynchronous handler rejects', async (t) => {
  const lines: Record<string, unknown>[] = []
  const { server } = await scene(t, {}, (line) => lines.push(line))
  const broken = await upgrade(t, server.url, '/late')
  t.equal(broken.status, 500)
  t.match(JSON.parse(broken.body), { error: { code: 'INTERNAL' } })
  const forbidden = await upgrade(t, server.url, '/late', { 'x-forbid': '1' })
  t.equal(forbidden.status, 403)
  t.match(JSON.parse(forbidden.body), { error: { code: 'FORBIDDEN' } })
  const begun = await upgrade(t, server.url, '/late', { 'x-begin': '1' })
  t.equal(begun.status, 101)
  await until(() => begun.socket.destroyed)
  t.equal(begun.body, '', 'no HTTP response follows the one that the handler has sent')
  t.match(lines.filter(({ msg }) => msg === 'failed to handle an upgrade'), [{ feature: 'paths', path: '/late' }, { feature: 'paths', path: '/late' }])
})

t.test('a session does not outlive its connection if `opened` throws', async (t) => {
  const { server, open } = await scene(t)
  shared.flyliveOpenFails = true
  t.teardown(() => { delete shared.flyliveOpenFails })
  const { ws } = await open('/mistakes')
  await once(ws, 'close')
  await until(() => server.app.sockets.size === 0)
  t.match(await (await fetch(`${server.url}/metrics`)).text(), /^flylive_socket_connections 0$/m)
})

t.test('a connection still works after `receive` has thrown; the error counts as a fault of the feature', async (t) => {
  const { server, open } = await scene(t)
  const { ws, frames } = await open('/mistakes')
  const texts = () => frames.flatMap(({ type, data }) => type === 'paths:echo' ? [(data as { text: string }).text] : [])
  for (const text of ['one', 'bad', 'two']) ws.send(text)
  await until(() => texts().length === 2)
  t.same(texts(), ['one', 'two'])
  t.match(await (await fetch(`${server.url}/metrics`)).text(), /^flylive_feature_faults_total\{feature="paths",kind="exception"\} 1$/m)
})
