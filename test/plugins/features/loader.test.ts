import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import autoload from '@fastify/autoload'
import t from 'tap'
import { buildApp } from '../../../app.ts'
import { loadConfig } from '../../../config/load.ts'
import { kernelPlugins } from '../../../plugins/features/names.ts'
import { adminKey, build, jwtSecret, tokenFor } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { stopwatch } from '../../support/pace.ts'

const fixtures = join(import.meta.dirname, '..', '..', 'fixtures', 'features')

t.test('a failing feature is reported and does not block the server', async (t) => {
  const server = await build(t, { env: { FEATURES: '', FEATURES_PATH: fixtures } })
  const info = Object.fromEntries(server.app.features.list().map((feature) => [feature.name, feature]))
  t.match(info.throws, { state: 'failed', error: /it cannot start[\s\S]+throws[\\/]index\.ts/ })
  t.match(info.broken, { state: 'failed', error: /broken[\\/]index\.ts|Unexpected|Expected/ })
  t.match(info['needs-missing'], { state: 'failed', error: /nowhere/ })
  t.match(info['needs-throws'], { state: 'failed', error: /throws/ })
  t.match(info['takes-join'], { state: 'failed', error: /room:join belongs to kernel/ })
  t.match(info.circle, { state: 'failed', error: /depends on itself/ })
  t.match(info.auth, { state: 'enabled' })
  t.match(info.greets, { state: 'enabled', generation: 1 })

  const client = await server.connect(1)
  await client.ok('room:join', { roomId: 'r1' })
  t.match(client.greeting, { features: ['auth', 'auto-close', 'broadcast', 'chat', 'docs', 'echo', 'gifts', 'greets', 'lobby', 'media', 'mix', 'moderation', 'push-to-talk', 'reactions', 'recording', 'seats', 'socket-io', 'whip', 'uses-greets'] })
  t.same(await client.ok('greet', {}), { text: 'hello from generation 1' }, 'a feature can use its dependency')
  t.match((await server.admin('GET', '/health')).body, { features: [{ name: 'auth', state: 'enabled' }] })
})

t.test('a feature with a kernel route below /admin fails to load, both at startup and on a reload', async (t) => {
  const folder = featureFolder(t)
  folder.write('rooms-page', { 'index.ts': saying('rooms-page', 'x', { before: "app.get('/admin/rooms/:id', async () => 'mine')" }) })
  folder.write('above', { 'index.ts': saying('above', 'x', { dependencies: ['rooms-page'] }) })
  const server = await build(t, { env: { FEATURES: 'auth,chat,rooms-page,above', FEATURES_PATH: folder.path } })
  const stateOf = (name: string) => server.app.features.list().find((feature) => feature.name === name)
  const error = /The route GET \/admin\/rooms\/:id belongs to the server itself/
  t.match(stateOf('rooms-page'), { state: 'failed', error })
  t.match(stateOf('above'), { state: 'failed', error: /requires rooms-page/ })
  t.same(server.app.features.enabled(), ['auth', 'chat'])
  t.match(await server.admin('POST', '/admin/features/rooms-page/reload'), { status: 422, body: { error: { message: error } } })

  folder.write('rooms-page', { 'index.ts': saying('rooms-page', 'x', { before: "app.get('/admin/rooms/:id/page', async () => 'mine')" }) })
  t.equal((await server.admin('POST', '/admin/features/rooms-page/reload')).status, 200)
  t.same(server.app.features.enabled(), ['auth', 'chat', 'rooms-page', 'above'])
})

t.test('FEATURES selects features; messages of other features receive FEATURE_DISABLED', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', FEATURES_PATH: fixtures } })
  const client = await server.connect(1)
  t.same(client.greeting.features, ['auth'])
  const joined = await client.ok('room:join', { roomId: 'r1' })
  t.notOk('rtpCapabilities' in joined)
  t.equal(await client.fails('transport:create', { type: 'producer' }), 'FEATURE_DISABLED')
  t.equal(await client.fails('greet', {}), 'FEATURE_DISABLED')
  t.equal(await client.fails('no:such', {}), 'UNKNOWN_TYPE')
})

