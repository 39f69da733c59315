import t from 'tap'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { build } from '../support/build.ts'
import { expectTone, openBrowser, personOn, receptionOf, visit } from '../support/browser.ts'
import type { Reception } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// Disables and enables features during a call; features.long.ts does so more often. Ada sends a 440 Hz tone, Bob a 1000
// Hz tone.

const [server, adasBrowser, bobsBrowser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,chat,stage' } }),
  openBrowser(t, 440),
  openBrowser(t, 1000)
])
const ada = await visit(t, adasBrowser, server.url, { name: 'Ada', room: 'r1' })
const bob = await visit(t, bobsBrowser, server.url, { name: 'Bob', room: 'r1' })
const pages = [ada, bob]
/** Number of times that media is disabled and enabled. */
const rounds = Number(process.env.ROUNDS ?? 1)

async function turn (feature: string, way: 'enable' | 'disable'): Promise<void> {
  const { status, body } = await server.admin('POST', `/admin/features/${feature}/${way}`)
  if (status !== 200) throw new Error(`${feature} ${way}: ${JSON.stringify(body)}`)
}

/** Records the state changes and errors of a page's audio, and the requests that the page sends. */
async function listen (page: Page): Promise<void> {
  await page.evaluate(() => {
    const { audio, connection } = window.flylive as NonNullable<typeof window.flylive>
    const heard: string[] = []
    Object.assign(window, { heard })
    audio?.on('state', (state, why) => heard.push(why ? `${state}: ${why.message}` : state))
    audio?.on('refused', (error) => heard.push(`refused: ${error.message}`))
    connection.on('error', ({ code }) => heard.push(`error: ${code}`))
    connection.request = new Proxy(connection.request, {
      apply (request, _this, args: Parameters<typeof connection.request>) {
        heard.push(`> ${args[0]}`)
        return Reflect.apply(request, connection, args)
      }
    })
  })
}

/** @returns what the page has recorded since the previous call */
const noted = (page: Page) => page.evaluate(() => (window as unknown as { heard: string[] }).heard.splice(0))
const statesIn = (notes: string[]) => notes.filter((note) => !note.startsWith('>'))

const hearEachOther = () => Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
const received = async () => [await receptionOf(bob, 'Ada'), await receptionOf(ada, 'Bob')] as [Reception, Reception]

/** Waits until both sides have received one second of audio (50 packets). */
async function keepsFlowing (t: Test, what: string): Promise<void> {
  const before = await received()
  const after = await until(async () => {
    const now = await received()
    return now.every((reception, i) => reception.packetsReceived >= (before[i]?.packetsReceived ?? 0) + 50) && now
  })
  t.same(after.map(({ producerId }) => producerId), before.map(({ producerId }) => producerId), `${what}: the streams are unchanged`)
  t.same(after.map(({ packetsLost }, i) => packetsLost - (before[i]?.packetsLost ?? 0)), [0, 0], `${what}: no packet is lost`)
}

