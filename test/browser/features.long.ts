import t from 'tap'
import type { Page } from 'playwright-core'
import { expectTone, personOn, receptionOf, visit } from '../support/browser.ts'
import { startCall } from '../support/call.ts'
import { until } from '../support/retry.ts'
import { interruptMedia, listen, noted, statesIn, turn } from './features.ts'

// Disables and enables features during a call, more often than stage-trouble.test.ts does, and while users join.

const rounds = Number(process.env.ROUNDS ?? 10)
const call = await startCall(t, { env: { FEATURES: 'auth,media,seats,chat,stage' } })
const { server, ada, bob, bobsBrowser, hearEachOther } = call
const pages = [ada, bob]
await Promise.all(pages.map(listen))

t.test('disabling media stops the audio; enabling it restores the audio', async (t) => {
  let dan: Page | undefined
  await interruptMedia(t, call, async () => {
    dan = await visit(t, bobsBrowser, server.url, { name: 'Dan', room: 'r1', microphone: false })
    await dan.getByRole('status').filter({ hasText: 'Connected, no audio' }).waitFor()
    for (const page of pages) await personOn(page, 'Dan', 'listening').waitFor()
  })
  await Promise.all([expectTone(dan as Page, 'Ada', 440), expectTone(dan as Page, 'Bob', 1000)])
  await dan?.context().close()
  for (let round = 1; round < rounds; round++) await interruptMedia(t, call)
})

t.test('everyone may speak while the seats feature is off; only seated users may speak while it is on', async (t) => {
  const cyd = await visit(t, bobsBrowser, server.url, { name: 'Cyd', room: 'r1', microphone: false })
  await expectTone(cyd, 'Ada', 440)
  await listen(cyd)
  await turn(server, 'seats', 'disable')
  await cyd.getByRole('group', { name: 'Seats' }).waitFor({ state: 'hidden' })
  // Publish audio with the client package, because with the page's controls, Cyd would take a seat as soon as `seats`
  // is enabled.
  await cyd.context().grantPermissions(['microphone'])
  await cyd.evaluate(async () => {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } })
    await window.flylive?.audio?.publish(stream.getAudioTracks()[0] as MediaStreamTrack)
  })
  await expectTone(ada, 'Cyd', 1000)
  t.equal(server.app.sfu.producersOf('r1').length, 3)

  await turn(server, 'seats', 'enable')
  await until(async () => await receptionOf(ada, 'Cyd') === undefined)
  await personOn(ada, 'Cyd', 'listening').waitFor()
  t.equal(server.app.sfu.producersOf('r1').length, 2)
  await cyd.evaluate(() => window.flylive?.seats.takeFree())
  await expectTone(ada, 'Cyd', 1000)
  t.same(statesIn(await noted(cyd)), [], 'no request is rejected')
  await hearEachOther()
  await cyd.context().close()
})
