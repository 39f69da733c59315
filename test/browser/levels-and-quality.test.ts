import type { Page } from 'playwright-core'
import t from 'tap'
import { build, tokenFor } from '../support/build.ts'
import { expectTone, openBrowser } from '../support/browser.ts'
import type { PersonBrowser } from '../support/browser.ts'
import { clientSite } from '../support/client-page.ts'
import { until } from '../support/retry.ts'

// Tests audio levels and connection quality in a browser, on a page that contains only the client.

const site = await clientSite(t)
const [server, adasBrowser, bobsBrowser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media', CORS_ORIGINS: site.origin } }),
  openBrowser(t, 440),
  openBrowser(t, 1000)
])

/** Opens the page as a user who joins the room and optionally publishes audio. */
async function enter (browser: PersonBrowser, id: number, name: string, speaks: boolean): Promise<Page> {
  const page = await site.open(browser)
  await page.evaluate(async ({ url, token, speaks }) => {
    const room = window.flylive = new window.RoomClient({ url, token: () => token })
    room.audio?.on('added', ({ track }) => {
      document.body.append(Object.assign(new Audio(), { autoplay: true, srcObject: new MediaStream([track]) }))
    })
    await room.join('r1')
    if (!speaks) return
    // Noise suppression would remove a constant tone.
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } })
    await room.audio?.publish(stream.getAudioTracks()[0] as MediaStreamTrack)
  }, { url: server.url, token: tokenFor(id, { name }), speaks })
  return page
}

const levelsOn = (page: Page) => page.evaluate(() => [...window.flylive?.audio?.levels() ?? []])
const levelOf = async (page: Page, id: number) => new Map(await levelsOn(page)).get(String(id))
const qualityOn = (page: Page) => page.evaluate(() => window.flylive?.audio?.quality())
/** Returns the connection quality, measured over the next second. */
async function qualityFrom (page: Page) {
  await qualityOn(page)
  await page.waitForTimeout(1000)
  return await qualityOn(page)
}

/** Waits until the connection quality is good, which may take a while on a busy machine. */
const goodFrom = (page: Page) => until(async () => {
  const quality = await qualityFrom(page)
  return quality?.rating === 'good' && quality
})

let ada: Page
let bob: Page

t.test('a user who is alone in a room has no audio levels and no connection quality', async (t) => {
  bob = await enter(bobsBrowser, 2, 'Bob', false)
  await until(() => bob.evaluate(() => window.flylive?.audio?.state === 'on'))
  t.same(await levelsOn(bob), [])
  t.equal(await qualityOn(bob), undefined)
})

t.test('reports the levels of active speakers', async (t) => {
  ada = await enter(adasBrowser, 1, 'Ada', true)
  await expectTone(bob, 'Ada', 440)
  await until(async () => Number(await levelOf(bob, 1)) > 0.01)
  // Sample the level in 30 animation frames. The tone is continuous, so every level must be clearly above 0.
  const levels = await bob.evaluate(async () => {
    const levels: number[] = []
    while (levels.length < 30) {
      levels.push(window.flylive?.audio?.levels().get('1') ?? -1)
      await new Promise(requestAnimationFrame)
    }
    return levels
  })
  t.ok(levels.every((level) => level > 0.01 && level <= 1), levels.map((level) => level.toFixed(3)).join(' '))
  t.same(await levelsOn(ada), [], 'only Ada speaks')
})

t.test('measures quality in both directions', async (t) => {
  // If the machine pauses, a measurement contains too few packets.
  const [heard, sent] = await until(async () => {
    const both = await Promise.all([goodFrom(bob), goodFrom(ada)])
    return both[0].received.packets >= 25 && Number(both[1].sent?.packets) >= 25 && both
  }, 30_000)
  t.comment(JSON.stringify(heard))
  t.comment(JSON.stringify(sent))
  t.match(heard, { received: { lossRatio: Number }, roundTripMs: Number, route: { protocol: 'udp', remote: 'host', address: '127.0.0.1' } })
  t.ok(heard.received.bitsPerSecond > 5000)
  t.ok(heard.received.jitterMs >= 0)
  t.ok(Number(heard.roundTripMs) >= 0 && Number(heard.roundTripMs) <= 200)
  t.notOk('sent' in heard, 'Bob sends no audio')

  t.match(sent, { received: { packets: 0 }, sent: { lossRatio: Number, jitterMs: Number }, roundTripMs: Number, route: { protocol: 'udp' } })
  t.ok(Number(sent.sent?.bitsPerSecond) > 5000)
})

t.test('a muted user has no audio level and does not lower the connection quality', async (t) => {
  await ada.evaluate(() => window.flylive?.audio?.mute())
  await until(async () => await levelOf(bob, 1) === 0)
  // The first measurement may include packets that were in flight when Ada muted herself.
  const quality = await until(async () => {
    const good = await goodFrom(bob)
    return good.received.packets === 0 && good
  })
  t.match(quality, { received: { packets: 0, lossRatio: 0, bitsPerSecond: 0 } })
  t.equal(await levelOf(bob, 1), 0)
  await ada.evaluate(() => window.flylive?.audio?.unmute())
  await until(async () => Number(await levelOf(bob, 1)) > 0.01)
})

// levels-and-quality.long.ts sets ALL_CASES.
if (process.env.ALL_CASES !== undefined) {
  t.test('values are never negative when users join or leave', async (t) => {
    await qualityOn(bob)
    const cyd = await enter(bobsBrowser, 3, 'Cyd', true)
    await expectTone(bob, 'Cyd', 1000)
    await until(async () => (await levelsOn(bob)).every(([, level]) => level > 0.01))
    t.same((await levelsOn(bob)).map(([id]) => id).sort(), ['1', '3'])
    const both = await qualityOn(bob)
    await cyd.evaluate(() => window.flylive?.leave())
    await until(async () => (await levelsOn(bob)).length === 1)
    const one = await qualityFrom(bob)
    for (const quality of [both, one]) {
      const { packets, lossRatio, jitterMs, concealedRatio, bitsPerSecond } = quality?.received ?? {}
      for (const value of [packets, lossRatio, jitterMs, concealedRatio, bitsPerSecond]) t.ok(Number(value) >= 0 && Number.isFinite(value), JSON.stringify(quality))
    }
    t.ok(Number(one?.received.packets) >= 25)
    t.equal(await cyd.evaluate(() => window.flylive?.audio?.quality()), undefined, 'no quality after leaving')
    t.same(await levelsOn(cyd), [])
  })
}

t.test('omits the sending quality after the user unpublishes', async (t) => {
  await ada.evaluate(() => window.flylive?.audio?.unpublish())
  await until(async () => (await levelsOn(bob)).length === 0)
  t.notOk('sent' in (await qualityOn(ada) ?? {}))
})
