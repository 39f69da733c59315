import t from 'tap'
import type { Page } from 'playwright-core'
import { allowMicrophone, expectTone, nextSoundFrom, personOn, receptionOf, seatOn } from '../support/browser.ts'
import { startCall } from '../support/call.ts'
import { createProxy } from '../support/proxy.ts'
import type { Proxy as NetworkProxy } from '../support/proxy.ts'
import { until } from '../support/retry.ts'
import { interruptMedia, listen, noted, statesIn, turn } from './features.ts'

// Tests how the stage reacts to failures and disabled features during a call. The tests of longer failures are in
// stage-trouble.long.ts, reconnect.long.ts, worker-death.long.ts and features.long.ts.

const room = 'r1'
const complaints: string[] = []
let network: NetworkProxy | undefined
const call = await startCall(t, {
  env: { FEATURES: 'auth,media,seats,chat,gifts,reactions,stage', MEDIASOUP_WORKERS: '1' },
  room,
  // Use a proxy, because Chromium's offline mode does not close open connections.
  async bobsUrl ({ url }) {
    network = await createProxy(t, () => Number(new URL(url).port))
    return `http://127.0.0.1:${network.port}`
  },
  async prepare (page) {
    page.setDefaultTimeout(15_000)
    // Ignore the errors that the browser logs while a test makes the server unreachable.
    page.on('console', (message) => { if (message.type() === 'error' && !/WebSocket connection|Failed to load resource/.test(message.text())) complaints.push(message.text()) })
  }
})
const { server, ada, bob, hearEachOther } = call
const pages = [ada, bob]
const statusOf = (page: Page, text: string | RegExp) => page.getByRole('status').filter({ hasText: text }).waitFor()
const alertOf = (page: Page, text: string) => page.getByRole('alert').filter({ hasText: text }).waitFor()
const button = (page: Page, name: string | RegExp) => page.getByRole('button', { name, exact: typeof name === 'string' })
const sessionOf = async (page: Page) => await page.evaluate(() => window.flylive?.connection.greeting?.sessionId) as string

t.test('recovers from a network outage', async (t) => {
  await bob.evaluate(() => { window.name = 'not loaded again' })
  const say = (content: string) => ada.evaluate(async (content) => String((await window.flylive?.connection.request('chat:message', { content }))?.id), content)
  await say('Good evening')
  const deletedId = await say('To be deleted')
  await bob.getByText('To be deleted').waitFor({ state: 'attached' })
  await bob.getByLabel('Message').fill('half a sen')
  const sessionId = await sessionOf(bob)
  await Promise.all([network?.cut(), bob.context().setOffline(true)])
  await statusOf(bob, 'Reconnecting…')
  t.equal(await bob.getByRole('heading', { name: room }).isVisible(), true, 'the room stays visible')
  await button(ada, /^Seat \d: Reconnecting user$/).waitFor()
  await server.app.features.getFeature('chat')?.deleteMessage(room, deletedId, 1, () => {})
  await network?.listen()
  await bob.context().setOffline(false)
  await statusOf(bob, /^Connected$/)
  await bob.getByText('To be deleted').waitFor({ state: 'detached' })
  t.equal(await bob.getByText('Good evening').count(), 1)
  await hearEachOther()
  t.not(await sessionOf(bob), sessionId)
  t.equal(await bob.evaluate(() => window.name), 'not loaded again')
  t.equal(await bob.getByLabel('Message').inputValue(), 'half a sen', 'the draft message is kept')
  await bob.getByLabel('Message').fill('')
})

t.test('all clients reconnect', async (t) => {
  const before = [...server.app.sockets.all()].map(({ id }) => id)
  const sounds = await Promise.all([nextSoundFrom(bob, 'Ada'), nextSoundFrom(ada, 'Bob')])
  const lostAt = Date.now()
  for (const session of server.app.sockets.all()) session.terminate()
  const times = await Promise.all(sounds.map((sound) => sound.arrived()))
  t.comment(`Ada and Bob are audible again after ${times.map((at) => at - lostAt).join(' and ')} ms`)
  await hearEachOther()
  t.equal((await receptionOf(bob, 'Ada'))?.packetsLost, 0)
  for (const page of pages) {
    await statusOf(page, /^Connected$/)
    t.equal(await page.getByRole('list', { name: 'In the room' }).getByRole('listitem').count(), 2, 'no user is listed twice')
    await seatOn(page, page === ada ? 'Seat 2: Bob' : 'Seat 1: Ada').waitFor()
  }
  t.notOk([...server.app.sockets.all()].some(({ id }) => before.includes(id)))
})

