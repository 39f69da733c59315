import t from 'tap'
import type { Page } from 'playwright-core'
import { build } from '../support/build.ts'
import { expectTone, frequencyOf, give, openBrowser, personOn, receptionOf, visit } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// A call from beginning to end. Ada sends a 440 Hz tone, Bob a 1000 Hz tone.

const [server, adasBrowser, bobsBrowser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,stage' } }),
  openBrowser(t, 440),
  openBrowser(t, 1000)
])
const room = 'rehearsal'
const ada = await visit(t, adasBrowser, server.url, { name: 'Ada', room })
const bob = await visit(t, bobsBrowser, server.url, { name: 'Bob', room })
let cyd: Page

t.test('two users receive each other\'s audio', async (t) => {
  await Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
  t.comment(`measured: ${await frequencyOf(bob, 'Ada')} Hz and ${await frequencyOf(ada, 'Bob')} Hz`)
  for (const [page, name] of [[bob, 'Ada'], [ada, 'Bob']] as const) {
    const before = await receptionOf(page, name)
    const after = await until(async () => {
      const now = await receptionOf(page, name)
      return now !== undefined && now.packetsReceived >= (before?.packetsReceived ?? 0) + 50 && now
    })
    t.equal(after.packetsLost, 0, `loses no packet from ${name}`)
    t.ok(after.totalAudioEnergy > (before?.totalAudioEnergy ?? 0), `receives sound from ${name}`)
  }
  await ada.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor()
})

t.test('shows active speakers', async () => {
  for (const page of [ada, bob]) {
    await personOn(page, 'Ada', 'speaking').waitFor()
    await personOn(page, 'Bob', 'speaking').waitFor()
  }
})

t.test('delivers chat messages to everyone', async () => {
  await ada.getByLabel('Message').fill('Can you hear me?')
  await ada.getByRole('button', { name: 'Send' }).click()
  await bob.getByRole('log').getByText('Ada Can you hear me?').waitFor()
  await bob.getByLabel('Message').fill('Loud and clear')
  await bob.getByLabel('Message').press('Enter')
  await ada.getByRole('log').getByText('Bob Loud and clear').waitFor()
})

t.test('a late listener without a microphone receives audio and chat', async (t) => {
  cyd = await visit(t, bobsBrowser, server.url, { name: 'Cyd', room, microphone: false })
  await Promise.all([expectTone(cyd, 'Ada', 440), expectTone(cyd, 'Bob', 1000)])
  await cyd.getByRole('status').filter({ hasText: 'Connected, listening' }).waitFor()
  await personOn(ada, 'Cyd', 'listening').waitFor()
  t.match(await cyd.getByRole('log').locator('p').allTextContents(), [/^Ada Can you hear me\?/, /^Bob Loud and clear/])
})

t.test('shows a gift to everyone', async () => {
  await give(bob, 'Ada')
  for (const page of [ada, bob, cyd]) await page.getByRole('log').getByText('Bob gave Ada a rose').waitFor()
})

t.test('mutes and unmutes a user', async (t) => {
  await ada.getByRole('button', { name: 'Mute', exact: true }).click()
  await ada.getByRole('button', { name: 'Unmute' }).waitFor()
  await personOn(bob, 'Ada', 'muted').waitFor()
  await until(async () => await frequencyOf(bob, 'Ada') === 0)
  const before = await receptionOf(bob, 'Ada')
  t.equal(await frequencyOf(bob, 'Ada'), 0)
  const after = await receptionOf(bob, 'Ada')
  t.equal(after?.packetsReceived, before?.packetsReceived, 'no packets arrive during the mute')
  // When packets stop, the decoder fades out. The fade-out adds at most 1/10,000 of the energy in one second of speech.
  t.ok(Number(after?.totalAudioEnergy) - Number(before?.totalAudioEnergy) < 1e-4)
  await expectTone(bob, 'Bob', 0)
  await expectTone(ada, 'Bob', 1000)

  await ada.getByRole('button', { name: 'Unmute' }).click()
  await expectTone(bob, 'Ada', 440)
  t.equal((await receptionOf(bob, 'Ada'))?.producerId, before?.producerId, 'the stream is unchanged')
  for (const page of [ada, bob, cyd]) await personOn(page, 'Ada', 'speaking').waitFor()
})

t.test('a user who joins while another user is muted sees the mute, and receives audio after the unmute', async (t) => {
  await ada.getByRole('button', { name: 'Mute', exact: true }).click()
  await personOn(bob, 'Ada', 'muted').waitFor()
  const dan = await visit(t, bobsBrowser, server.url, { name: 'Dan', room, microphone: false })
  await expectTone(dan, 'Bob', 1000)
  await personOn(dan, 'Ada', 'muted').waitFor()
  await ada.getByRole('button', { name: 'Unmute' }).click()
  await expectTone(dan, 'Ada', 440)
  await dan.context().close()
  await personOn(ada, 'Dan').waitFor({ state: 'detached' })
})

t.test('removes a user who leaves', async (t) => {
  await ada.getByRole('button', { name: 'Leave', exact: true }).click()
  await ada.getByRole('button', { name: 'Join', exact: true }).waitFor()
  for (const page of [bob, cyd]) await personOn(page, 'Ada').waitFor({ state: 'detached' })
  t.equal(await bob.evaluate(() => window.flylive?.audio?.heard.length), 0, 'their audio is removed')
  await until(() => [...server.app.sockets.all()].filter(({ roomId }) => roomId !== null).length === 2)
})

t.test('sends no request to another host', async (t) => {
  const hosts = await ada.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => new URL(name).host))
  t.same([...new Set(hosts)], [new URL(server.url).host])
})