t.test('@fastify/autoload loads the features as plain plugins', async (t) => {
  const folder = join(import.meta.dirname, '..', '..', '..', 'features')
  const config = loadConfig({
    NODE_ENV: 'test',
    JWT_SECRET: jwtSecret,
    ADMIN_API_KEY: adminKey,
    DATA_DIR: t.testdir({}),
    LARAVEL_API_URL: 'http://127.0.0.1:9',
    LARAVEL_INTERNAL_KEY: adminKey,
    WEBHOOK_URLS: 'http://127.0.0.1:9',
    WEBHOOK_SECRET: adminKey,
    FEATURES: readdirSync(folder).map((name) => `-${name}`).join(',')
  })
  const app = await buildApp({ config, warmWorkers: false })
  t.teardown(() => app.close())
  await app.register(autoload, { dir: folder, encapsulate: false, maxDepth: 1, ignoreFilter: /stage/ })
  await app.ready()
  const response = await app.inject({ url: '/auth/session', headers: { authorization: `Bearer ${tokenFor(7)}` } })
  t.match(response.json(), { user: { id: 7 } })
  const types = app.messages.contract().flatMap(({ routes }) => routes.map(({ type }) => type))
  for (const type of ['audio:produce', 'seat:take', 'chat:message', 'gift:send', 'room:react']) t.ok(types.includes(type), type)
})

t.test('admin routes of features require the key for any spelling of the URL', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  for (const path of ['/admin/tokens/revoke', '/%61dmin/tokens/revoke', '/admin/rooms', '/%61dmin/rooms']) {
    const response = await fetch(server.url + path, { method: path.endsWith('revoke') ? 'POST' : 'GET', headers: { 'content-type': 'application/json' }, ...(path.endsWith('revoke') ? { body: '{"token":"x"}' } : {}) })
    t.equal(response.status, 401, path)
    t.match(await response.json(), { error: { code: 'UNAUTHORIZED' } })
  }
  t.match(await server.admin('POST', '/admin/tokens/revoke', { nothing: true }), { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } })
})

t.test('without an admin key /admin does not exist', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', ADMIN_API_KEY: '' } })
  for (const [method, path] of [['GET', '/admin/rooms'], ['POST', '/admin/tokens/revoke']] as const) {
    t.match(await server.admin(method, path, method === 'POST' ? { token: 'x' } : undefined), { status: 404, body: { error: { code: 'NOT_FOUND' } } })
  }
})

t.test('an unfinished request does not delay the shutdown', async (t) => {
  for (const hangsUp of [true, false]) {
    const server = await build(t, { env: { FEATURES: 'auth' } })
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    socket.on('error', () => { /* The server closes the connection. */ })
    await once(socket, 'connect')
    socket.write(`POST /admin/tokens/revoke HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${adminKey}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{`)
    await server.admin('GET', '/admin/rooms')
    if (hangsUp) socket.destroy()
    const passed = stopwatch()
    await server.close()
    t.ok(passed() < 5000, hangsUp ? 'a request that the client aborted' : 'a request that is still open')
  }
})

t.test('a feature with the name of a kernel plugin does not replace the plugin in dependencies', async (t) => {
  const plugins = join(import.meta.dirname, '..', '..', '..', 'plugins')
  const files = readdirSync(plugins, { withFileTypes: true }).map((item) => join(plugins, item.name, item.isDirectory() ? 'index.ts' : '')).filter((file) => existsSync(file))
  const names = await Promise.all(files.map(async (file) => {
    const { default: plugin } = await import(file) as { default: Record<symbol, { name: string }> }
    return plugin[Symbol.for('plugin-meta')]?.name
  }))
  t.strictSame([...kernelPlugins].sort(), names.sort())

  const folder = featureFolder(t)
  folder.write('kv', { 'index.ts': "throw new Error('broken')" })
  folder.write('jobs', { 'index.ts': saying('jobs', 'x') })
  folder.write('needs', { 'index.ts': saying('needs', 'x', { dependencies: ['kv', 'jobs'] }) })
  const server = await build(t, { env: { FEATURES: 'auth,jobs,kv,needs', FEATURES_PATH: folder.path } })
  t.strictSame(server.app.features.enabled().toSorted(), ['auth', 'jobs', 'needs'])
  t.match(server.app.features.list().find(({ name }) => name === 'needs'), { dependencies: ['kv', 'jobs'] })
  t.equal((await server.admin('POST', '/admin/features/jobs/disable')).status, 200)
})
