import t from 'tap'
import type { Test } from 'tap'
import { build, onEveryStore } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { until } from '../../support/retry.ts'

// Tests sessions that a feature opens without a connection or over its own transport.

interface Ghost {
  events: { type: string, data: Record<string, unknown> }[]
  closed: unknown[]
}
const shared = globalThis as unknown as { flyliveGhosts: Record<string, Ghost>, flyliveWait: PromiseWithResolvers<void> | undefined, flyliveInside?: boolean }

/**
 * `POST /ghosts {userId, expiresIn}` opens a session without a connection, and `POST /ghosts/ID {type, data}`
 * dispatches a request for this session.
 */
const ghosts = `import { defineFeature, z } from 'flylive-audio-server/feature'
export default defineFeature(async function ghosts (app) {
  app.post('/ghosts', { schema: { body: z.object({ userId: z.number(), expiresIn: z.number().optional() }) } }, async ({ body: { userId, expiresIn } }) => {
    const ghost = { events: [], closed: [] }
    const identity = {
      user: { id: userId, name: 'Ghost', roles: [], profile: { userId, id: userId, name: 'Ghost' } },
      ...(expiresIn === undefined ? {} : { expiresAt: Date.now() + expiresIn })
    }
    const session = app.sockets.open({ identity, onEvent: ({ type, data }) => ghost.events.push({ type, data }), onClose: (reason) => ghost.closed.push(reason ?? null) })
    globalThis.flyliveGhosts[session.id] = ghost
    return { id: session.id }
  })
  app.post('/ghosts/:id', { schema: { params: z.object({ id: z.string() }), body: z.object({ type: z.string(), data: z.any() }) } }, async ({ params, body }) =>
    await app.messages.dispatch(app.sockets.get(params.id), body.type, body.data))
  app.delete('/ghosts/:id', { schema: { params: z.object({ id: z.string() }) } }, async ({ params }) => {
    app.sockets.get(params.id).end()
    return {}
  })
}, { name: 'ghosts' })
`

