import { createHash } from 'node:crypto'
import { createSigner } from 'fast-jwt'
import t from 'tap'
import { adminKey, build, jwtSecret, onBothStores, onEveryStore, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { outcome } from '../../support/refusal.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { stopwatch } from '../../support/pace.ts'

const sha256 = (token: string) => createHash('sha256').update(token).digest('hex')
const inAnHour = () => Date.now() + 3_600_000
const refused = '401 UNAUTHORIZED'

onBothStores(t, 'an admin revokes a token', async (t, env) => {
  const server = await build(t, { env })
  const [byToken, byHash, other] = [tokenFor(1), tokenFor(2), tokenFor(1, { name: 'Ada, on her phone' })]
  const sessions = [await connect(t, server.url, { token: byToken }), await connect(t, server.url, { token: byHash })]
  const unaffected = await connect(t, server.url, { token: other })

  const passed = stopwatch()
  t.same(await server.admin('POST', '/admin/tokens/revoke', { token: byToken }), { status: 204, body: null })
  t.same(await server.admin('POST', '/admin/tokens/revoke', { sha256: sha256(byHash), expiresAt: inAnHour() }), { status: 204, body: null })
  for (const session of sessions) t.same(await session.closed, { code: 4401, reason: 'UNAUTHORIZED' }, 'open sessions close')
  t.ok(passed() < 5000, 'the sessions close within 5 s')

  for (const token of [byToken, byHash]) t.equal(await outcome(t, server.url, { token }), refused)
  await unaffected.flush()
  t.equal(await outcome(t, server.url, { token: other }), '101', 'another token of the same user stays valid')
})

onEveryStore(t, 'validates revocations', async (t, env) => {
  const server = await build(t, { env })
  const revoke = async (body: unknown) => {
    const { status, body: answer } = await server.admin('POST', '/admin/tokens/revoke', body)
    return `${status} ${String((answer?.error as { code: string } | undefined)?.code ?? '')}`.trim()
  }
  const endless = createSigner({ key: jwtSecret, algorithm: 'HS256' })({ id: 5, name: 'Eve', exp: 1e300 })
  t.equal(await outcome(t, server.url, { token: endless }), '101')
  t.equal(await revoke({ token: endless }), '204', 'a token that never expires')
  t.equal(await outcome(t, server.url, { token: endless }), refused)

  t.equal(await revoke({ token: 'nonsense' }), '204', 'an invalid token')
  t.equal(await revoke({ sha256: sha256('x'), expiresAt: 1 }), '204', 'an expired token')
  t.equal(await revoke({ sha256: sha256('x'), expiresAt: Number.MAX_SAFE_INTEGER }), '204')
  const inSeconds = tokenFor(6)
  t.equal(await revoke({ sha256: sha256(inSeconds), expiresAt: Math.ceil(inAnHour() / 1000) }), '204', 'expiry in seconds')
  t.equal(await outcome(t, server.url, { token: inSeconds }), refused)
  const inCapitals = tokenFor(7)
  t.equal(await revoke({ sha256: sha256(inCapitals).toUpperCase(), expiresAt: inAnHour() }), '204', 'a hash in capital letters')
  t.equal(await outcome(t, server.url, { token: inCapitals }), refused)
  t.equal(await revoke({ sha256: 'ABC', expiresAt: inAnHour() }), '400 VALIDATION_FAILED')
  t.equal(await revoke({ sha256: sha256('x') }), '400 VALIDATION_FAILED')
  t.equal(await revoke({ sha256: sha256('x'), expiresAt: -1 }), '400 VALIDATION_FAILED')
  t.equal(await revoke({}), '400 VALIDATION_FAILED')
  t.equal(await revoke({ token: 'x'.repeat(20_000) }), '400 VALIDATION_FAILED')
  t.equal(await revoke(undefined), '400 VALIDATION_FAILED')

  const call = (authorization: string) => fetch(`${server.url}/admin/tokens/revoke`, { method: 'POST', headers: { authorization, 'content-type': 'application/json' }, body: '{"token":"x"}' })
  t.equal((await call(`bearer ${adminKey}`)).status, 204, 'the name of the scheme ignores case')
  t.equal((await call('')).status, 401, 'only admins can revoke tokens')
  t.equal((await call(`Bearer ${adminKey}x`)).status, 401)
  t.equal((await call(`Bearer ${tokenFor(1, { roles: ['admin'] })}`)).status, 401)
})

t.test('the backend revokes a token with a Redis key', async (t) => {
  const server = await build(t, { env: { REDIS_URL: await redisDatabase() } })
  const [before, during, other] = [tokenFor(1), tokenFor(2), tokenFor(3)]
  const mark = (token: string) => server.app.redis.set(`auth:revoked:${sha256(token)}`, '1', 'EX', 3600)

  await mark(before)
  t.equal(await outcome(t, server.url, { token: before }), refused)

  const sessions = [await connect(t, server.url, { token: during }), await connect(t, server.url, { token: during })]
  const unaffected = await connect(t, server.url, { token: other })
  const passed = stopwatch()
  await mark(during)
  for (const session of sessions) t.same(await session.closed, { code: 4401, reason: 'UNAUTHORIZED' })
  t.ok(passed() < 5000, 'the sessions close within 5 s')
  t.equal(await outcome(t, server.url, { token: during }), refused)
  await unaffected.flush()

  await server.app.redis.del(`auth:revoked:${sha256(before)}`)
  t.equal(await outcome(t, server.url, { token: before }), '101', 'deleting the key removes the revocation')
})

t.test('a revocation applies on every server', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const token = tokenFor(1)
  const session = await connect(t, b.url, { token })
  await a.admin('POST', '/admin/tokens/revoke', { token })
  t.match(await session.closed, { code: 4401 })
  t.equal(await outcome(t, b.url, { token }), refused)
})

