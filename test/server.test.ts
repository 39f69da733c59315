import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Agent, fetch } from 'undici'
import t from 'tap'
import { listenError } from '../config/listen-error.ts'
import { adminKey, tokenFor } from './support/build.ts'
import { connect } from './support/client.ts'
import { featureFolder } from './support/features.ts'
import { startServer } from './support/process.ts'
import { freePort, startRedis } from './support/redis.ts'
import { until } from './support/retry.ts'

const alive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Only the features that these tests need, so that servers start faster. */
const FEATURES = 'auth,media'

async function workersOf (url: string, key = adminKey): Promise<number[]> {
  const { workers } = await (await fetch(`${url}/health`, { headers: { authorization: `Bearer ${key}` } })).json() as { workers: { pid: number }[] }
  return workers.map(({ pid }) => pid)
}

t.test('invalid configuration aborts the startup and lists every problem', async (t) => {
  const { exit, output } = startServer(t, { NODE_ENV: 'production', PORT: 'abc', JWT_SECRET: 'too-short-secret', WS_QUERY_TOKEN: 'perhaps' })
  t.match(await exit, { code: 1 })
  for (const problem of ['PORT: must be a number', 'JWT_SECRET: must have at least 32 characters', 'WS_QUERY_TOKEN: must be true or false', 'MEDIASOUP_ANNOUNCED_IP: is required in production']) {
    t.match(output(), problem)
  }
  t.notMatch(output(), 'too-short-secret')
})

t.test('if the server cannot use its port or address, the error names the variable', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => taken.close())
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const { exit, output } = startServer(t, { FEATURES: 'auth', PORT: String(port) })
  t.match(await exit, { code: 1 })
  t.match(output(), `Port ${port} on 127.0.0.1 is in use. Stop the program that uses it, or set PORT to a different port`)
  t.notMatch(output(), 'node:net', 'no stack trace')

  const elsewhere = createServer().listen(0, '192.0.2.77')
  const [error] = await once(elsewhere, 'error')
  const media = { MEDIASOUP_RTC_MIN_PORT: 10_000, MEDIASOUP_WORKERS: 2 }
  t.match(listenError(error, { HOST: '192.0.2.77', PORT: 0, ...media }), { message: 'HOST: 192.0.2.77 is not an address of this machine' })

  const inUse = Object.assign(new Error(), { code: 'EADDRINUSE' })
  t.match(listenError(inUse, { HOST: '0.0.0.0', PORT: 10_001, ...media }), { message: 'Port 10001 is used by a media worker. Set PORT or MEDIASOUP_RTC_MIN_PORT' })
  t.match(listenError(inUse, { HOST: '0.0.0.0', PORT: 10_002, ...media }), { message: 'Port 10002 on 0.0.0.0 is in use' })
})

t.test('a server whose log nobody reads any more can still exit', async (t) => {
  const folder = featureFolder(t)
  folder.write('quitter', {
    'index.ts': `import { defineFeature } from 'flylive-audio-server/feature'
export default defineFeature(async (app) => {
  process.once('SIGUSR2', () => {
    for (let i = 0; i < 3; i++) app.log.warn('last words')
    process.exit(3)
  })
}, { name: 'quitter', dependencies: [] })
`
  })
  const { child, url, exit } = startServer(t, { FEATURES: 'quitter', FEATURES_PATH: folder.path })
  await url
  child.stdout?.destroy()
  child.kill('SIGUSR2')
  t.match(await exit, { code: 3 })
})

t.test('after a signal, the server rejects new clients, notifies connected clients and disconnects them at the deadline', async (t) => {
  const server = startServer(t, { FEATURES, DRAIN_SECONDS: '5', MEDIASOUP_WORKERS: '1' })
  const url = await server.url
  const client = await connect(t, url, { token: tokenFor(1) })
  await client.ok('room:join', { roomId: 'r1' })
  const [worker] = await workersOf(url)

  server.child.kill('SIGTERM')
  const { deadline } = await client.event('server:draining')
  t.type(deadline, 'number')
  const refusal = await connect(t, url, { token: tokenFor(2) }).catch((error: unknown) => error)
  t.match(refusal, { status: 503, body: { error: { code: 'DRAINING' } }, headers: { 'retry-after': /\d/ } })
  t.equal((await fetch(`${url}/readyz`)).status, 503)
  t.equal((await fetch(`${url}/livez`)).status, 200)
  t.equal(await client.fails('room:join', { roomId: 'another' }), 'DRAINING', 'new rooms are rejected')

  t.same(await client.closed, { code: 1001, reason: 'SHUTTING_DOWN' })
  t.match(await server.exit, { code: 0 })
  await until(() => !alive(worker as number))
})