t.test('a muted client reconnects and stays muted', async (t) => {
  const bobs = await receptionOf(ada, 'Bob')
  await button(ada, 'Mute').click()
  await personOn(bob, 'Ada', 'muted').waitFor()
  const adasId = await sessionOf(ada)
  server.app.sockets.get(adasId)?.terminate()
  await until(() => ada.evaluate((id) => window.flylive?.state === 'in' && window.flylive.connection.greeting?.sessionId !== id, adasId))
  await until(() => server.app.sfu.producersOf(room).some(({ isPaused }) => isPaused))
  await expectTone(bob, 'Ada', 0)
  await button(ada, 'Unmute').click()
  await expectTone(bob, 'Ada', 440)
  t.equal(server.app.sfu.producersOf(room).some(({ producerId }) => producerId === bobs?.producerId), true, 'Bob keeps his producer')
})

t.test('restores audio when the only media worker is killed', async (t) => {
  const pid = server.app.sfu.workers()[0]?.pid as number
  const sounds = await Promise.all([nextSoundFrom(bob, 'Ada'), nextSoundFrom(ada, 'Bob')])
  const killedAt = Date.now()
  process.kill(pid, 'SIGKILL')
  const times = (await Promise.all(sounds.map((sound) => sound.arrived()))).map((at) => at - killedAt)
  t.comment(`audible again after ${times.join(' and ')} ms`)
  t.ok(times.every((ms) => ms < 5000), 'both are audible again within 5 s, even on a busy machine')
  await hearEachOther()
  for (const page of pages) await statusOf(page, /^Connected$/)
  t.equal(server.app.sfu.producersOf(room).length, 2, 'only the new producers exist')
})

t.test('explains a blocked microphone', async (t) => {
  await button(bob, 'Leave seat').click()
  await statusOf(bob, 'Connected, listening')
  await bob.context().clearPermissions()
  await button(bob, 'Speak').click()
  await alertOf(bob, 'Your browser blocks the microphone. Allow the microphone with the icon next to the address bar, then try again.')
  await statusOf(bob, 'Connected, listening')
  t.equal(await bob.getByRole('group', { name: 'Seats' }).getByRole('button', { name: /you/ }).count(), 0, 'a user without a microphone takes no seat')
  await allowMicrophone(bob)
  await button(bob, 'Try again').click()
  await statusOf(bob, /^Connected$/)
  await expectTone(ada, 'Bob', 1000)
  t.equal(await bob.getByRole('alert').count(), 0)
})

/** Mutes or unmutes Bob's microphone (as the operating system does during a phone call), or ends the track. */
const microphoneEvent = (type: 'mute' | 'unmute' | 'ended') => bob.evaluate((type) => {
  const track = window.flylive?.audio?.sender?.track as MediaStreamTrack
  Object.defineProperty(track, 'muted', { value: type === 'mute', configurable: true })
  track.dispatchEvent(new Event(type))
}, type)

t.test('shows a microphone that the device mutes, and recovers when the device unmutes it', async (t) => {
  await microphoneEvent('mute')
  await statusOf(bob, 'Connected, microphone paused by your device')
  t.equal(await bob.evaluate(() => window.flylive?.audio?.microphone), 'interrupted')
  for (const page of [ada, bob]) await personOn(page, 'Bob', 'muted').waitFor()
  await microphoneEvent('unmute')
  await statusOf(bob, /^Connected$/)
  await personOn(ada, 'Bob', 'speaking').waitFor()
  await expectTone(ada, 'Bob', 1000)
})

t.test('replaces a microphone that is disconnected', async (t) => {
  const trackId = await bob.evaluate(() => window.flylive?.audio?.sender?.track?.id)
  await microphoneEvent('ended')
  await alertOf(bob, 'Microphone disconnected. Using another one.')
  await statusOf(bob, /^Connected$/)
  await bob.waitForFunction((id) => window.flylive?.audio?.sender?.track?.id !== id, trackId)
  await expectTone(ada, 'Bob', 1000)
})

