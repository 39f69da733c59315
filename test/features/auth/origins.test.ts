import t from 'tap'
import { build, tokenFor } from '../../support/build.ts'
import { outcome } from '../../support/refusal.ts'

t.test('checks the origin that a browser sends', async (t) => {
  const { url } = await build(t, { env: { CORS_ORIGINS: 'https://app.example.com, http://localhost:5173' } })
  const from = (origin?: string, host?: string) =>
    outcome(t, url, { token: tokenFor(1), headers: { ...(origin === undefined ? {} : { origin }), ...(host === undefined ? {} : { host }) } })
  const refused = '403 ORIGIN_NOT_ALLOWED'

  t.equal(await from(), '101', 'native clients send no origin')
  t.equal(await from(url), '101', 'the origin of the server')
  t.equal(await from('https://audio.example.com', 'audio.example.com'), '101', 'the origin of the server, according to the Host header')
  t.equal(await from('https://app.example.com'), '101', 'configured')
  t.equal(await from('http://localhost:5173'), '101')

  t.equal(await from('https://evil.example.com'), refused)
  t.equal(await from('http://app.example.com'), refused, 'configured with another scheme')
  t.equal(await from('https://app.example.com:8443'), refused, 'configured with another port')
  t.equal(await from('https://app.example.com.evil.com'), refused)
  t.equal(await from('https://sub.app.example.com'), refused)
  t.equal(await from('http://127.0.0.1:1'), refused, 'this host with another port')
  t.equal(await from('null'), refused, 'a page with an opaque origin')
  t.equal(await from(''), refused)
  t.equal(await from('nonsense'), refused)
  t.equal(await outcome(t, url, { token: 'nonsense', headers: { origin: 'https://evil.example.com' } }), refused, 'the response does not reveal the state of the token')
})

t.test('CORS_ORIGINS=* allows every origin', async (t) => {
  const { url } = await build(t, { env: { CORS_ORIGINS: '*' } })
  t.equal(await outcome(t, url, { token: tokenFor(1), headers: { origin: 'https://any.example.com' } }), '101')
})

t.test('a page on a configured origin may call the routes of every method', async (t) => {
  const origin = 'https://admin.example.com'
  const { app, url } = await build(t, { env: { CORS_ORIGINS: origin } })
  // Browsers send HEAD without asking the server first.
  const methods = new Set(app.contract().routes.map(({ method }) => method)).difference(new Set(['HEAD']))
  t.ok(methods.has('PUT'))
  const { headers } = await fetch(`${url}/admin/rooms/r1/roles/1`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'authorization,content-type' } })
  t.equal(headers.get('access-control-allow-origin'), origin)
  const allowed = headers.get('access-control-allow-methods')?.split(', ')
  for (const method of methods) t.ok(allowed?.includes(method), method)
})

t.test('the Host header may contain the default port and capital letters', async (t) => {
  const { url } = await build(t)
  const from = (origin: string, host: string) => outcome(t, url, { token: tokenFor(1), headers: { origin, host } })
  const refused = '403 ORIGIN_NOT_ALLOWED'
  t.equal(await from('https://example.com', 'example.com:443'), '101')
  t.equal(await from('https://example.com', 'EXAMPLE.com:443'), '101')
  t.equal(await from('https://example.com', 'Example.COM'), '101')
  t.equal(await from('https://example.com:443', 'example.com'), '101')
  t.equal(await from('http://example.com', 'example.com:80'), '101')
  t.equal(await from('http://example.com:80', 'example.com'), '101')
  t.equal(await from('https://example.com:8443', 'example.com:8443'), '101')
  t.equal(await from('https://[2001:db8::1]', '[2001:DB8::1]:443'), '101')

  t.equal(await from('https://example.com', 'example.com:8443'), refused)
  t.equal(await from('https://example.com:8443', 'example.com:443'), refused)
  t.equal(await from('http://example.com', 'example.com:443'), refused, 'another scheme')
  t.equal(await from('https://example.com:80', 'example.com'), refused)
  t.equal(await from('https://example.com', 'example.com.evil.com:443'), refused)
  t.equal(await from('foo://example.com', 'example.com'), refused)
  t.equal(await from('https://example.com', ''), refused)
})

t.test('behind a trusted proxy, the origin is compared with the forwarded host', async (t) => {
  const { url } = await build(t, { env: { TRUST_PROXY: '1' } })
  const headers = { host: '127.0.0.1:3030', 'x-forwarded-host': 'Audio.Example.com:443', 'x-forwarded-for': '203.0.113.9' }
  t.equal(await outcome(t, url, { token: tokenFor(1), headers: { ...headers, origin: 'https://audio.example.com' } }), '101')
  t.equal(await outcome(t, url, { token: tokenFor(1), headers: { ...headers, origin: 'https://evil.example.com' } }), '403 ORIGIN_NOT_ALLOWED')
})

t.test('in development, pages on this machine may connect', async (t) => {
  const { url } = await build(t, { env: { NODE_ENV: 'development', FEATURES: 'auth', FEATURES_WATCH: 'false', PORT: '0' } })
  const from = (origin: string) => outcome(t, url, { token: tokenFor(1), headers: { origin } })
  for (const origin of ['http://localhost:5173', 'http://127.0.0.1:8080', 'https://localhost', 'http://[::1]:3000', 'http://app.localhost:3000']) {
    t.equal(await from(origin), '101', origin)
    t.equal((await fetch(`${url}/auth/session`, { headers: { origin } })).headers.get('access-control-allow-origin'), origin)
  }
  for (const origin of ['http://localhost.evil.com', 'http://evil-localhost', 'http://127.0.0.1.evil.com', 'https://evil.example.com', 'null']) {
    t.equal(await from(origin), '403 ORIGIN_NOT_ALLOWED', origin)
    t.equal((await fetch(`${url}/auth/session`, { headers: { origin } })).headers.get('access-control-allow-origin'), null)
  }
})
