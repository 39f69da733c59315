import { once } from 'node:events'
import { get } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { json } from 'node:stream/consumers'
import { createSigner } from 'fast-jwt'
import t from 'tap'
import { build, jwtSecret, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { outcome } from '../../support/refusal.ts'
import { until } from '../../support/retry.ts'

// POST /ws explains why a connection was rejected, because browsers hide the response to an upgrade.

const sign = createSigner({ key: jwtSecret, algorithm: 'HS256' })
const origin = 'https://evil.example.com'

async function explain ({ url }: Pick<TestServer, 'url'>, token: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${url}/ws`, { method: 'POST', headers: { authorization: `Bearer ${token}`, ...headers } })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) as { error: { code: string, message: string, details?: unknown } } }
}

t.test('returns the response that an upgrade request would receive', async (t) => {
  const server = await build(t, { env: { MAX_CONNECTIONS: '2', MAX_CONNECTIONS_PER_USER: '1' } })
  const asUpgrade = async (token: string, headers: Record<string, string> = {}) => {
    const { status, body } = await explain(server, token, headers)
    const expected = await outcome(t, server.url, { token, headers })
    t.equal(status === 204 ? '101' : `${status} ${body?.error.code}`, expected)
    return expected
  }
  t.equal(await asUpgrade(tokenFor(1)), '101')
  t.equal(await asUpgrade('no.good.token'), '401 UNAUTHORIZED')
  t.equal(await asUpgrade(tokenFor(1), { origin }), '403 ORIGIN_NOT_ALLOWED')
  t.equal(await asUpgrade('no.good.token', { origin }), '403 ORIGIN_NOT_ALLOWED', 'the response does not reveal the state of the token')
  const ada = await server.connect(1)
  t.equal(await asUpgrade(tokenFor(1)), '429 TOO_MANY_CONNECTIONS')
  await server.connect(2)
  t.equal(await asUpgrade(tokenFor(3)), '503 OVERLOADED')
  await ada.close()
  for (let i = 0; i < 5; i++) t.equal((await explain(server, tokenFor(3))).status, 204, 'the requests do not count as connections')
  const drained = server.app.drain.begin(600)
  t.equal(await asUpgrade(tokenFor(3)), '503 DRAINING')
  for (const session of server.app.sockets.all()) session.close('SHUTTING_DOWN')
  await drained

  const closed = await build(t, { env: { FEATURES: '-auth' } })
  t.match(await explain(closed, tokenFor(1)), { status: 409, body: { error: { code: 'FEATURE_DISABLED' } } })
})

t.test('the response names the rejected origin or the problem with the token', async (t) => {
  const server = await build(t)
  t.match(await explain(server, tokenFor(1), { origin }), { status: 403, body: { error: { message: /https:\/\/evil\.example\.com .*CORS_ORIGINS/ } } })
  t.match(await explain(server, sign({ id: 1, name: 'Ada', iat: 1, exp: 2 })), { status: 401, body: { error: { details: { reason: 'expired' } } } })
  t.match(await explain(server, 'Unauthorized'), { status: 401, body: { error: { message: 'The token is not a JWT', details: { reason: 'malformed' } } } })
  t.equal((await explain(server, 'a.b.c')).body?.error.details, undefined)
})

t.test('pages from any origin may read the response', async (t) => {
  const { url } = await build(t)
  const preflight = await fetch(`${url}/ws`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' } })
  t.equal(preflight.status, 204)
  t.equal(preflight.headers.get('access-control-allow-origin'), '*')
  t.match(preflight.headers.get('access-control-allow-methods'), 'POST')
  t.match(preflight.headers.get('access-control-allow-headers'), 'authorization')
  t.equal((await explain({ url }, tokenFor(1), { origin })).headers.get('access-control-allow-origin'), '*')
  const other = await fetch(`${url}/auth/session`, { headers: { origin } })
  t.equal(other.headers.get('access-control-allow-origin'), null, 'the responses of other routes are not readable')
})

t.test('the server logs one line per rejected connection', async (t) => {
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { MAX_CONNECTIONS: '1' }, log: (line) => { if (/reject|fail/.test(String(line.msg))) lines.push(line) } })
  const logged = async (expected: string, options: Parameters<typeof outcome>[2], line: object) => {
    lines.length = 0
    t.equal(await outcome(t, server.url, options), expected)
    t.equal(lines.length, 1, expected)
    t.match(lines[0], { level: 40, path: '/ws', address: '127.0.0.1', ...line })
  }
  await logged('403 ORIGIN_NOT_ALLOWED', { token: tokenFor(1), headers: { origin } }, { code: 'ORIGIN_NOT_ALLOWED', origin, msg: /^connection rejected: .*evil\.example\.com/ })
  await logged('401 UNAUTHORIZED', { token: sign({ id: 1, name: 'Ada', iat: 1, exp: 2 }) }, { code: 'UNAUTHORIZED', msg: 'connection rejected: The token has expired' })
  await logged('401 UNAUTHORIZED', { query: '?token=secret' }, { path: '/ws' })
  t.notMatch(JSON.stringify(lines), 'secret')
  await logged('404 NOT_FOUND', { token: tokenFor(1), query: '/nowhere?token=secret' }, { code: 'NOT_FOUND', path: '/ws/nowhere' })
  lines.length = 0
  const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'short', authorization: `Bearer ${tokenFor(1)}` }
  const [response] = await once(get(`${server.url}/ws`, { headers }), 'response') as [IncomingMessage]
  t.equal(response.statusCode, 400)
  t.match(await json(response), { error: { code: 'VALIDATION_FAILED' } })
  t.match(lines, [{ level: 40, path: '/ws', address: '127.0.0.1', code: 'VALIDATION_FAILED', msg: /^connection rejected: .*Sec-WebSocket-Key/ }])

  await until(() => server.app.sockets.size === 0)
  await server.connect(1)
  await logged('503 OVERLOADED', { token: tokenFor(2) }, { code: 'OVERLOADED' })

  lines.length = 0
  await explain(server, tokenFor(2))
  t.same(lines, [], 'a request for an explanation is not logged as a connection')
})
