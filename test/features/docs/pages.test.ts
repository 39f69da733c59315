import t from 'tap'
import type { AsyncApi } from '../../../features/docs/asyncapi.ts'
import { openBrowser } from '../../support/browser.ts'
import { build } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'

const { url } = await build(t, { env: { FEATURES: '' } })

t.test('the pages list every message, error and close code', async (t) => {
  const page = await (await fetch(`${url}/docs/messages`)).text()
  const asyncapi = await (await fetch(`${url}/docs/asyncapi.json`)).json() as AsyncApi
  for (const [anchor, { title }] of Object.entries(asyncapi.operations)) {
    t.ok(page.includes(`id="${anchor}"`), anchor)
    t.ok(page.includes(`<code>${title}</code>`), title)
  }
  for (const { code, meaning } of asyncapi['x-error-codes']) t.ok(page.includes(`id="${code}"`) && page.includes(meaning.split(/[^\w ]/)[0] ?? meaning), code)
  for (const { code, reason } of asyncapi['x-close-codes']) t.ok(page.includes(`<code>${code}</code>`) && page.includes(reason), reason)
  t.match(page, 'Limit: 30 per user per minute')
  const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id)
  t.equal(new Set(ids).size, ids.length, 'anchors are unique')
  for (const [, target = ''] of page.matchAll(/href="#([^"]+)"/g)) t.ok(ids.includes(target), `#${target}`)
})

t.test('every response has a content type and an ETag, and all assets are local', async (t) => {
  const types = { '/docs': 'text/html', '/docs/messages': 'text/html', '/docs/openapi.json': 'application/json', '/docs/asyncapi.json': 'application/json' }
  const loaded = new Map<string, string>(Object.entries(types))
  for (const path of ['/docs', '/docs/messages']) {
    const page = await (await fetch(url + path)).text()
    for (const [, link = ''] of page.matchAll(/(?:src|href)="([^"#]+)"/g)) {
      t.match(link, /^(\.\.?\/docs|data:)/, 'relative, so no resource of another host')
      if (/\.(js|css)$/.test(link)) loaded.set(new URL(link, url + path).pathname, link.endsWith('js') ? 'text/javascript' : 'text/css')
    }
    t.notMatch(page, /<style|style=|<script>| on\w+="/, 'no inline code or style')
  }
  t.equal(loaded.size, 8)
  t.match(await (await fetch(`${url}/docs/openapi.json`)).json(), { servers: [{ url: '..', description: 'this server' }] })
  for (const [path, type] of loaded) {
    const response = await fetch(url + path)
    t.equal(response.status, 200, path)
    t.match(response.headers.get('content-type'), new RegExp(`^${type}; charset=utf-8`), path)
    t.equal(response.headers.get('cache-control'), 'no-cache')
    const again = await fetch(url + path, { headers: { 'if-none-match': String(response.headers.get('etag')) } })
    t.same([again.status, await again.text()], [304, ''], path)
  }
})

t.test('escapes the descriptions of a feature', async (t) => {
  const folder = featureFolder(t)
  const bad = '</pre><img src=x onerror="alert(1)">'
  folder.write('bad', {
    'index.ts': `import createError from '@fastify/error'
import fp from 'fastify-plugin'
import { z } from 'zod'
const bad = ${JSON.stringify(bad)}
export const errors = { Bad: createError('BAD', bad, 400) }
export const requests = { [bad]: { request: z.object({ [bad]: z.string().default(bad).describe(bad) }).describe(bad), reply: z.object({ [bad]: z.enum([bad]) }) } }
export default fp(async function feature (app) {
  app.messages.events({ [bad]: z.object({ [bad]: z.literal(bad).describe('\`' + bad + '\`') }) })
  app.messages.on(bad, requests[bad], (data) => data)
}, { name: 'bad' })
`
  })
  const { url, app } = await build(t, { env: { FEATURES: 'auth,docs,bad', FEATURES_PATH: folder.path } })
  t.match(app.features.list().find(({ name }) => name === 'bad'), { state: 'enabled', error: undefined })
  const page = await (await fetch(`${url}/docs/messages`)).text()
  t.ok(page.includes('&#60;img src=x onerror=&#34;alert(1)&#34;&#62;'))
  t.notMatch(page, /<img/)
})

t.test('all paths of the feature return 404 while it is disabled', async (t) => {
  const { url, app, admin } = await build(t, { env: { FEATURES: 'auth' } })
  const paths = ['/docs', '/docs/messages', '/docs/openapi.json', '/docs/asyncapi.json', '/docs/docs.css']
  for (const path of paths) t.equal((await fetch(url + path)).status, 404, path)
  t.ok(app.contract().requests.length > 0, 'the kernel provides the contract')
  t.equal((await admin('POST', '/admin/features/docs/enable')).status, 200)
  for (const path of paths) t.equal((await fetch(url + path)).status, 200, path)
})

t.test('works in a browser', async (t) => {
  // Enable only two features, because Swagger UI takes several seconds of CPU time to render all features' routes.
  const { url } = await build(t, { env: { FEATURES: 'auth,docs' } })
  const browser = await openBrowser(t, 440)
  const all = process.env.ALL_LOOKS !== undefined
  const desktop = { width: 1280, height: 900 }
  const phone = { width: 360, height: 740 }
  const page = await (await browser.newContext({ viewport: phone, colorScheme: 'dark' })).newPage()
  const problems: string[] = []
  page.on('console', (message) => { if (message.type() === 'error' || message.type() === 'warning') problems.push(message.text()) })
  page.on('pageerror', (error) => problems.push(error.message))
  page.on('request', (request) => { if (!/^(data:|blob:)/.test(request.url()) && !request.url().startsWith(url)) problems.push(request.url()) })
  /**
   * Checks that the loaded page fits a phone's screen in dark mode. With ALL_LOOKS (pages.long.ts), also checks a
   * desktop-sized window.
   */
  const expectFit = async (what: string) => {
    for (const [viewport, colorScheme] of [[phone, 'dark'], ...(all ? [[desktop, 'light']] as const : [])] as const) {
      await page.setViewportSize(viewport)
      await page.emulateMedia({ colorScheme })
      t.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${what} at ${viewport.width} pixels`)
    }
  }

  // Swagger UI needs a second of CPU time to render the kernel's routes, so render only one route unless ALL_LOOKS is
  // set.
  if (!all) {
    await page.route('**/openapi.json', async (route) => {
      const response = await route.fetch()
      const { paths, ...document } = await response.json() as { paths: Record<string, unknown> }
      await route.fulfill({ response, json: { ...document, paths: Object.fromEntries(Object.entries(paths).filter(([path]) => /drain/.test(path))) } })
    })
  }
  await page.goto(`${url}/docs`)
  await page.getByText('Drains this server').waitFor()
  if (all) {
    await page.getByText('Drains this server').click()
    await page.getByText('deadlineSeconds').first().waitFor()
  }
  await expectFit('Swagger UI fits the window')
  await page.getByRole('link', { name: 'WebSocket' }).click()
  await page.getByRole('heading', { name: 'room:join request' }).waitFor()
  await expectFit('the page of messages fits the window')
  await page.locator('[id="room-join.request"]').getByText('Example').click()
  t.ok(await page.getByText('"type": "room:join"').isVisible())
  await expectFit('a long example scrolls within its box')
  t.same(problems, [])
})
