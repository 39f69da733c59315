import { readdir } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { buildPages } from '../../../features/stage/build.ts'
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

const linksOf = (html: string) => [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url as string)
/** The paths of all pages. */
const paths = ['/', '/admin', '/listen/room']
/** Resolves a link on a page. */
const resolve = (link: string, page: string) => new URL(link, page).href

const { url } = await build(t, { env: { FEATURES } })

t.test('serves pages and assets with cache validation', async (t) => {
  const links = new Set<string>()
  for (const path of paths) {
    const response = await fetch(url + path)
    t.equal(response.status, 200, path)
    t.equal(response.headers.get('content-type'), 'text/html; charset=utf-8')
    t.equal(response.headers.get('cache-control'), 'no-cache', 'so that a reload of the feature is visible immediately')
    const etag = response.headers.get('etag') as string
    for (const link of linksOf(await response.text())) links.add(resolve(link, url + path))

    const again = await fetch(url + path, { headers: { 'if-none-match': etag, 'cache-control': 'max-age=0' } })
    t.equal(again.status, 304)
    t.equal(await again.text(), '')
    t.equal((await fetch(url + path, { headers: { 'if-none-match': '"another"' } })).status, 200)
    t.equal((await fetch(url + path, { method: 'HEAD' })).status, 200)
  }
  t.ok(links.size >= 4)
  for (const link of links) {
    const response = await fetch(link, { headers: { 'accept-encoding': 'br' } })
    t.equal(response.status, 200, link)
    t.match(response.headers.get('content-type'), { '.js': /^application\/javascript/, '.css': /^text\/css/, '.svg': /^image\/svg/ }[link.slice(link.lastIndexOf('.'))])
    t.equal(response.headers.get('cache-control'), 'public, max-age=31536000, immutable', 'the name contains a hash, so the file never changes')
    t.equal(response.headers.get('content-encoding'), 'br', 'compressed')
    t.ok((await response.text()).length > 50)
  }
  t.equal((await fetch(`${url}/stage/index.html`)).status, 404, 'each page has only one URL')
  t.equal((await fetch(`${url}/stage/assets/nothing.js`)).status, 404)
})

t.test('the pages load and run no code from other origins', async (t) => {
  for (const path of paths) {
    const response = await fetch(url + path)
    const policy = Object.fromEntries((response.headers.get('content-security-policy') ?? '').split('; ').map((rule) => [rule.split(' ')[0], rule.split(' ').slice(1).join(' ')]))
    t.match(policy, { 'default-src': "'none'", 'script-src': "'self'", 'style-src': "'self'", 'connect-src': "'self'", 'base-uri': "'none'", 'frame-ancestors': "'none'" })
    const html = await response.text()
    t.notMatch(html, /<style|style=|<script(?![^>]*src=)| on[a-z]+=/, 'no inline code or style')
    t.ok(linksOf(html).every((link) => resolve(link, url + path).startsWith(`${url}/stage/assets/`)))
  }
})

t.test('the pages are small', async (t) => {
  for (const path of paths) {
    const scripts = linksOf(await (await fetch(url + path)).text()).filter((link) => link.endsWith('.js'))
    const sizes = await Promise.all(scripts.map(async (link) => gzipSync(await (await fetch(resolve(link, url + path))).bytes()).length))
    const total = sizes.reduce((sum, size) => sum + size, 0)
    t.comment(`the scripts of ${path}: ${Math.round(total / 1000)} kB gzipped`)
    t.ok(total > 10_000 && total < 250_000, path)
  }
})

t.test('concurrent builds of the same sources share one result', async (t) => {
  const folders = await Promise.all([1, 2, 3].map(() => buildPages((text) => t.fail(text))))
  t.equal(new Set(folders).size, 1)
  t.same((await readdir(folders[0] as string)).sort(), ['admin.html', 'assets', 'index.html', 'listen.html'])
})

t.test('a guest gets a valid token', async (t) => {
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
  t.ok(expiresAt - Date.now() <= 12 * 3_600_000, 'expires after 12 h')
  t.not((await post(url, { name: 'Ada' })).body.userId, userId, 'each guest has a new id')
})

t.test('a guest needs a name', async (t) => {
  for (const body of [{}, { name: '' }, { name: '   ' }, { name: 'x'.repeat(41) }, { name: 7 }]) {
    const reply = await post(url, body)
    t.equal(reply.status, 400, JSON.stringify(body))
    t.match(reply.body, { error: { code: 'VALIDATION_FAILED', details: [{ path: 'name' }] } })
  }
})

t.test('rejects invalid colours of guests', async (t) => {
  const { token, userId } = (await post(url, { name: 'Ada', colour: '#0F766E' })).body as unknown as { token: string, userId: string }
  const client = await connect(t, url, { token })
  const { participants: [ada] } = await client.ok('room:join', { roomId: 'r2' }) as { participants: [{ userId: string, avatar: string }] }
  t.equal(ada.userId, userId)
  t.match(decodeURIComponent(ada.avatar), /^data:image\/svg\+xml,<svg .*fill="#0F766E"/)
  for (const colour of ['red', '#fff', '#12345g', '#123456"/><script>', 7]) {
    const reply = await post(url, { name: 'Ada', colour })
    t.match(reply, { status: 400, body: { error: { code: 'VALIDATION_FAILED', details: [{ path: 'colour' }] } } }, String(colour))
  }
})

t.test('does not create guests in production', async (t) => {
  const { url } = await build(t, { env: { NODE_ENV: 'production', FEATURES, MEDIASOUP_ANNOUNCED_IP: '127.0.0.1', JWT_SECRET: jwtSecret, HOST: '127.0.0.1', MEDIASOUP_WORKERS: '1', DRAIN_SECONDS: '0' } })
  t.equal((await fetch(url)).status, 200)
  t.match(await post(url, { name: 'Ada' }), { status: 404, body: { error: { code: 'NOT_FOUND' } } })
  t.same(await (await fetch(`${url}/stage/session`)).json(), { guests: false }, 'the policy is public')
  t.match(await connect(t, url).catch((error: unknown) => error), { status: 401 })
})

t.test('is disabled by default, in production and elsewhere', async (t) => {
  const production = { NODE_ENV: 'production', MEDIASOUP_ANNOUNCED_IP: '127.0.0.1', MEDIASOUP_WORKERS: '1', DRAIN_SECONDS: '0' }
  for (const env of [undefined, production]) {
    const { url } = await build(t, env && { env })
    for (const path of ['/', '/admin', '/stage/session']) t.equal((await fetch(url + path)).status, 404)
    t.equal((await post(url, { name: 'Ada' })).status, 404)
  }
})
