import { join } from 'node:path'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { build as bundle } from 'esbuild'
import t from 'tap'
import type { RoomClient, RoomOptions } from '../../client/index.ts'
import { createRelay } from '../client/relay.ts'
import { build, tokenFor } from '../support/build.ts'
import { openBrowser } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// Tests the client in a real browser. Unlike Node, a browser hides the responses to upgrade requests, and emits events
// when the page becomes visible or the network returns.

declare global {
  interface Window {
    Client: typeof RoomClient
    room: RoomClient
    states: string[]
  }
}

/**
 * Starts a web server whose pages contain the client. This server rejects WebSocket connections, as some proxies do.
 */
async function createSite (): Promise<string> {
  const { outputFiles: [script] } = await bundle({ entryPoints: [join(import.meta.dirname, '../../client/index.ts')], bundle: true, write: false, format: 'esm', platform: 'browser' })
  const site = createServer(({ url }, response) => {
    if (url === '/') return response.setHeader('content-type', 'text/html').end('<script type="module">import { RoomClient } from "/client.js"; window.Client = RoomClient</script>')
    if (url === '/client.js') return response.setHeader('content-type', 'text/javascript').end(script?.text)
    response.writeHead(403, { 'content-type': 'text/html' }).end('<h1>Forbidden</h1>')
  })
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    site.close()
    site.closeAllConnections()
  })
  return `http://127.0.0.1:${(site.address() as AddressInfo).port}`
}

const site = await createSite()
const [server, strict, browser] = await Promise.all([
  build(t, { env: { CORS_ORIGINS: site } }),
  build(t),
  openBrowser(t, 440)
])
const page = await (await browser.newContext()).newPage()
await page.goto(site)
await page.waitForFunction(() => 'Client' in window)

/**
 * Joins a room from the page.
 *
 * @returns the outcome and the duration of the join
 */
async function joinIn (options: Partial<RoomOptions> & { url: string }, token = tokenFor(1)) {
  return await page.evaluate(async ({ options, token }) => {
    const room = new window.Client({ token: () => token, audio: false, ...options } as RoomOptions)
    const begin = performance.now()
    const states: string[] = []
    room.on('state', (state) => states.push(state))
    const outcome = await room.join('r1').then(() => 'joined', ({ code, message }: Error & { code: string }) => `${code}: ${message}`)
    Object.assign(window, { room, states })
    return { outcome, ms: performance.now() - begin }
  }, { options, token })
}

t.test('a page receives the reason for a rejected connection', async (t) => {
  const refused = await joinIn({ url: strict.url })
  t.equal(refused.outcome, `ORIGIN_NOT_ALLOWED: Connections from the origin ${site} are not allowed: it is not in CORS_ORIGINS`)
  t.ok(refused.ms < 5000, 'without waiting for a timeout')
  t.match((await joinIn({ url: strict.url }, 'no.good.token')).outcome, 'ORIGIN_NOT_ALLOWED')
  t.equal((await joinIn({ url: server.url }, 'no.good.token')).outcome, 'UNAUTHORIZED: The token is not valid')
  t.equal((await joinIn({ url: `${strict.url}/nowhere`, connectTimeoutMs: 500 })).outcome, 'NOT_FOUND: /nowhere/ws was not found')
  t.equal((await joinIn({ url: site.replace('127.0.0.1', 'localhost'), connectTimeoutMs: 500 })).outcome, 'REFUSED: The connection was rejected; the browser hides the reason')
  t.equal((await joinIn({ url: 'http://127.0.0.1:9', connectTimeoutMs: 500 })).outcome, 'UNREACHABLE: The server cannot be reached')
  t.equal((await joinIn({ url: '/', connectTimeoutMs: 500 })).outcome, 'REFUSED: The connection was rejected with HTTP 403', 'a URL may be relative to the page')
  t.equal((await joinIn({ url: server.url })).outcome, 'joined')
  await page.evaluate(() => window.room.close())
})

t.test('the client checks its connection when the page becomes visible or the network returns', async (t) => {
  const relay = await createRelay(t, server.url)
  const later = { firstMs: 600_000, longestMs: 600_000 }
  await joinIn({ url: relay.url, timeoutMs: 1000, backoff: later })
  const dispatch = (event: string) => page.evaluate((event) => { (event === 'visibilitychange' ? document : window).dispatchEvent(new Event(event)) }, event)
  const reached = (count: number) => until(async () => await page.evaluate(() => window.states.length) >= count)
  let count = 2
  for (const event of ['visibilitychange', 'online', 'pageshow']) {
    await dispatch(event)
    t.match(await page.evaluate(() => window.room.connection.request('session:ping', {})), { serverTime: Number })
    t.equal(await page.evaluate(() => window.room.connection.state), 'open', 'a working connection stays open')
    relay.freeze()
    await dispatch(event)
    await reached(++count)
    t.equal(await page.evaluate(() => window.room.connection.state), 'waiting', event)
    await dispatch(event)
    await reached(++count)
  }
  t.same(await page.evaluate(() => window.states), ['joining', 'in', ...Array<string[]>(3).fill(['rejoining', 'in']).flat()])
  await page.evaluate(() => window.room.close())
})
