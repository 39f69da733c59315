import { once } from 'node:events'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { adminKey, build } from '../support/build.ts'
import { until } from '../support/retry.ts'

t.test('without a key, returns only what a load balancer needs', async (t) => {
  const folder = t.testdir({ broken: { 'index.js': "import { readFileSync } from 'node:fs'\nreadFileSync('/etc/secret-place/password.txt')\nexport default async () => {}\n" } })
  const lines: unknown[] = []
  const server = await build(t, { env: { FEATURES: 'auth,broken', FEATURES_PATH: folder }, log: ({ security, ip, msg }) => { if (security === true) lines.push({ ip, msg }) } })
  server.app.hooks.on('health:checks', () => ({ secret: () => { throw new Error('cannot reach 10.9.8.7') } }))
  const read = async (path: string, key?: string) => {
    const response = await fetch(server.url + path, { headers: key === undefined ? {} : { authorization: `Bearer ${key}` } })
    t.equal(response.status, 503)
    return { text: await response.clone().text(), body: await response.json() as Record<string, unknown>, caching: response.headers.get('cache-control') }
  }
  for (const key of [undefined, 'wrong']) t.strictSame((await read('/health', key)).body, { status: 'not ready', version: '0.1.0' })
  t.same(lines, [{ ip: '127.0.0.1', msg: 'wrong admin key' }], 'a wrong key is logged, as it is under /admin')
  const ready = await read('/readyz')
  t.strictSame(ready.body, { status: 'not ready', checks: { secret: { ok: false }, store: { ok: true }, data: { ok: true }, pubsub: { ok: true }, workers: { ok: true }, accepting: { ok: true } } })

  const detailed = await read('/health', adminKey)
  t.equal(detailed.caching, 'no-store')
  t.match(detailed.body, { status: 'not ready', node: String, checks: { secret: { ok: false, error: 'cannot reach 10.9.8.7' } }, workers: Array, uptime: Number })
  t.match(detailed.text, '/etc/secret-place', 'an admin reads the error of a feature')
})

t.test('without an admin key, nobody can read the details', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', ADMIN_API_KEY: '' } })
  t.strictSame(await (await fetch(`${server.url}/health`, { headers: { authorization: `Bearer ${adminKey}` } })).json(), { status: 'ok', version: '0.1.0' })
})

t.test('the metric flylive_ready is up to date even if nothing requests /readyz', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const readyMetric = async () => /^flylive_ready (\d)$/m.exec(await (await fetch(`${server.url}/metrics`)).text())?.[1]
  t.equal(await readyMetric(), '1', 'although nobody has called /readyz')
  server.app.hooks.on('health:checks', () => ({ broken: () => { throw new Error('down') } }))
  await until(async () => await readyMetric() === '0')
})

t.test('browsers and proxies must not store admin responses', async (t) => {
  const server = await build(t)
  const caching = async (path: string, key: string) => (await fetch(server.url + path, { headers: { authorization: `Bearer ${key}` } })).headers.get('cache-control')
  for (const path of ['/admin/rooms', '/admin/users/1', '/admin/features', '/admin/metrics', '/admin/gifts', '/admin/rooms/nowhere']) t.equal(await caching(path, adminKey), 'no-store', path)
  t.equal(await caching('/admin/rooms', 'wrong'), 'no-store', 'a response to a wrong key is not stored, either')
})

t.test('the content security policy forbids base URLs, plugins and framing', async (t) => {
  const server = await build(t)
  for (const path of ['/livez', '/admin/rooms', '/nowhere', '/auth/session']) {
    const policy = (await fetch(server.url + path)).headers.get('content-security-policy') ?? ''
    for (const directive of ["base-uri 'none'", "object-src 'none'", "frame-ancestors 'none'"]) t.match(policy, directive, path)
  }
})

t.test('TRACE is not supported', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const { hostname, port } = new URL(server.url)
  // fetch() refuses to send TRACE.
  for (const path of ['/livez', '/ws', '/admin/rooms']) {
    const call = request({ hostname, port, path, method: 'TRACE', headers: { 'x-secret': 'echo-me' } }).end()
    const [response] = await once(call, 'response') as [IncomingMessage]
    const text = (await response.toArray()).map(String).join('')
    t.ok(Number(response.statusCode) >= 400, `${path}: ${response.statusCode}`)
    t.notMatch(text, 'echo-me')
  }
})
