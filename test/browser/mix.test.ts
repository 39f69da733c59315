import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { build as bundle } from 'esbuild'
import t from 'tap'
import { build, tokenFor } from '../support/build.ts'
import { openBrowser } from '../support/browser.ts'
import { speak } from '../support/mix.ts'
import { until } from '../support/retry.ts'
import type { mixPage } from './mix-page.ts'

declare global {
  interface Window {
    mixPage: typeof mixPage
  }
}

// Tests the mix in a browser. Two speakers send audio from Chromium, and the listener measures the spectrum of the mix.

t.test('a listener receives the three loudest tones and the music, as one stream of 50 packets per second', async (t) => {
  const { outputFiles: [script] } = await bundle({ entryPoints: [join(import.meta.dirname, 'mix-page.ts')], bundle: true, format: 'esm', write: false, target: 'es2022' })
  const site = createServer((request, response) => {
    response.setHeader('content-type', request.url === '/page.js' ? 'text/javascript' : 'text/html')
    response.end(request.url === '/page.js' ? script?.text : '<!doctype html><script type="module" src="/page.js"></script>')
  })
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve))
  t.teardown(() => site.close())
  const origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`
  const server = await build(t, { env: { FEATURES: 'auth,media,mix', CORS_ORIGINS: origin } })
  const page = await (await (await openBrowser(t, 440)).newContext()).newPage()
  page.on('pageerror', ({ message }) => t.fail(message))
  await page.goto(origin)
  await page.waitForFunction(() => window.mixPage !== undefined)

  await page.evaluate(async ([url, token]) => await window.mixPage.listen(url as string, token as string, 'r1'), [server.url, tokenFor(1)])
  const levels = (...hz: number[]) => page.evaluate((hz) => window.mixPage.levels(...hz), hz)
  const say = async (id: number, hz: number, gain: number) => await page.evaluate(async ({ url, token, hz, gain }) =>
    await window.mixPage.speak(url, token, 'r1', hz, gain), { url: server.url, token: tokenFor(id), hz, gain })
  await say(2, 400, 0.02)
  await until(async () => (await levels(400))[0] as number > -50)
  await say(3, 700, 0.2)
  // These speakers run in Node, because a speaker in Chromium takes more CPU time.
  for (const hz of [1100, 1700]) await speak(t, server.app, 'r1', { hz, amplitude: 0.2 })
  await speak(t, server.app, 'r1', { hz: 2500, amplitude: 0.01, source: 'music' })
  await until(async () => {
    const [fourth = 0, music = 0, ...tones] = await levels(400, 2500, 700, 1100, 1700)
    return fourth < -75 && music > -60 && tones.every((tone) => tone > -30)
  }, 30_000)
  const stats = async () => await page.evaluate(() => window.mixPage.stats())
  // On a busy machine, the mixer thread may skip packets, so one second of correct audio is enough.
  await until(async () => {
    const before = await stats()
    await until(async () => (await stats()).timestamp - before.timestamp > 1000)
    const after = await stats()
    const perSecond = (after.packetsReceived - before.packetsReceived) / (after.timestamp - before.timestamp) * 1000
    if (perSecond < 48 || perSecond > 52 || after.packetsLost > before.packetsLost) throw new Error(`${perSecond} packets per second, ${after.packetsLost - before.packetsLost} lost`)
    return true
  }, 30_000)
  t.equal(server.app.sfu.producersOf('r1').length, 5, 'four voices and the music')
})
