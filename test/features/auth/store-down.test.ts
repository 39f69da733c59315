import t from 'tap'
import { build, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { attempt, outcome } from '../../support/refusal.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const readiness = async (server: TestServer) => (await fetch(`${server.url}/readyz`)).status

async function storeErrors (server: TestServer): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  return Number(/^flylive_auth_attempts_total\{result="store_error"\} (\d+)$/m.exec(text)?.[1] ?? 0)
}

t.test('rejects connections while revocations cannot be checked', async (t) => {
  const redis = await startRedis(t)
  const server = await build(t, { env: { REDIS_URL: redis.url } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  t.equal(await storeErrors(server), 0)

  await redis.kill()
  const { status, code, headers } = await attempt(t, server.url, { token: tokenFor(3) })
  t.same([status, code], [503, 'UNAVAILABLE'])
  t.match(headers, { 'retry-after': /^\d+$/ })
  t.equal(await storeErrors(server), 1, 'counted')
  t.equal(await outcome(t, server.url, { token: 'nonsense' }), '401 UNAUTHORIZED', 'a bad token is rejected without the store')
  const session = await fetch(`${server.url}/auth/session`, { headers: { authorization: `Bearer ${tokenFor(3)}` } })
  t.match(await session.json(), { error: { code: 'UNAVAILABLE', details: { retryable: true } } })
  t.equal(session.status, 503)
  const revoking = await server.admin('POST', '/admin/tokens/revoke', { token: tokenFor(3) })
  t.match(revoking, { status: 503, body: { error: { code: 'UNAVAILABLE' } } }, 'the revocation fails')
  await until(async () => await readiness(server) === 503)
  t.match(await (await fetch(`${server.url}/readyz`)).json(), { checks: { store: { ok: false } } })
  t.equal((await fetch(`${server.url}/livez`)).status, 200)
  await ada.ok('transport:create', { type: 'producer' })

  await redis.start()
  await until(async () => await outcome(t, server.url, { token: tokenFor(3) }) === '101')
  await until(async () => await readiness(server) === 200)
  await ada.flush()
  await bob.ok('room:leave')
})

t.test('treats a hanging Redis as down', async (t) => {
  const redis = await startRedis(t)
  const server = await build(t, { env: { REDIS_URL: redis.url } })
  const ada = await server.connect(1)

  redis.process.kill('SIGSTOP')
  t.equal(await outcome(t, server.url, { token: tokenFor(3) }), '503 UNAVAILABLE', 'rejected immediately')
  await until(async () => await readiness(server) === 503)
  t.ok(await storeErrors(server) >= 1)

  redis.process.kill('SIGCONT')
  await until(async () => await outcome(t, server.url, { token: tokenFor(3) }) === '101')
  await until(async () => await readiness(server) === 200)
  await ada.ok('room:join', { roomId: 'r1' })
})