t.test('a revocation survives a restart', async (t) => {
  const env = { DATA_DIR: t.testdir() }
  const token = tokenFor(1)
  const first = await build(t, { env })
  await first.admin('POST', '/admin/tokens/revoke', { token })
  await first.close()
  const second = await build(t, { env })
  t.equal(await outcome(t, second.url, { token }), refused)
  t.equal(await outcome(t, second.url, { token: tokenFor(2) }), '101')
})

onEveryStore(t, 'a revocation expires with its token', async (t, env) => {
  const server = await build(t, { env })
  const revoked = server.app.kv.plainKeys('auth:revoked:')
  const [expires, stays] = [sha256('x'), sha256('y')]
  await server.admin('POST', '/admin/tokens/revoke', { sha256: expires, expiresAt: Date.now() + 300 })
  await server.admin('POST', '/admin/tokens/revoke', { sha256: stays, expiresAt: Date.now() + 60_000 })
  await until(async () => await revoked.get(expires) === undefined)
  t.same(await revoked.get(stays), '1')
})

onEveryStore(t, 'revokes tokens that are not valid for native clients, or not valid yet', async (t, env) => {
  const server = await build(t, { env: { ...env, JWT_MAX_AGE_SECONDS: '60' } })
  // The tokens are built by hand, because libraries refuse to create some of them. The signature does not matter.
  const encode = (text: string) => Buffer.from(text).toString('base64url')
  const tokenOf = (claims: object) => `${encode('{"alg":"HS256"}')}.${encode(JSON.stringify(claims))}.x`
  const now = Math.floor(Date.now() / 1000)
  const revoked = {
    'no name': tokenOf({ userId: 1, exp: now + 3600 }),
    'not valid yet': tokenOf({ id: 1, name: 'Ada', nbf: now + 1000, iat: now + 1000, exp: now + 3600 }),
    'no exp: push-to-talk may accept the token for a day': tokenOf({ userId: 1, iat: now - 3600 }),
    'neither exp nor iat': tokenOf({ userId: 1 }),
    'a huge iat': tokenOf({ userId: 1, iat: 1e300 }),
    'an exp that is not a number': tokenOf({ userId: 1, exp: 'tomorrow' })
  }
  const expired = {
    exp: tokenOf({ id: 1, name: 'Ada', exp: now - 10 }),
    iat: tokenOf({ userId: 1, iat: now - 100_000 }),
    'a negative exp': tokenOf({ id: 1, name: 'Ada', exp: -1e300 })
  }
  const keys = server.app.kv.plainKeys('auth:revoked:')
  for (const [name, token] of Object.entries({ ...revoked, ...expired })) {
    t.equal((await server.admin('POST', '/admin/tokens/revoke', { token })).status, 204, name)
    t.equal(await keys.get(sha256(token)), name in revoked ? '1' : undefined, name)
  }
})
