import { networkInterfaces } from 'node:os'
import t from 'tap'
import { play, publish, received } from '../features/whip/client.ts'
import { openBrowser } from '../support/browser.ts'
import { build, tokenFor } from '../support/build.ts'
import { expectToneIn, firefoxHz, openFirefox } from '../support/firefox.ts'
import { measureFrequency } from '../support/browser.ts'
import { until } from '../support/retry.ts'

t.test('Firefox and Chromium send with WHIP and play with WHEP', { timeout: 180_000 }, async (t) => {
  // Use another address, because Firefox ignores ICE candidates with loopback addresses.
  const address = Object.values(networkInterfaces()).flat().find((one) => one?.family === 'IPv4' && !one.internal)?.address
  if (address === undefined) return t.comment('this machine has no network')
  const server = await build(t, { env: { FEATURES: 'auth,media,seats,mix,whip', MEDIASOUP_LISTEN_IP: '0.0.0.0', MEDIASOUP_ANNOUNCED_IP: address } })
  const fox = await openFirefox(t)
  await fox.goto(`${server.url}/livez`)
  const context = await (await openBrowser(t, 440)).newContext({ permissions: ['microphone'] })
  const page = await context.newPage()
  await page.goto(`${server.url}/livez`)

  const fromFirefox = await fox.evaluate(publish, { url: `${server.url}/whip/r1`, token: tokenFor(1) })
  t.equal(fromFirefox.status, 201)
  const inChromium = await page.evaluate(play, { url: `${server.url}/whep/r1`, token: tokenFor(2), name: 'mix' })
  t.equal(inChromium.status, 201, inChromium.answer)
  await until(async () => (await page.evaluate(received)).packets > 200, 30_000)
  t.equal((await page.evaluate(received)).lost, 0)
  await until(async () => Math.abs(await page.evaluate(measureFrequency, 'mix') - firefoxHz) < 5, 30_000)

  t.equal((await page.evaluate(publish, { url: `${server.url}/whip/r2`, token: tokenFor(3) })).status, 201)
  const inFirefox = await fox.evaluate(play, { url: `${server.url}/whep/r2`, token: tokenFor(4), name: 'mix' })
  t.equal(inFirefox.status, 201, inFirefox.answer)
  t.match(inFirefox.answer, /a=rtpmap:109 opus/)
  await until(async () => (await fox.evaluate(received)).packets > 200, 30_000)
  t.equal((await fox.evaluate(received)).lost, 0)
  await expectToneIn(fox, 'mix', 440)
})
