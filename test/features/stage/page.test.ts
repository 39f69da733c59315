import t from 'tap'
import { build, jwtSecret } from '../../support/build.ts'
import { connect } from '../../support/client.ts'

const FEATURES = 'auth,media,stage'

async function post (url: string, body: unknown): Promise<{ status: number, headers: Headers, body: Record<string, never> }> {
  const response = await fetch(`${url}/stage/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body)
  })
  return { status: response.status, headers: response.headers, body: await response.json() as Record<string, never> }
}

t.test('the page and its parts are served, and asked for again cheaply', async (t) => {
  const { url } = await build(t, { env: { FEATURES } })
  for (const [path, type] of [['/', 'text/html'], ['/stage/style.css', 'text/css'], ['/stage/app.js', 'text/javascript']] as const) {
    const response = await fetch(url + path)
    t.equal(response.status, 200, path)
    t.match(response.headers.get('content-type'), `${type}; charset=utf-8`)
    t.equal(response.headers.get('cache-control'), 'no-cache')
    t.match(response.headers.get('content-security-policy'), "default-src 'self'")
    const etag = response.headers.get('etag') as string
    t.ok((await response.text()).length > 500)

    const again = await fetch(url + path, { headers: { 'if-none-match': etag } })
    t.equal(again.status, 304)
    t.equal(await again.text(), '')
    t.equal((await fetch(url + path, { headers: { 'if-none-match': '"another"' } })).status, 200)
    t.equal((await fetch(url + path, { method: 'HEAD' })).status, 200)
  }
})

t.test('nothing in the page needs what the security policy forbids', async (t) => {
  const { url } = await build(t, { env: { FEATURES } })
  const html = await (await fetch(url)).text()
  t.notMatch(html, /<style|style=|<script(?![^>]*src=)| on[a-z]+=/, 'no inline code or style')
  t.notMatch(html, /(src|href)="(https?:)?\/\//, 'nothing from elsewhere')
  t.notMatch(await (await fetch(`${url}/stage/app.js`)).text(), 'sourceMappingURL')
})

t.test('a guest gets a token that lets them in', async (t) => {
  const { url } = await build(t, { env: { FEATURES } })
  const { status, headers, body } = await post(url, { name: '  Ada ' })
  t.equal(status, 200)
  t.equal(headers.get('cache-control'), 'no-store')
  const { token, userId } = body as unknown as { token: string, userId: string }
  t.match(userId, /^guest-[0-9a-f-]{36}$/)
  const client = await connect(t, url, { token })
  t.equal(client.greeting.userId, userId)
  t.match(await client.ok('room:join', { roomId: 'r1' }), { participants: [{ userId, name: 'Ada' }] })

  const session = await fetch(`${url}/auth/session`, { headers: { authorization: `Bearer ${token}` } })
  const { expiresAt } = await session.json() as { expiresAt: number }
  t.ok(expiresAt - Date.now() <= 3_600_000, 'for an hour at most')
  t.not((await post(url, { name: 'Ada' })).body.userId, userId, 'everyone is somebody else')
})

t.test('a guest needs a name', async (t) => {
  const { url } = await build(t, { env: { FEATURES } })
  for (const body of [{}, { name: '' }, { name: '   ' }, { name: 'x'.repeat(41) }, { name: 7 }]) {
    const reply = await post(url, body)
    t.equal(reply.status, 400, JSON.stringify(body))
    t.match(reply.body, { error: { code: 'VALIDATION_FAILED', details: [{ path: 'name' }] } })
  }
})

t.test('in production nobody is a guest', async (t) => {
  const { url } = await build(t, { env: { NODE_ENV: 'production', FEATURES, MEDIASOUP_ANNOUNCED_IP: '127.0.0.1', JWT_SECRET: jwtSecret, HOST: '127.0.0.1', MEDIASOUP_WORKERS: '1', DRAIN_SECONDS: '0' } })
  t.equal((await fetch(url)).status, 200)
  t.match(await post(url, { name: 'Ada' }), { status: 404, body: { error: { code: 'NOT_FOUND' } } })
  t.match(await connect(t, url).catch((error: unknown) => error), { status: 401 })
})

t.test('it is off unless it is asked for', async (t) => {
  const production = { NODE_ENV: 'production', MEDIASOUP_ANNOUNCED_IP: '127.0.0.1', MEDIASOUP_WORKERS: '1', DRAIN_SECONDS: '0' }
  for (const env of [undefined, production]) {
    const { url } = await build(t, env && { env })
    t.equal((await fetch(url)).status, 404)
    t.equal((await post(url, { name: 'Ada' })).status, 404)
  }
})

t.test('developers see the original code', async (t) => {
  const { url } = await build(t, { env: { NODE_ENV: 'development', LOG_LEVEL: 'silent', MEDIASOUP_WORKERS: '1' } })
  t.match(await (await fetch(`${url}/stage/app.js`)).text(), 'sourceMappingURL=data:application/json')
})
