import t from 'tap'
import { build } from '../support/build.ts'
import { openBrowser, personOn, visit } from '../support/browser.ts'
import { createRejectingTurnServer, forwardMedia, unreachableAddress } from '../support/media.ts'
import { until } from '../support/retry.ts'

// In this test, clients cannot reach the announced address, and TURN_SECRET is wrong.

t.test('the stage reports missing audio without first showing "Connected" or "microphone on", and recovers', async (t) => {
  const [server, browser, turn] = await Promise.all([
    build(t, { env: { FEATURES: 'auth,media,seats,stage', MEDIASOUP_WORKERS: '1', MEDIASOUP_ANNOUNCED_IP: unreachableAddress } }),
    openBrowser(t, 440),
    createRejectingTurnServer(t)
  ])
  await server.app.features.configure('media', { turnUrls: [turn], turnSecret: 'the wrong secret' })
  const began = Date.now()
  const page = await visit(t, browser, server.url, {
    name: 'Ada',
    room: 'r1',
    prepare: async (page) => {
      await page.addInitScript(() => {
        const shown = new Set<string>()
        new MutationObserver(() => {
          for (const text of document.body?.innerText.match(/\bConnected\b|\bmicrophone on\b/g) ?? []) shown.add(text)
        }).observe(document, { subtree: true, childList: true, characterData: true })
        Object.assign(window, { shown })
      })
    }
  })
  const other = await visit(t, browser, server.url, { name: 'Bob', room: 'r1', microphone: false })
  const shown = () => page.evaluate(() => [...(window as unknown as { shown: Set<string> }).shown])
  const text = 'No audio: the media server cannot be reached, and the TURN server rejected you. Retrying…'
  for (const one of [page, other]) await one.getByRole('status').filter({ hasText: text }).waitFor()
  t.comment(`reported after ${Date.now() - began} ms`)
  await personOn(other, 'Ada', 'connecting').waitFor()
  t.same(await shown(), [])
  await personOn(page, 'Ada', 'connecting').waitFor()
  await page.getByRole('button', { name: /^Connection: / }).click()
  const sheet = page.getByRole('dialog', { name: 'Connection' })
  await sheet.getByText('No audio: the media server cannot be reached, and the TURN server rejected you.').waitFor()
  await sheet.getByText(new RegExp(`${unreachableAddress}:\\d+/udp`)).waitFor()
  await sheet.getByRole('button', { name: 'Close' }).click()
  t.match(await page.evaluate(() => window.flylive?.audio?.failure?.details), { reason: 'turn', turnErrors: [{ url: turn, code: 401 }] })

  await forwardMedia(t, server.app.sfu.workers()[0]?.port as number)
  await page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor({ timeout: 60_000 })
  await other.getByRole('status').filter({ hasText: /^Connected, listening$/ }).waitFor({ timeout: 60_000 })
  await until(async () => (await shown()).length === 2)
  await personOn(other, 'Ada', 'speaking').waitFor()
})
