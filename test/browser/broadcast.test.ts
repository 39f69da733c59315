import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import t from 'tap'
import type { Page } from 'playwright-core'
import { violationsOf } from '../support/axe.ts'
import { adminKey, build, tokenFor } from '../support/build.ts'
import { openBrowser, visit } from '../support/browser.ts'
import { playedFrequency } from '../support/hls.ts'
import { until } from '../support/retry.ts'

// The owner of a room starts a broadcast on the stage, and a person without an account listens on the page /listen.

const [server, browser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,moderation,lobby,broadcast,recording,stage', MEDIASOUP_WORKERS: '1' } }),
  openBrowser(t, 1000)
])
const take = async (page: Page, name: string) => {
  const folder = process.env.LOOKS
  if (folder !== undefined) await page.screenshot({ path: join(resolve(folder), `${name}.png`) })
}
const phone = { width: 360, height: 740 }
const sign = (page: Page, text: string) => page.getByRole('status').filter({ hasText: text }).waitFor()

async function listen (roomId: string, viewport?: typeof phone, onRequest?: (url: string) => void): Promise<Page> {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...(viewport ? { viewport, colorScheme: 'dark' } : {}) })
  const page = await context.newPage()
  page.setDefaultTimeout(20_000)
  if (onRequest) page.on('request', (request) => onRequest(request.url()))
  page.on('pageerror', (error) => t.fail(`the listening page has an error: ${error.stack}`))
  page.on('console', (message) => { if (message.text().startsWith('The player failed')) t.fail(message.text()) })
  await page.goto(`${server.url}/listen/${roomId}`)
  return page
}

const ada = await visit(t, browser, server.url, { name: 'Ada', room: 'evening', ...{ viewport: phone } })
const listener = await listen('evening')

t.test('the owner goes live, and the room shows that it is on air', async () => {
  await sign(listener, 'Not on air')
  await take(listener, 'listen-off')
  await ada.getByRole('button', { name: 'Go live' }).click()
  await take(ada, 'go-live-phone')
  await ada.getByRole('button', { name: 'Go live now' }).click()
  await ada.getByRole('button', { name: 'End broadcast' }).waitFor()
  await ada.keyboard.press('Escape')
  await ada.getByRole('link', { name: 'On air' }).waitFor()
  await take(ada, 'on-air-phone')
})

t.test('the room shows that it is recorded', async () => {
  const admin = await server.connect(9, { token: tokenFor(9, { roles: ['admin'] }) })
  await admin.ok('room:join', { roomId: 'evening' })
  await admin.ok('recording:start')
  await ada.locator('.recorded').waitFor()
  await take(ada, 'recorded-phone')
  await ada.getByRole('button', { name: 'Stop recording' }).click()
  await ada.locator('.recorded').waitFor({ state: 'detached' })
  await admin.close()
})

t.test('a listener without an account receives the tone of the microphone', async (t) => {
  await listener.getByRole('button', { name: 'Listen' }).click()
  await listener.getByText(/s behind the room/).waitFor()
  const hz = await until(async () => {
    const found = await playedFrequency(listener)
    return found > 0 && found
  }, 30_000)
  t.ok(Math.abs(hz - 1000) <= 1, `${hz} Hz`)
  await listener.getByText('Speaking: Ada').waitFor()
  await listener.getByText('Host: Ada').waitFor()
  t.equal(await listener.getByRole('link', { name: 'Join the room' }).getAttribute('href'), '/#room=evening')
  t.equal(await listener.evaluate(() => navigator.mediaSession.metadata?.title), 'evening')
  t.strictSame(await violationsOf(listener), [])
  await take(listener, 'listen')
})

t.test('the admin page shows the rooms on air', async (t) => {
  const context = await browser.newContext({ reducedMotion: 'reduce' })
  const page = await context.newPage()
  page.setDefaultTimeout(20_000)
  await page.goto(`${server.url}/admin`)
  await page.getByLabel('Admin key').fill(adminKey)
  await page.keyboard.press('Enter')
  const row = page.getByRole('region', { name: /on air/i }).getByRole('row').filter({ hasText: 'evening' })
  await row.waitFor()
  t.match(await row.innerText(), /evening/)
  await context.close()
})

t.test('pauses, and continues live', async () => {
  await listener.getByRole('button', { name: 'Pause' }).click()
  await sign(listener, 'Paused')
  await listener.getByRole('button', { name: 'Listen' }).click()
  await listener.getByRole('button', { name: 'Pause' }).waitFor()
})

t.test('the page asks for the PIN of a protected broadcast', async (t) => {
  const owner = await server.connect(7)
  await owner.ok('room:join', { roomId: 'private', pin: '2468' })
  await owner.ok('broadcast:start')
  const page = await listen('private', phone)
  await page.getByLabel('PIN').fill('1111')
  await page.getByRole('button', { name: 'Open' }).click()
  await sign(page, 'The PIN is wrong.')
  t.strictSame(await violationsOf(page), [])
  await take(page, 'listen-pin-phone')
  await page.getByLabel('PIN').fill('2468')
  await page.getByRole('button', { name: 'Open' }).click()
  await page.getByRole('button', { name: 'Listen' }).click()
  await page.getByText(/s behind the room/).waitFor()
  await take(page, 'listen-phone')
})

t.test('the page shows when the broadcast ends, and plays again when the room goes on air again', async () => {
  await ada.getByRole('button', { name: 'Broadcast' }).click()
  await ada.getByRole('button', { name: 'End broadcast' }).click()
  await ada.getByRole('button', { name: 'Go live now' }).waitFor()
  await sign(listener, 'Not on air')
  await ada.getByRole('button', { name: 'Go live now' }).click()
  await listener.getByText(/s behind the room/).waitFor()
})

t.test('with BROADCAST_URL, the page plays from the CDN', async (t) => {
  const received: string[] = []
  const cdn = createServer((request, response) => {
    received.push(String(request.url).replace(/\?.*/, ''))
    fetch(`${server.url}${String(request.url)}`).then(async (answer) => {
      response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(Buffer.from(await answer.arrayBuffer()))
    }).catch(() => response.destroy())
  }).listen(0, '127.0.0.1')
  await once(cdn, 'listening')
  t.teardown(() => {
    cdn.close()
    cdn.closeAllConnections()
  })
  const url = `http://127.0.0.1:${(cdn.address() as AddressInfo).port}`
  t.match(await server.admin('PATCH', '/admin/features/broadcast/config', { url }), { status: 200 })
  const direct: string[] = []
  const page = await listen('evening', undefined, (address) => { if (address.startsWith(`${server.url}/hls/`)) direct.push(address) })
  await page.getByRole('button', { name: 'Listen' }).click()
  await page.getByText(/s behind the room/).waitFor()
  // The page requests the info again every few seconds.
  await until(() => ['info', 'index.m3u8', 'live.m3u8', 'aac-init.mp4'].every((file) => received.includes(`/hls/evening/${file}`)))
  t.ok(received.some((path) => /aac-\d+(\.\d+)?\.m4s$/.test(path)), 'a segment or a part')
  t.ok(direct.length > 0 && direct.every((address) => address === `${server.url}/hls/evening/info`) && direct.length <= 2, `only the first request goes to the server: ${direct.join()}`)
})
