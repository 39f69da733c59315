import t from 'tap'
import { build, tokenFor } from '../../support/build.ts'
import { outcome } from '../../support/refusal.ts'

t.test('checks the origin of browsers', async (t) => {
  const { url } = await build(t, { env: { CORS_ORIGINS: 'https://app.example.com, http://localhost:5173' } })
  const from = (origin?: string, host?: string) =>
    outcome(t, url, { token: tokenFor(1), headers: { ...(origin === undefined ? {} : { origin }), ...(host === undefined ? {} : { host }) } })
  const refused = '403 ORIGIN_NOT_ALLOWED'

  t.equal(await from(), '101', 'native clients send no origin')
  t.equal(await from(url), '101', 'the origin of the server')
  t.equal(await from('https://audio.example.com', 'audio.example.com'), '101', 'the origin of the server, by its host header')
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

t.test('* allows every origin', async (t) => {
  const { url } = await build(t, { env: { CORS_ORIGINS: '*' } })
  t.equal(await outcome(t, url, { token: tokenFor(1), headers: { origin: 'https://any.example.com' } }), '101')
})