t.test('disabling media stops the audio; enabling it restores the audio', async (t) => {
  await hearEachOther()
  await Promise.all(pages.map(listen))
  const before = await received()
  let dan: Page | undefined
  for (let round = 1; round <= rounds; round++) {
    await turn('media', 'disable')
    for (const page of pages) await page.getByRole('status').filter({ hasText: 'Connected, no audio' }).waitFor()
    t.equal(server.app.sfu.producersOf('r1').length, 0)
    for (const page of pages) {
      t.same(await page.evaluate(() => {
        const { audio, participants } = window.flylive as NonNullable<typeof window.flylive>
        return { state: audio?.state, publishing: audio?.publishing, heard: audio?.heard.length, producers: audio?.producers.length, silent: participants.every(({ microphone }) => microphone === 'none') }
      }), { state: 'off', publishing: true, heard: 0, producers: 0, silent: true })
    }
    if (round === 1) {
      dan = await visit(t, bobsBrowser, server.url, { name: 'Dan', room: 'r1', microphone: false })
      await dan.getByRole('status').filter({ hasText: 'Connected, no audio' }).waitFor()
      for (const page of pages) await personOn(page, 'Dan', 'listening').waitFor()
    }
    for (const page of pages) t.same(await noted(page), ['off'], `round ${round}: the audio stops without errors or requests`)

    await turn('media', 'enable')
    await hearEachOther()
    if (dan) {
      await Promise.all([expectTone(dan, 'Ada', 440), expectTone(dan, 'Bob', 1000)])
      await dan.context().close()
      dan = undefined
    }
    for (const page of pages) {
      await page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor()
      const notes = await noted(page)
      t.same(statesIn(notes), ['connecting', 'on'], `round ${round}: the audio recovers without errors`)
      t.equal(notes.filter((note) => note === '> room:join').length, 1)
      t.equal(notes.filter((note) => note === '> audio:produce').length, 1)
    }
    await keepsFlowing(t, `round ${round}`)
  }
  const after = await received()
  for (const [i, { producerId }] of after.entries()) t.not(producerId, before[i]?.producerId)
  t.equal(server.app.sfu.producersOf('r1').length, 2)
})

t.test('restores a muted user as muted', async (t) => {
  await ada.getByRole('button', { name: 'Mute', exact: true }).click()
  await personOn(bob, 'Ada', 'muted').waitFor()
  await turn('media', 'disable')
  await ada.getByRole('status').filter({ hasText: 'no audio' }).waitFor()
  await turn('media', 'enable')
  await expectTone(ada, 'Bob', 1000)
  await personOn(bob, 'Ada', 'muted').waitFor()
  await expectTone(bob, 'Ada', 0)
  await ada.getByRole('button', { name: 'Unmute' }).click()
  await expectTone(bob, 'Ada', 440)
  t.equal(server.app.sfu.producersOf('r1').length, 2)
})

t.test('disabling and enabling seats does not interrupt seated users', async (t) => {
  await Promise.all(pages.map(noted))
  const before = await received()
  await turn('seats', 'disable')
  for (const page of pages) await page.getByRole('group', { name: 'Seats' }).waitFor({ state: 'hidden' })
  await keepsFlowing(t, 'without seats')
  await turn('seats', 'enable')
  for (const page of pages) await page.getByRole('group', { name: 'Seats' }).waitFor()
  await keepsFlowing(t, 'with seats again')
  t.same((await received()).map(({ producerId }) => producerId), before.map(({ producerId }) => producerId))
  for (const page of pages) t.same(statesIn(await noted(page)), [])
})

t.test('everyone may speak without seats; only seated users may speak with seats', async (t) => {
  const cyd = await visit(t, bobsBrowser, server.url, { name: 'Cyd', room: 'r1', microphone: false })
  await expectTone(cyd, 'Ada', 440)
  await listen(cyd)
  await turn('seats', 'disable')
  await cyd.getByRole('group', { name: 'Seats' }).waitFor({ state: 'hidden' })
  // Publish with the client package. With the page's controls, the page would take a seat for Cyd once seats are
  // enabled.
  await cyd.context().grantPermissions(['microphone'])
  await cyd.evaluate(async () => {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } })
    await window.flylive?.audio?.publish(stream.getAudioTracks()[0] as MediaStreamTrack)
  })
  await expectTone(ada, 'Cyd', 1000)
  t.equal(server.app.sfu.producersOf('r1').length, 3)

  await turn('seats', 'enable')
  await until(async () => await receptionOf(ada, 'Cyd') === undefined)
  await personOn(ada, 'Cyd', 'listening').waitFor()
  t.equal(server.app.sfu.producersOf('r1').length, 2)
  await cyd.evaluate(() => window.flylive?.seats.takeFree())
  await expectTone(ada, 'Cyd', 1000)
  t.same(statesIn(await noted(cyd)), [], 'no request is rejected')
  await hearEachOther()
  await cyd.context().close()
})
