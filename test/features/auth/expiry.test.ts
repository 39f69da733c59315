import { setTimeout as delay } from 'node:timers/promises'
import { createSigner } from 'fast-jwt'
import t from 'tap'
import type { Test } from 'tap'
import { build, jwtSecret } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import type { TestClient } from '../../support/client.ts'
import { outcome } from '../../support/refusal.ts'
import { clocksDifferMs } from '../../support/pace.ts'
import { until } from '../../support/retry.ts'

const sign = createSigner({ key: jwtSecret, algorithm: 'HS256' })
// `exp` is in whole seconds, so round up and add a second: the token then stays valid for at least one second.
const soon = () => Math.ceil(Date.now() / 1000) + 1

/** Connects with a token that expires soon and joins room r1. Retries if the token expires before the join. */
async function connectBriefly (t: Test, server: TestServer, claims: object): Promise<{ client: TestClient, token: string, exp: number }> {
  return await until(async () => {
    const exp = soon()
    const token = sign({ ...claims, exp })
    const client = await connect(t, server.url, { token }).catch(() => undefined)
    const reply = await client?.request('room:join', { roomId: 'r1' }).catch(() => undefined)
    return client !== undefined && reply?.ok === true && { client, token, exp }
  })
}

t.test('a session closes when its token expires', async (t) => {
  const server = await build(t)
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const { client: bob, token, exp } = await connectBriefly(t, server, { id: 2, name: 'Bob' })
  // The server runs in this process. If the system suspends the process, the server's timer and this timer are late by
  // the same time.
  const expired = delay(exp * 1000 - Date.now()).then(() => Date.now())

  t.same(await bob.closed, { code: 4401, reason: 'TOKEN_EXPIRED' })
  t.ok(Date.now() >= exp * 1000 - clocksDifferMs)
  const late = Date.now() - await expired
  t.ok(late < 5000, `closed ${late} ms after the expiry, at most 5 s`)
  t.same(await ada.event('room:userLeft'), { roomId: 'r1', userId: 2 }, 'the user leaves the room')
  t.equal(await outcome(t, server.url, { token }), '401 UNAUTHORIZED')
  await ada.flush()
})

t.test('a session whose token has no exp closes when the token reaches its maximum age', async (t) => {
  const server = await build(t, { env: { JWT_MAX_AGE_SECONDS: '60' } })
  const { bob, iat } = await until(async () => {
    const iat = soon() - 60
    const bob = await connect(t, server.url, { token: sign({ id: 2, name: 'Bob', iat }) }).catch(() => undefined)
    return bob !== undefined && { bob, iat }
  })
  t.same(await bob.closed, { code: 4401, reason: 'TOKEN_EXPIRED' })
  t.ok(Date.now() >= (iat + 60) * 1000 - clocksDifferMs)
})

t.test('session:refresh replaces the token of a session', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat' } })
  const bob = await connect(t, server.url, { token: sign({ id: 2, name: 'Bob', exp: soon() + 30 }) })
  await bob.ok('room:join', { roomId: 'r1' })
  t.match(await bob.event('session:expiring'), { expiresAt: Number }, 'the client is notified')
  const exp = soon() + 8
  t.same(await bob.ok('session:refresh', { token: sign({ id: '2', name: 'Bob', exp }) }), { expiresAt: exp * 1000 })
  await bob.event('session:expiring', ({ expiresAt }) => expiresAt === exp * 1000)
  t.equal(await bob.fails('session:refresh', { token: sign({ id: 3, name: 'Eve', exp: exp + 60 }) }), 'FORBIDDEN')
  t.match((await bob.request('session:refresh', { token: sign({ id: 2, name: 'Bob', exp: 1 }) })).error, { code: 'UNAUTHORIZED', details: { reason: 'expired' } })
  t.equal(await bob.fails('session:refresh', { token: 'nonsense' }), 'UNAUTHORIZED')
  await bob.ok('chat:message', { content: 'still in the room' })
  t.same(await bob.closed, { code: 4401, reason: 'TOKEN_EXPIRED' })
  t.ok(Date.now() >= exp * 1000 - clocksDifferMs, 'the rejected tokens had no effect')
})

t.test('revoking a session\'s current token closes the session, but revoking the token it replaced does not', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const [old, renewed] = [1, 2].map((n) => sign({ id: 2, name: 'Bob', exp: soon() + 60, n }))
  const bob = await connect(t, server.url, { token: old as string })
  await bob.ok('session:refresh', { token: renewed })
  t.match(await server.admin('POST', '/admin/tokens/revoke', { token: old }), { status: 204 })
  t.match(await bob.ok('session:ping'), { serverTime: Number }, 'the session stays open')
  t.match(await server.admin('POST', '/admin/tokens/revoke', { token: renewed }), { status: 204 })
  t.same(await bob.closed, { code: 4401, reason: 'UNAUTHORIZED' })
})

t.test('the audience and the issuer must match if they are configured', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', JWT_AUDIENCE: 'rooms', JWT_ISSUER: 'shop' } })
  const withClaims = async (claims: object) => await outcome(t, server.url, { token: sign({ id: 2, name: 'Bob', exp: soon() + 60, ...claims }) })
  t.equal(await withClaims({ aud: 'rooms', iss: 'shop' }), '101')
  t.equal(await withClaims({ aud: ['other', 'rooms'], iss: 'shop' }), '101')
  for (const claims of [{}, { aud: 'rooms' }, { iss: 'shop' }, { aud: 'other', iss: 'shop' }, { aud: 'rooms', iss: 'other' }]) {
    t.equal(await withClaims(claims), '401 UNAUTHORIZED', JSON.stringify(claims))
  }
})

t.test('a session whose token expires in ten years stays open', async (t) => {
  const server = await build(t)
  const bob = await connect(t, server.url, { token: sign({ id: 2, name: 'Bob', exp: soon() + 10 * 365 * 86_400 }) })
  const { client: brief } = await connectBriefly(t, server, { id: 3, name: 'Eve' })
  await brief.closed
  await bob.flush()
})
