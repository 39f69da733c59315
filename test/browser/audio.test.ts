import t from 'tap'
import type { Page } from 'playwright-core'
import { act, expectTone, frequencyOf, getUp, give, personOn, receptionOf, seatOn, sheetOf, visit } from '../support/browser.ts'
import { startCall } from '../support/call.ts'
import { until } from '../support/retry.ts'

// Tests a complete call. Ada, the host, moderates the call and sends a 440 Hz tone. Bob sends a 1000 Hz tone.

const room = 'rehearsal'
const { server, ada, bob, bobsBrowser, keepsFlowing } = await startCall(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,lobby,moderation,stage', MEDIASOUP_WORKERS: '1' }, room })
const statusOf = (page: Page, text: string | RegExp) => page.getByRole('status').filter({ hasText: text }).waitFor()
const sends = (page: Page) => page.evaluate(() => window.flylive?.audio?.publishing)
let cyd: Page
const write = async (page: Page, text: string) => {
  await page.getByRole('textbox', { name: 'Message' }).fill(text)
  await page.getByRole('button', { name: 'Send', exact: true }).click()
}
const settings = async () => {
  await ada.getByRole('button', { name: 'Room settings' }).click()
  return ada.getByRole('dialog', { name: 'Room settings' })
}
const closeSheet = async () => {
  await ada.keyboard.press('Escape')
  await ada.locator('dialog').waitFor({ state: 'detached' })
}

t.test('two users receive each other\'s audio', async (t) => {
  const energies = async () => [await receptionOf(bob, 'Ada'), await receptionOf(ada, 'Bob')].map((reception) => reception?.totalAudioEnergy ?? 0)
  const before = await energies()
  await keepsFlowing(t, 'the call')
  for (const [i, energy] of (await energies()).entries()) t.ok(energy > (before[i] ?? 0), 'receives sound')
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

t.test('a user is silent after leaving a seat, and audible again on another seat', async (t) => {
  await getUp(bob)
  await statusOf(bob, 'Connected, listening')
  await personOn(ada, 'Bob', 'listening').waitFor()
  await until(async () => await receptionOf(ada, 'Bob') === undefined)
  t.equal(await sends(bob), false, 'the microphone is off')
  await seatOn(bob, 'Take seat 4').click()
  await expectTone(ada, 'Bob', 1000)
  await seatOn(ada, 'Seat 4: Bob').waitFor()
})

t.test('a user who changes seats sends a new stream', async (t) => {
  const before = await receptionOf(ada, 'Bob')
  await seatOn(bob, 'Take seat 5').click()
  await until(async () => ![undefined, before?.producerId].includes((await receptionOf(ada, 'Bob'))?.producerId))
  await expectTone(ada, 'Bob', 1000)
  await statusOf(bob, /^Connected$/)
  t.equal(server.app.sfu.producersOf(room).length, 2, 'the old producer is closed')
})

t.test('survives rapid seat changes', async (t) => {
  await bob.evaluate(async () => {
    const connection = window.flylive?.connection
    await Promise.all([1, 2, 3, 5, 6, 4].map((seatIndex) => connection?.request('seat:take', { seatIndex })))
  })
  await expectTone(ada, 'Bob', 1000)
  await seatOn(ada, 'Seat 5: Bob').waitFor()
  await until(() => server.app.sfu.producersOf(room).length === 2)
  await expectTone(bob, 'Ada', 440)
})

t.test('a user muted by the owner stays muted', async (t) => {
  await act(ada, 'Bob', 'Mute Bob')
  await statusOf(bob, 'Connected, muted by the host')
  for (const page of [ada, bob]) await personOn(page, 'Bob', 'muted').waitFor()
  await expectTone(ada, 'Bob', 0)

  t.equal(await bob.getByRole('button', { name: 'Muted by the host' }).isDisabled(), true)
  await bob.evaluate(() => {
    window.flylive?.audio?.mute()
    window.flylive?.audio?.unmute()
  })
  // The reply to this request proves that the server has handled Bob's earlier requests.
  await bob.evaluate(() => window.flylive?.connection.request('user:getRoom', { userId: 1 }))
  for (const page of [ada, bob]) t.equal(await personOn(page, 'Bob', 'muted').count(), 1)
  t.equal(await frequencyOf(ada, 'Bob'), 0)

  const entered = bob.evaluate(() => new Promise((resolve) => window.flylive?.on('entered', () => resolve(true))))
  const bobsId = await bob.evaluate(() => window.flylive?.connection.greeting?.sessionId)
  server.app.sockets.get(bobsId as string)?.terminate()
  await entered
  await until(() => server.app.sfu.producersOf(room).length === 2)
  await statusOf(bob, 'Connected, muted by the host')
  for (const page of [ada, bob]) await personOn(page, 'Bob', 'muted').waitFor()
  t.equal(await frequencyOf(ada, 'Bob'), 0, 'the mute continues after a reconnect')

  await seatOn(bob, 'Take seat 2').click()
  await seatOn(ada, 'Seat 2: Bob').waitFor()
  await until(() => server.app.sfu.producersOf(room).length === 2)
  t.equal(await frequencyOf(ada, 'Bob'), 0, 'the mute continues on another seat')

  await act(ada, 'Bob', 'Unmute Bob')
  await expectTone(ada, 'Bob', 1000)
  for (const page of [ada, bob]) await personOn(page, 'Bob', 'speaking').waitFor()
  await statusOf(bob, /^Connected$/)
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
  // When no more packets arrive, the decoder fades the audio out. The fade-out adds at most 1/10,000 of the energy of
  // one second of speech.
  t.ok(Number(after?.totalAudioEnergy) - Number(before?.totalAudioEnergy) < 1e-4)
  await expectTone(bob, 'Bob', 0)
  await expectTone(ada, 'Bob', 1000)

  await ada.getByRole('button', { name: 'Unmute' }).click()
  await expectTone(bob, 'Ada', 440)
  t.equal((await receptionOf(bob, 'Ada'))?.producerId, before?.producerId, 'the stream is unchanged')
  for (const page of [ada, bob, cyd]) await personOn(page, 'Ada', 'speaking').waitFor()
})

t.test('a user who leaves disappears from the pages of the other users', async (t) => {
  // Sending audio takes a lot of CPU time, so only Bob sends audio from here on.
  await ada.evaluate(() => window.flylive?.audio?.unpublish())
  await bob.getByRole('button', { name: 'Leave', exact: true }).click()
  await bob.getByRole('button', { name: 'Join', exact: true }).waitFor()
  for (const page of [ada, cyd]) await personOn(page, 'Bob').waitFor({ state: 'detached' })
  t.equal(await ada.evaluate(() => window.flylive?.audio?.heard.length), 0, 'their audio is removed')
  await until(() => [...server.app.sockets.all()].filter(({ roomId }) => roomId !== null).length === 2)
})

t.test('the host gives the room a title', async (t) => {
  const sheet = await settings()
  await sheet.getByLabel('Title').fill('Ada’s evening')
  await sheet.getByLabel('Topic').fill('Be kind')
  await sheet.getByRole('button', { name: 'Save' }).click()
  await sheet.getByText('Saved.').waitFor()
  await closeSheet()
  await cyd.getByRole('heading', { name: 'Ada’s evening' }).waitFor()
  await cyd.getByText('Be kind').waitFor()
  t.equal(await cyd.getByRole('button', { name: 'Room settings' }).count(), 0, 'guests have no settings')
})

t.test('the host mutes everyone, slows the chat and deletes a message', async (t) => {
  await bob.getByRole('button', { name: 'Join', exact: true }).click()
  await bob.getByRole('button', { name: 'Speak', exact: true }).click()
  await personOn(ada, 'Bob', 'speaking').waitFor()
  const sheet = await settings()
  await sheet.getByRole('button', { name: 'Mute everyone' }).click()
  await sheet.getByText('1 person muted.').waitFor()
  await personOn(cyd, 'Bob', 'muted').waitFor()
  await sheet.getByLabel('Slow mode').selectOption('60')
  await closeSheet()
  await bob.getByText('Slow mode: one message every 60 seconds.').first().waitFor()
  await write(bob, 'You are all boring')
  await cyd.getByText('You are all boring').waitFor()
  await write(bob, 'Boring!')
  await bob.getByText('Too many requests').waitFor()
  t.equal(await cyd.getByText('Boring!').count(), 0)
  t.equal(await cyd.getByRole('button', { name: /^Delete message/ }).count(), 0)
  await ada.getByRole('button', { name: 'Delete message from Bob' }).last().click()
  for (const page of [ada, cyd, bob]) await page.getByText('You are all boring').waitFor({ state: 'detached' })
})

t.test('the host removes, bans and unbans a user', async (t) => {
  await act(ada, 'Bob', 'Remove from room')
  await bob.getByText('You were removed from the room').waitFor()
  await seatOn(ada, 'Take seat 2').waitFor()
  await bob.getByRole('button', { name: 'Join', exact: true }).click()
  await personOn(ada, 'Bob').waitFor()
  const sheet = await sheetOf(ada, 'Bob')
  await sheet.getByLabel('May join again').selectOption('3600')
  await sheet.getByRole('button', { name: 'Remove from room' }).click()
  await bob.getByText('You were removed from the room').waitFor()
  await bob.getByRole('button', { name: 'Join', exact: true }).click()
  await bob.getByText('You are banned from this room').waitFor()
  const all = await settings()
  await all.getByRole('button', { name: /^Unban/ }).click()
  await all.getByRole('heading', { name: 'Banned people' }).waitFor({ state: 'detached' })
  await closeSheet()
  await bob.getByRole('button', { name: 'Join', exact: true }).click()
  await personOn(ada, 'Bob').waitFor()
  t.pass('the unbanned user has rejoined')
})

t.test('the host locks the room', async (t) => {
  await act(ada, 'Bob', 'Remove from room')
  const sheet = await settings()
  await sheet.getByRole('button', { name: 'Lock room' }).click()
  await sheet.getByText('Locked. Nobody else can join.').waitFor()
  await closeSheet()
  await cyd.getByRole('img', { name: 'Locked' }).waitFor()
  await bob.getByRole('button', { name: 'Join', exact: true }).click()
  await bob.getByText('This room is locked. Nobody else can join').waitFor()
  t.pass('the removed user cannot join the locked room')
})

t.test('the host appoints a moderator, then hands the room over; the new host ends the room', async (t) => {
  await act(ada, 'Cyd', 'Make Cyd a moderator')
  await cyd.getByRole('button', { name: 'Room settings' }).waitFor()
  t.equal(await (await sheetOf(cyd, 'Ada')).getByRole('button', { name: 'Remove from room' }).count(), 0, 'a moderator cannot remove the host')
  await cyd.keyboard.press('Escape')
  const sheet = await sheetOf(ada, 'Cyd')
  await sheet.getByRole('button', { name: 'Make Cyd the host' }).click()
  await sheet.getByRole('button', { name: 'Hand the room over to Cyd?' }).click()
  await cyd.getByRole('button', { name: 'Room settings' }).click()
  const end = cyd.getByRole('dialog', { name: 'Room settings' })
  await end.getByRole('button', { name: 'End room' }).click()
  await end.getByRole('button', { name: 'End the room for everyone?' }).click()
  for (const page of [ada, cyd]) await page.getByText('The room was closed').waitFor()
  t.equal((await server.admin('GET', `/admin/rooms/${room}`)).status, 404)
})

t.test('the page sends requests only to its own server', async (t) => {
  const hosts = await ada.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => new URL(name).host))
  t.same([...new Set(hosts)], [new URL(server.url).host])
})