async function scene (t: Test, env: Record<string, string> = {}) {
  shared.flyliveGhosts = {}
  const folder = featureFolder(t)
  folder.write('ghosts', { 'index.ts': ghosts })
  const server = await build(t, { env: { FEATURES: 'auth,media,seats,chat,ghosts', FEATURES_PATH: folder.path, ...env } })
  async function call (method: string, path: string, body: unknown = {}) {
    const response = await fetch(server.url + path, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    return { status: response.status, body: await response.json() as Record<string, unknown> & { error?: { code: string } } }
  }
  async function haunt (userId: number, expiresIn?: number) {
    const id = String((await call('POST', '/ghosts', { userId, expiresIn })).body.id)
    const dispatch = async (type: string, data: unknown = {}) => {
      const { status, body } = await call('POST', `/ghosts/${id}`, { type, data })
      return status === 200 ? body : body.error?.code
    }
    return { id, dispatch, end: () => call('DELETE', `/ghosts/${id}`), ...shared.flyliveGhosts[id] as Ghost }
  }
  return { server, folder, call, haunt }
}

onEveryStore(t, 'a session without a connection joins a room, takes a seat, chats and is kicked', async (t, env) => {
  const { server, haunt } = await scene(t, env)
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const ghost = await haunt(2)
  t.equal(server.app.sockets.size, 2)
  t.match(await ghost.dispatch('room:join', { roomId: 'r1' }), { roomId: 'r1', self: { userId: 2 }, participantCount: 2 })
  t.match(await ada.event('room:userJoined'), { roomId: 'r1', userId: 2, user: { name: 'Ghost' } })
  t.same(await ada.ok('user:getRoom', { userId: 2 }), { roomId: 'r1' })

  await ghost.dispatch('seat:take', { seatIndex: 3 })
  t.match(await ada.event('seat:updated'), { seatIndex: 3, userId: 2 })
  t.match(await ghost.dispatch('transport:create', { type: 'producer' }), { id: String })
  await ghost.dispatch('chat:message', { content: 'boo' })
  t.match(await ada.event('chat:message'), { userId: 2, content: 'boo' })
  t.equal(await ghost.dispatch('seat:take', { seatIndex: 99 }), 'SEAT_INVALID')

  await ada.ok('chat:message', { content: 'hello' })
  await until(() => ghost.events.some(({ type, data }) => type === 'chat:message' && data.content === 'hello'))
  t.ok(ghost.events.every(({ type }) => type !== 'session:ready'), 'the session receives no greeting')

  await server.app.rooms.kick('r1', 2)
  t.match(await ada.event('room:userLeft'), { roomId: 'r1', userId: 2 })
  t.same(ghost.closed, ['KICKED'])
  t.equal(server.app.sockets.size, 1)
  t.equal((await ghost.dispatch('room:join', { roomId: 'r1' })), 'INTERNAL', 'the session is closed')
})

t.test("a session leaves its room when the session's owner closes it", async (t) => {
  const { server, haunt } = await scene(t)
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const ghost = await haunt(2)
  await ghost.dispatch('room:join', { roomId: 'r1' })
  await ghost.end()
  t.match(await ada.event('room:userLeft'), { userId: 2 })
  t.same(ghost.closed, [null], 'the server gave no reason')
})

t.test('a session closes when its token expires', async (t) => {
  const { server, haunt } = await scene(t)
  const ghost = await haunt(2, 300)
  await until(() => ghost.closed.length === 1)
  t.same(ghost.closed, ['TOKEN_EXPIRED'])
  t.equal(server.app.sockets.size, 0)
})

t.test('a session survives a reload of its feature and closes when the feature is disabled', async (t) => {
  const { server, haunt } = await scene(t)
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const ghost = await haunt(2)
  await ghost.dispatch('room:join', { roomId: 'r1' })
  t.match(await server.admin('POST', '/admin/features/ghosts/reload'), { status: 200, body: { generation: 2 } })
  await ghost.dispatch('chat:message', { content: 'still here' })
  t.match(await ada.event('chat:message'), { content: 'still here' })

  t.equal((await server.admin('POST', '/admin/features/ghosts/disable')).status, 200)
  t.match(await ada.event('room:userLeft'), { userId: 2 })
  t.same(ghost.closed, ['SHUTTING_DOWN'])
})

t.test('SINGLE_SESSION applies to connections only', async (t) => {
  const { server, haunt } = await scene(t, { SINGLE_SESSION: 'true' })
  const ada = await server.connect(1)
  const ghost = await haunt(1)
  await ada.flush()
  const again = await server.connect(1)
  t.match(await ada.closed, { code: 4409 })
  await again.flush()
  t.same(ghost.closed, [])
})

t.test('sessions count towards MAX_CONNECTIONS; a full or draining server rejects new ones', async (t) => {
  const { server, call, haunt } = await scene(t, { MAX_CONNECTIONS: '2' })
  const ghost = await haunt(2)
  const ada = await server.connect(1)
  t.match(await call('POST', '/ghosts', { userId: 3 }), { status: 503, body: { error: { code: 'OVERLOADED' } } })
  const refused = await server.connect(3).catch((error: unknown) => error)
  t.match(refused, { status: 503, body: { error: { code: 'OVERLOADED' } } })
  const draining = server.app.drain.begin(60)
  t.match(await call('POST', '/ghosts', { userId: 3 }), { status: 503, body: { error: { code: 'DRAINING' } } })
  await ghost.end()
  await ada.close()
  t.equal(await draining, 'empty')
})

t.test('a connection for which no session can be opened does not count as open', async (t) => {
  const { server } = await scene(t)
  const link = { open: true, queuedBytes: 0, bytesOf: () => 0, write: () => true, close () {}, terminate () {} }
  const face = { name: 'none', parse: () => undefined, event: () => undefined, reply: () => undefined }
  t.throws(() => server.app.sockets.open({ identity: undefined as never, face, link }))
  const ada = await server.connect(1)
  t.match(await (await fetch(`${server.url}/metrics`)).text(), /^flylive_socket_connections 1$/m)
  await ada.close()
})

t.test('the server closes sessions at shutdown', async (t) => {
  const { server, haunt } = await scene(t)
  const ghost = await haunt(2)
  await server.close()
  t.same(ghost.closed, ['SHUTTING_DOWN'])
})

/**
 * `POST /clumsy/callback` opens a session whose `onEvent` throws. `POST /clumsy/link?throws=NAME` opens a session whose
 * link throws in this method or property.
 */
const clumsy = `import { defineFeature, z } from 'flylive-audio-server/feature'
const fail = () => { throw new Error('a mistake of the feature') }
const face = { name: 'clumsy', parse: () => undefined, event: (event) => event, reply: () => undefined }
export default defineFeature(async function clumsy (app) {
  const identity = () => ({ user: { id: 'clumsy', name: 'Clumsy', roles: [], profile: { userId: 'clumsy', id: 'clumsy', name: 'Clumsy' } } })
  const join = async (session) => { await app.messages.dispatch(session, 'room:join', { roomId: 'r1' }) }
  app.post('/clumsy/callback', async () => { await join(app.sockets.open({ identity: identity(), onEvent: fail })); return {} })
  app.post('/clumsy/link', { schema: { querystring: z.object({ throws: z.enum(['write', 'close', 'terminate', 'open', 'queuedBytes']) }) } }, async ({ query }) => {
    const link = { open: true, queuedBytes: 0, bytesOf: () => 0, write: () => true, close () {}, terminate () {} }
    await join(app.sockets.open({ identity: identity(), face, link }))
    Object.defineProperty(link, query.throws, typeof link[query.throws] === 'function' ? { value: fail } : { get: fail })
    return {}
  })
}, { name: 'clumsy' })
`

t.test("errors of one feature's sessions do not affect other sessions and features, or the drain", async (t) => {
  const lines: Record<string, unknown>[] = []
  const folder = featureFolder(t)
  folder.write('clumsy', { 'index.ts': clumsy })
  const server = await build(t, { env: { FEATURES: 'auth,chat,clumsy', FEATURES_PATH: folder.path, PRESENCE_COALESCE_OVER: '1' }, log: (line) => lines.push(line) })
  const open = async (path: string) => t.equal((await fetch(`${server.url}/clumsy/${path}`, { method: 'POST' })).status, 200, path)
  const failures = () => lines.filter(({ level, feature }) => Number(level) >= 50 && feature === 'clumsy').length
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  await open('callback')
  await open('link?throws=write')
  await open('link?throws=close')
  await open('link?throws=terminate')
  await open('link?throws=open')
  await open('link?throws=queuedBytes')
  // Bob's session comes after the faulty sessions in all loops over sessions.
  const bob = await server.connect(2)
  await bob.ok('room:join', { roomId: 'r1' })
  await ada.ok('chat:message', { content: 'hello' })
  t.match(await bob.event('chat:message'), { content: 'hello' })
  await ada.event('room:presence', ({ joined }) => (joined as { userId: unknown }[]).some(({ userId }) => userId === 2))
  await until(() => server.app.sockets.size === 5)
  t.equal((await server.admin('POST', '/admin/features/chat/disable')).status, 200)
  t.match(await bob.event('feature:disabled'), { name: 'chat' })
  t.equal((await server.admin('POST', '/admin/drain', { deadlineSeconds: 0 })).status, 200)
  await bob.event('server:draining')
  t.ok(failures() > 0, 'the errors are logged')
  const counted = Number(/flylive_feature_call_failures_total\{feature="clumsy",call="session",reason="error"\} (\d+)/.exec(await (await fetch(`${server.url}/metrics`)).text())?.[1] ?? 0)
  t.ok(counted >= 6, 'the errors count as failures of the feature')
  t.equal((await server.admin('POST', '/admin/features/clumsy/disable')).status, 200)
  await until(() => server.app.sockets.size === 2)
})

t.test('a request of a disabled feature can open no session', async (t) => {
  const { server, folder, call } = await scene(t)
  folder.write('ghosts', { 'index.ts': ghosts.replace('const ghost =', 'if (globalThis.flyliveWait) { globalThis.flyliveInside = true; await globalThis.flyliveWait.promise }\n    const ghost =') })
  t.equal((await server.admin('POST', '/admin/features/ghosts/reload')).status, 200)
  shared.flyliveWait = Promise.withResolvers()
  t.teardown(() => { shared.flyliveWait = undefined })
  const opening = call('POST', '/ghosts', { userId: 2 })
  await until(() => shared.flyliveInside === true)
  const disabling = server.admin('POST', '/admin/features/ghosts/disable')
  await until(() => !server.app.features.enabled().includes('ghosts'))
  shared.flyliveWait.resolve()
  t.match(await opening, { status: 409, body: { error: { code: 'FEATURE_DISABLED' } } })
  t.equal((await disabling).status, 200)
  t.equal(server.app.sockets.size, 0)
  t.equal((await server.admin('POST', '/admin/features/ghosts/enable')).status, 200)
  t.match(await call('POST', '/ghosts', { userId: 2 }), { status: 200 })
})