t.test('disabling media stops the audio; enabling it restores the audio', async (t) => {
  await Promise.all(pages.map(listen))
  await interruptMedia(t, call)
})

t.test('a muted user is still muted when the audio is restored', async (t) => {
  await button(ada, 'Mute').click()
  await personOn(bob, 'Ada', 'muted').waitFor()
  await turn(server, 'media', 'disable')
  await statusOf(ada, 'no audio')
  await turn(server, 'media', 'enable')
  await expectTone(ada, 'Bob', 1000)
  await personOn(bob, 'Ada', 'muted').waitFor()
  await expectTone(bob, 'Ada', 0)
  await button(ada, 'Unmute').click()
  await expectTone(bob, 'Ada', 440)
  t.equal(server.app.sfu.producersOf(room).length, 2)
})

t.test('disabling and enabling seats does not interrupt seated users', async (t) => {
  await Promise.all(pages.map(noted))
  await turn(server, 'seats', 'disable')
  for (const page of pages) await page.getByRole('group', { name: 'Seats' }).waitFor({ state: 'hidden' })
  t.same(await ada.getByRole('region', { name: 'Your controls' }).getByRole('button').evaluateAll((buttons) => buttons.map((button) => button.ariaLabel ?? button.textContent)), ['Mute', 'Stop speaking', '🙂 React', 'Sound'])
  await call.keepsFlowing(t, 'without seats')
  await turn(server, 'seats', 'enable')
  for (const page of pages) await page.getByRole('group', { name: 'Seats' }).waitFor()
  await call.keepsFlowing(t, 'with seats again')
  for (const page of pages) t.same(statesIn(await noted(page)), [])
  // Stop the audio, because it takes a lot of CPU time and the remaining tests do not need it.
  for (const page of pages) await page.evaluate(() => window.flylive?.audio?.unpublish())
})

t.test('hides disabled features and shows them again', async (t) => {
  const controls = { chat: () => ada.getByLabel('Message'), reactions: () => button(ada, 'React') }
  for (const [feature, control] of Object.entries(controls)) {
    await control().waitFor()
    await turn(server, feature, 'disable')
    await control().waitFor({ state: 'detached' })
    await turn(server, feature, 'enable')
    await control().waitFor()
  }
  await turn(server, 'gifts', 'disable')
  await personOn(ada, 'Bob').getByRole('button').click()
  await ada.getByRole('dialog', { name: 'Bob' }).waitFor()
  t.equal(await ada.getByRole('button', { name: 'Send gift' }).count(), 0)
  await turn(server, 'gifts', 'enable')
  await ada.getByRole('button', { name: 'Send gift' }).waitFor()
  await ada.keyboard.press('Escape')
  for (const feature of ['chat', 'gifts']) await turn(server, feature, 'disable')
  await ada.getByRole('log').waitFor({ state: 'detached' })
  for (const feature of ['chat', 'gifts']) await turn(server, feature, 'enable')
  await ada.getByRole('log').waitFor()
})

t.test('handles a kick and a closed room', async (t) => {
  const userId = await bob.evaluate(() => window.flylive?.connection.greeting?.userId)
  t.equal((await server.admin('POST', `/admin/rooms/${room}/kick`, { userId, banSeconds: 60 })).status, 204)
  await alertOf(bob, 'You were removed from the room.')
  // The user must scroll to the button, and the page must then scroll back to the message.
  await bob.setViewportSize({ width: 360, height: 500 })
  await personOn(ada, 'Bob').waitFor({ state: 'detached' })
  await until(() => [...server.app.sockets.all()].filter(({ roomId }) => roomId !== null).length === 1)
  await button(bob, 'Join').click()
  await alertOf(bob, 'You are banned')
  await until(() => bob.getByText('You are banned').evaluate((message) => message.getBoundingClientRect().top > 0))
  await server.admin('POST', `/admin/rooms/${room}/close`, { reason: 'closed_by_admin' })
  await alertOf(ada, 'The room was closed')
  t.equal(await ada.getByLabel('Room', { exact: true }).inputValue(), room)
})

t.test('no page logs an unexpected error', async (t) => {
  t.same(complaints, [])
})