t.test('a signal that arrives twice, directly and through scripts/run.mjs, does not end the server immediately', async (t) => {
  const server = startServer(t, { FEATURES, DRAIN_SECONDS: '1' })
  const client = await connect(t, await server.url, { token: tokenFor(1) })
  server.child.kill('SIGTERM')
  await client.event('server:draining')
  server.child.kill('SIGTERM')
  t.same(await client.closed, { code: 1001, reason: 'SHUTTING_DOWN' })
  t.match(await server.exit, { code: 0 })
})

t.test('a signal during startup ends the process', async (t) => {
  const { child, exit, output } = startServer(t, { FEATURES })
  // mediasoup's workers start before the server listens.
  const begun = () => execFileSync('ps', ['-A', '-o', 'ppid=']).toString().split('\n').some((ppid) => Number(ppid) === child.pid)
  await until(begun)
  child.kill('SIGTERM')
  t.match(await exit, { code: 143 })
  t.notMatch(output(), 'Server listening')
})

t.test('with TLS, SIGHUP does not end a starting server', async (t) => {
  const redis = await startRedis(t)
  await redis.kill()
  const tls = join(import.meta.dirname, 'fixtures', 'tls')
  const server = startServer(t, { FEATURES: 'auth', REDIS_URL: redis.url, SSL_KEY_PATH: join(tls, 'key.pem'), SSL_CERT_PATH: join(tls, 'cert.pem') })
  await until(() => server.output().includes('redis connection failed'))
  server.child.kill('SIGHUP')
  await redis.start()
  t.match(await Promise.race([server.url, server.exit]), /^https:/)
})

t.test('generates missing secrets in development, and prints a working token and page URLs; a killed server does not block the next start', async (t) => {
  const env = { PORT: String(await freePort()), MEDIASOUP_WORKERS: '1' }
  const first = startServer(t, { ...env, NODE_ENV: 'development', FEATURES: '', JWT_SECRET: '', ADMIN_API_KEY: '' })
  const url = await first.url
  const [token, key] = await until(() => {
    const found = [/token for testing +(\S+)/, /ADMIN_API_KEY \(generated\) +(\S+)/].map((pattern) => pattern.exec(first.output())?.[1])
    return found.every((value) => value !== undefined) && found as [string, string]
  })
  t.equal((await fetch(`${url}/auth/session`, { headers: { authorization: `Bearer ${token}` } })).status, 200)
  t.equal((await fetch(`${url}/admin/rooms`, { headers: { authorization: `Bearer ${key}` } })).status, 200)
  for (const page of ['admin', 'docs', 'docs/messages']) {
    await until(() => first.output().includes(` ${url}/${page}\n`))
    t.equal((await fetch(`${url}/${page}`)).status, 200, page)
  }
  const workers = await workersOf(url, key)
  first.child.kill('SIGKILL')
  await first.exit

  await t.test('production logs JSON without secrets, over TLS', async (t) => {
    const tls = join(import.meta.dirname, 'fixtures', 'tls')
    const second = startServer(t, {
      ...env,
      NODE_ENV: 'production',
      HOST: '127.0.0.1',
      LOG_LEVEL: 'debug',
      DRAIN_SECONDS: '3600',
      MEDIASOUP_ANNOUNCED_IP: '127.0.0.1',
      SSL_KEY_PATH: join(tls, 'key.pem'),
      SSL_CERT_PATH: join(tls, 'cert.pem')
    })
    const secureUrl = await second.url
    t.match(secureUrl, /^https:/)
    const dispatcher = new Agent({ connect: { ca: readFileSync(join(tls, 'cert.pem')) } })
    t.teardown(() => dispatcher.close())
    t.equal((await fetch(`${secureUrl}/readyz`, { dispatcher })).status, 200, 'a killed server does not prevent the next start')
    await until(() => workers.every((pid) => !alive(pid)))
    const ours = tokenFor(1)
    t.equal((await fetch(`${secureUrl}/auth/session`, { dispatcher, headers: { authorization: `Bearer ${ours}` } })).status, 200)
    t.equal((await fetch(`${secureUrl}/admin/rooms`, { dispatcher, headers: { authorization: `Bearer ${adminKey}` } })).status, 200)
    t.equal((await fetch(`${secureUrl}/`, { dispatcher })).status, 404, 'the page exists in development only')
    second.child.kill('SIGINT')
    t.match(await second.exit, { code: 0 }, 'without clients, a server stops immediately')
    const lines = second.output().trim().split('\n')
    t.ok(lines.map((line) => JSON.parse(line) as { msg: string }).some(({ msg }) => /listening/.test(msg)), 'production logs JSON')
    for (const secret of [ours, adminKey]) t.notMatch(second.output(), secret)
  })
})
