import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { build, tokenFor } from '../../support/build.ts'
import { createSocketIo } from '../../support/socket-io-client.ts'
import { until } from '../../support/retry.ts'
import { reloadUnderClients } from './reloads.ts'
import { enter, refusal } from './support.ts'

t.test('reloads close no connection and lose no ack', async (t) => {
  t.ok(await reloadUnderClients(t, { clients: 12, reloads: 5 }) >= 12)
})

t.test('an event is encoded once for clients from before and after a reload', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  const before = await enter(t, server.url, 1)
  t.equal((await server.admin('POST', '/admin/features/socket-io/reload')).status, 200)
  const after = await enter(t, server.url, 2)
  t.equal(new Set([...server.app.sockets.all()].map(({ face }) => face)).size, 1)
  t.match([await before.ask('room:join', { roomId: 'r1' }), await after.ask('room:join', { roomId: 'r1' })], [{ success: true }, { success: true }])
})

t.test('after a reload, the new code handles new connections', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  const { sockets } = server.app
  const { forFeature } = sockets
  const calls: string[] = []
  sockets.forFeature = (name) => {
    const own = forFeature(name)
    return {
      ...own,
      identify: async (...args) => {
        calls.push('identify')
        return await own.identify(...args)
      },
      open: (options) => {
        calls.push('open')
        return own.open(options)
      }
    }
  }
  t.equal((await server.admin('POST', '/admin/features/socket-io/reload')).status, 200)
  await enter(t, server.url, 1)
  t.same(calls, ['identify', 'open'])
})

t.test('a client that is logging in during a reload stays connected', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  const { directory } = server.app
  const [reached, reloaded] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const { sessionsOf } = directory
  directory.sessionsOf = async (userKey) => {
    reached.resolve()
    await reloaded.promise
    return await sessionsOf(userKey)
  }
  const entering = enter(t, server.url, 1)
  await reached.promise
  t.match(await server.admin('POST', '/admin/features/socket-io/reload'), { status: 200, body: { generation: 2 } })
  reloaded.resolve()
  const client = await entering
  t.match(await client.ask('room:join', { roomId: 'r1' }), { success: true })
  t.same(client.disconnects, [])
})

t.test('disabling the feature closes its path and disconnects only its clients, which reconnect when it is enabled again', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  const native = await server.connect(1, { face: 'native' })
  const clients = await Promise.all((['websocket', 'polling'] as const).map((transport, i) => enter(t, server.url, 2 + i, { transports: [transport] })))
  for (const { socket } of clients) socket.io.reconnection(true).reconnectionDelay(50).reconnectionDelayMax(50)
  t.equal((await server.admin('POST', '/admin/features/socket-io/disable')).status, 200)
  await until(() => clients.every(({ disconnects }) => disconnects.length === 1))
  t.equal((await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`)).status, 404)
  t.match(await refusal(t, server.url, { token: tokenFor(9) }), { message: 'websocket error' })
  t.equal(server.app.sockets.size, 1)
  await native.flush()
  t.equal((await server.admin('POST', '/admin/features/socket-io/enable')).status, 200)
  await until(() => clients.every(({ socket }) => socket.connected))
  for (const { disconnects } of clients) t.same(disconnects, ['transport close'])
})

t.test('a server that stops does not wait for its clients', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  const clients = await Promise.all((['websocket', 'polling'] as const).map((transport, i) => enter(t, server.url, 2 + i, { transports: [transport] })))
  // A connection without a session.
  const idle = createSocketIo(server.url, { transports: ['polling'] })
  t.teardown(() => { idle.disconnect() })
  await server.close()
  await until(() => clients.every(({ disconnects }) => disconnects.length === 1))
  t.ok(clients.every(({ disconnects }) => disconnects[0] !== 'io server disconnect'))
})

t.test('the libraries are imported only while the feature is on', async (t) => {
  const program = `
    import { buildApp } from './app.ts'
    import { loadConfig } from './config/load.ts'
    import { registerHooks } from 'node:module'
    const loaded = new Set()
    registerHooks({ load (url, context, next) { const name = /node_modules\\/((?:socket|engine)\\.io[^/]*)\\//.exec(url)?.[1]; if (name) loaded.add(name); return next(url, context) } })
    const app = await buildApp({ config: loadConfig({ ...process.env, NODE_ENV: 'test' }), warmWorkers: false })
    await app.ready()
    const before = [...loaded]
    await app.features.enable('socket-io')
    console.log(JSON.stringify([before, [...loaded].sort()]))
    await app.close()
    process.exit()
  `
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
    cwd: join(import.meta.dirname, '..', '..', '..'),
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE, JWT_SECRET: 'x'.repeat(32), DATA_DIR: t.testdir({}), FEATURES: '-socket-io' }
  })
  const [before, libraries] = JSON.parse(stdout) as [string[], string[]]
  t.same(before, [])
  t.ok(libraries.includes('socket.io') && libraries.includes('engine.io'), libraries.join())
})
