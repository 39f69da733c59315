import t from 'tap'
import { wrongKeys } from '../../../plugins/admin/lockout.ts'
import { adminKey, build, onEveryStore } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'

const ask = async (server: TestServer, key: string | undefined) => {
  const response = await fetch(`${server.url}/admin/rooms`, { headers: key === undefined ? {} : { authorization: `Bearer ${key}` } })
  return { status: response.status, retryAfter: response.headers.get('retry-after'), body: await response.json() as { error?: { code: string, details?: { retryAfterMs: number } } } }
}

onEveryStore(t, 'locks out an address after too many wrong keys, also for the right key', async (t, env) => {
  const server = await build(t, { env })
  for (let i = 0; i < wrongKeys.tries - 1; i++) t.match(await ask(server, `wrong-${i}`), { status: 401, body: { error: { code: 'UNAUTHORIZED' } } })
  t.equal((await ask(server, adminKey)).status, 200, 'a few wrong keys are allowed')
  for (let i = 0; i < 30; i++) t.equal((await ask(server, undefined)).status, 401, 'a missing key does not count')
  t.equal((await ask(server, 'the last one')).status, 401)
  for (const key of [adminKey, 'wrong', undefined]) t.match(await ask(server, key), { status: 429, body: { error: { code: 'RATE_LIMITED', details: { retryAfterMs: Number } } } })
  const { retryAfter, body } = await ask(server, adminKey)
  const retryAfterMs = Number(body.error?.details?.retryAfterMs)
  t.ok(retryAfterMs <= wrongKeys.seconds * 1000)
  t.equal(Number(retryAfter), Math.ceil(retryAfterMs / 1000))
  t.equal((await fetch(`${server.url}/readyz`)).status, 200, 'only from /admin')
})

t.test('counts wrong keys across all servers', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  for (let i = 0; i < wrongKeys.tries; i++) t.equal((await ask(servers[i % 2 as 0 | 1], `wrong-${i}`)).status, 401)
  for (const server of servers) t.equal((await ask(server, adminKey)).status, 429)
})

t.test('counts concurrent wrong keys', async (t) => {
  const server = await build(t)
  const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(server, `wrong-${i}`)))
  t.ok(answers.every(({ status }) => status === 401 || status === 429))
  t.equal((await ask(server, adminKey)).status, 429)
})

t.test('accepts each of several keys', async (t) => {
  const other = 'another-admin-key-for-tests-that-is-long-enough'
  const server = await build(t, { env: { ADMIN_API_KEY: `${adminKey},${other}` } })
  for (const key of [adminKey, other]) t.equal((await ask(server, key)).status, 200)
  t.equal((await ask(server, `${adminKey},${other}`)).status, 401)
})
