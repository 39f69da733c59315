import t from 'tap'
import { build, onBothStores, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { attempt, outcome } from '../../support/refusal.ts'
import { until } from '../../support/retry.ts'

t.test('rejects all connections if the auth feature is off', async (t) => {
  const { url, admin } = await build(t, { env: { FEATURES: '-auth' } })
  t.equal(await outcome(t, url, { token: tokenFor(1) }), '409 FEATURE_DISABLED')
  t.equal(await outcome(t, url), '409 FEATURE_DISABLED')
  t.equal((await fetch(`${url}/auth/session`)).status, 404, 'the routes of auth are removed')
  t.equal((await admin('POST', '/admin/tokens/revoke', { token: 'x' })).status, 404)
})

t.test('accepts guests if the auth feature is off and anonymous access is allowed', async (t) => {
  const { url } = await build(t, { env: { FEATURES: '-auth', ALLOW_ANONYMOUS: 'true' } })
  const [one, two] = [await connect(t, url), await connect(t, url, { token: tokenFor(1) })]
  t.match(one.greeting, { userId: /^guest-/ })
  t.match(two.greeting, { userId: /^guest-/ }, 'without auth, a token has no effect')
  t.not(one.greeting.userId, two.greeting.userId)
  t.match(await one.ok('room:join', { roomId: 'r1' }), { self: { role: 'owner' } })
  t.equal(await outcome(t, url, { headers: { origin: 'https://evil.example.com' } }), '403 ORIGIN_NOT_ALLOWED')
})

t.test('ALLOW_ANONYMOUS has no effect while auth is enabled', async (t) => {
  const { url } = await build(t, { env: { ALLOW_ANONYMOUS: 'true' } })
  t.equal(await outcome(t, url), '401 UNAUTHORIZED')
})

t.test('a draining server rejects new connections', async (t) => {
  const server = await build(t)
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const drained = server.admin('POST', '/admin/drain', { deadlineSeconds: 600 })
  t.match(await ada.event('server:draining'), { deadline: Number })
  const { status, code, headers } = await attempt(t, server.url, { token: tokenFor(2) })
  t.same([status, code], [503, 'DRAINING'])
  t.match(headers, { 'retry-after': /^[1-9]\d*$/ })
  t.equal((await fetch(`${server.url}/readyz`)).status, 503)
  await ada.ok('room:join', { roomId: 'r1' })
  t.equal(await ada.fails('room:join', { roomId: 'new' }), 'DRAINING', 'open sessions cannot create rooms')
  await ada.close()
  t.same(await drained, { status: 200, body: { result: 'empty', sessions: 0 } })
})

t.test('a full server rejects new connections', async (t) => {
  const server = await build(t, { env: { MAX_CONNECTIONS: '2' } })
  const ada = await server.connect(1)
  await server.connect(2)
  const { status, code, headers } = await attempt(t, server.url, { token: tokenFor(3) })
  t.same([status, code], [503, 'OVERLOADED'])
  t.match(headers, { 'retry-after': /^[1-9]\d*$/ })
  await ada.close()
  await until(async () => await outcome(t, server.url, { token: tokenFor(3) }) === '101')
})

onBothStores(t, 'a server does not exceed its limit when many clients connect at once', async (t, env) => {
  const server = await build(t, { env: { MAX_CONNECTIONS: '3', ...env } })
  const attempts = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => connect(t, server.url, { token: tokenFor(i) })))
  t.equal(attempts.filter(({ status }) => status === 'fulfilled').length, 3)
  t.equal(server.app.sockets.size, 3)
})

t.test('a plain GET receives UPGRADE_REQUIRED', async (t) => {
  const { url } = await build(t)
  const response = await fetch(`${url}/ws`, { headers: { authorization: `Bearer ${tokenFor(1)}` } })
  t.equal(response.status, 426)
  t.match(await response.json(), { error: { code: 'UPGRADE_REQUIRED' } })
})
