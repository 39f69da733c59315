import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { violationsOf } from '../support/axe.ts'
import { adminKey } from '../support/build.ts'
import { until } from '../support/retry.ts'
import { openEvening, phone, sign, take } from './broadcast.ts'

// More tests of the /listen page. broadcast.test.ts contains the basic test: a person without an account receives a
// broadcast.

const { server, browser, ada, listen } = await openEvening(t)
const listener = await listen('evening')
await ada.getByRole('button', { name: 'Go live' }).click()
await ada.getByRole('button', { name: 'Go live now' }).click()
await ada.getByRole('button', { name: 'End broadcast' }).waitFor()
await ada.keyboard.press('Escape')
await listener.getByRole('button', { name: 'Listen' }).click()
await listener.getByText(/s behind the room/).waitFor()

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

t.test('the page shows that the broadcast has ended, and resumes when the room is on air again', async () => {
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
  // Wait, because the page repeats the info request only every few seconds.
  await until(() => ['info', 'index.m3u8', 'live.m3u8', 'aac-init.mp4'].every((file) => received.includes(`/hls/evening/${file}`)))
  t.ok(received.some((path) => /aac-\d+(\.\d+)?\.m4s$/.test(path)), 'the CDN serves segments or parts')
  t.ok(direct.length > 0 && direct.every((address) => address === `${server.url}/hls/evening/info`) && direct.length <= 2, `only the first request goes to the server: ${direct.join()}`)
})
