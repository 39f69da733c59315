import t from 'tap'
import { wrongKeys } from '../../../plugins/redis/lockout.ts'
import { adminKey, build, onEveryStore } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'

interface Call {
  path?: string
  key?: string | undefined
  /** The address that the proxy adds to X-Forwarded-For. */
  from?: string
}

async function ask (server: TestServer, { path = '/admin/rooms', key, from }: Call) {
  const headers = { ...(key === undefined ? {} : { authorization: `Bearer ${key}` }), ...(from === undefined ? {} : { 'x-forwarded-for': from }) }
  const response = await fetch(server.url + path, { headers })
  const text = await response.text()
  return { status: response.status, retryAfter: response.headers.get('retry-after'), body: text.startsWith('{') ? JSON.parse(text) as { error?: { code: string, details?: { retryAfterMs: number } } } : undefined }
}

onEveryStore(t, 'locks out an address after too many wrong keys, but never rejects the right key', async (t, env) => {
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { TRUST_PROXY: '1', ...env }, log: (line) => { if (line.security === true) lines.push(line) } })
  const from = '203.0.113.7'
  for (let i = 0; i < wrongKeys.tries - 1; i++) t.match(await ask(server, { key: `wrong-${i}`, from }), { status: 401, body: { error: { code: 'UNAUTHORIZED' } } })
  for (let i = 0; i < 30; i++) t.equal((await ask(server, { from })).status, 401, 'a missing key does not count')
  t.equal((await ask(server, { key: 'the last one', from })).status, 401)
  for (const key of ['wrong', undefined]) t.match(await ask(server, { key, from }), { status: 429, body: { error: { code: 'RATE_LIMITED', details: { retryAfterMs: Number } } } })
  t.equal((await ask(server, { key: adminKey, from })).status, 200, 'the right key passes')
  const { retryAfter, body } = await ask(server, { key: 'wrong', from })
  const retryAfterMs = Number(body?.error?.details?.retryAfterMs)
  t.ok(retryAfterMs <= wrongKeys.seconds * 1000)
  t.equal(Number(retryAfter), Math.ceil(retryAfterMs / 1000))
  t.equal((await ask(server, { path: '/readyz', from })).status, 200, 'the address is locked out only from /admin')
  t.equal((await ask(server, { key: 'wrong', from: '203.0.113.8' })).status, 401, 'other addresses are not locked out')

  t.same(lines.filter(({ ip }) => ip === from).map(({ msg }) => msg), [
    ...Array.from({ length: wrongKeys.tries }, () => 'wrong admin key'), 'address locked out after 30 attempts with a wrong admin key'
  ])
  t.match(lines.at(-1), { ip: '203.0.113.8', msg: 'wrong admin key', level: 40 })
})

t.test('counts wrong keys across all servers', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  for (let i = 0; i < wrongKeys.tries; i++) t.equal((await ask(servers[i % 2 as 0 | 1], { key: `wrong-${i}` })).status, 401)
  for (const server of servers) {
    t.equal((await ask(server, { key: 'wrong' })).status, 429)
    t.equal((await ask(server, { key: adminKey })).status, 200)
  }
})

t.test('counts concurrent wrong keys', async (t) => {
  const server = await build(t)
  const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(server, { key: `wrong-${i}` })))
  t.ok(answers.every(({ status }) => status === 401 || status === 429))
  t.equal((await ask(server, { key: 'wrong' })).status, 429)
})

t.test('a client cannot choose which address is counted', async (t) => {
  const byHops = await build(t, { env: { TRUST_PROXY: 'true' } })
  const byNetwork = await build(t, { env: { TRUST_PROXY: '127.0.0.0/8, 198.51.100.0/24' } })
  const statuses = async (server: TestServer, addresses: (i: number) => string) => {
    const all: number[] = []
    for (let i = 0; i <= wrongKeys.tries; i++) all.push((await ask(server, { key: 'wrong', from: addresses(i) })).status)
    return all.slice(-2)
  }
  t.same(await statuses(byHops, (i) => `10.0.${i}.1, 203.0.113.5`), [401, 429], 'the address that the proxy added counts')
  t.equal((await ask(byHops, { key: 'wrong', from: '10.0.0.1, 203.0.113.6' })).status, 401)
  t.same(await statuses(byNetwork, (i) => `10.0.${i}.1, 203.0.113.5, 198.51.100.1`), [401, 429], 'the last address that is not a proxy counts')
  t.equal((await ask(byNetwork, { key: 'wrong', from: '203.0.113.5, 203.0.113.6' })).status, 401)
  const direct = await build(t, { env: { TRUST_PROXY: '198.51.100.0/24' } })
  t.same(await statuses(direct, (i) => `10.0.${i}.1`), [401, 429], 'the header of a client that is not a proxy is ignored')
})

t.test('counts an IPv6 network as one address', async (t) => {
  const server = await build(t, { env: { TRUST_PROXY: '1' } })
  for (let i = 0; i < wrongKeys.tries; i++) t.equal((await ask(server, { key: 'wrong', from: `2001:db8:1:2::${i.toString(16)}` })).status, 401)
  t.equal((await ask(server, { key: 'wrong', from: '2001:db8:1:2:ffff::' })).status, 429)
  t.equal((await ask(server, { key: 'wrong', from: '2001:db8:1:3::1' })).status, 401)
})

t.test('limits attempts with a wrong metrics token, but never rejects the right one', async (t) => {
  const lines: unknown[] = []
  const METRICS_TOKEN = 'a-metrics-token'
  const server = await build(t, { env: { METRICS_TOKEN }, log: ({ security, ip, msg }) => { if (security === true) lines.push({ ip, msg }) } })
  const path = '/metrics'
  for (let i = 0; i < wrongKeys.tries; i++) t.equal((await ask(server, { path, key: `wrong-${i}` })).status, 401)
  t.match(await ask(server, { path, key: 'wrong' }), { status: 429, body: { error: { code: 'RATE_LIMITED' } } })
  t.equal((await ask(server, { path, key: METRICS_TOKEN })).status, 200)
  t.equal((await ask(server, { key: 'wrong' })).status, 401, 'admin keys are counted separately')
  t.match(lines.slice(-3), [{ ip: '127.0.0.1', msg: 'wrong metrics token' }, { msg: 'address locked out after 30 attempts with a wrong metrics token' }, { msg: 'wrong admin key' }])
})

t.test('accepts any of several keys', async (t) => {
  const other = 'another-admin-key-for-tests-that-is-long-enough'
  const server = await build(t, { env: { ADMIN_API_KEY: `${adminKey},${other}` } })
  for (const key of [adminKey, other]) t.equal((await ask(server, { key })).status, 200)
  t.equal((await ask(server, { key: `${adminKey},${other}` })).status, 401)
})
