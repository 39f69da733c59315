import t from 'tap'
import type { Page } from 'playwright-core'
import { startBackend } from '../support/backend.ts'
import { build } from '../support/build.ts'
import { act, allowMicrophone, expectTone, give, openBrowser, personOn, receptionOf, seatOn, sheetOf, visit } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// Simulates a whole evening in one room, and checks the pages of four users and the backend. Ada, the owner, sends a
// 440 Hz tone, Bob a 1000 Hz tone, and Cyd and Dan 2500 Hz tones.

const backend = await startBackend(t)
const [server, adasBrowser, bobsBrowser, cydsBrowser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,auto-close,laravel-bridge,stage', EMPTY_ROOM_SECONDS: '1', ...backend.env } }),
  openBrowser(t, 440),
  openBrowser(t, 1000),
  openBrowser(t, 2500)
])
const room = '42'
let ada: Page
let bob: Page
let cyd: Page
let dan: Page

/** Returns the room statuses that the backend has received, each as the number of members or as `ended`. */
const reported = () => backend.statuses.map(({ status }) => status.is_live ? status.participant_count : 'ended')
const backendReceived = (what: number | 'ended') => until(() => reported().at(-1) === what)
const statusOf = (page: Page, text: string | RegExp) => page.getByRole('status').filter({ hasText: text }).waitFor()
const idOf = (page: Page) => page.evaluate(() => String(window.flylive?.connection.greeting?.userId))
const logOf = (page: Page) => page.getByRole('log')

t.test('rejects a room that does not exist in the backend', async (t) => {
  const page = await visit(t, bobsBrowser, server.url, { name: 'Bob', room: 'nowhere', microphone: false })
  await page.getByRole('alert').filter({ hasText: 'nowhere' }).waitFor()
  t.equal(await page.getByRole('button', { name: 'Join', exact: true }).isVisible(), true)
  await page.context().close()
})

t.test('the owner opens the room', async (t) => {
  ada = await visit(t, adasBrowser, server.url, {
    name: 'Ada',
    room,
    prepare: async (page) => {
      // The response contains the new guest's id, which the test registers as the room's owner in the backend.
      await page.route('**/stage/session', async (route) => {
        if (route.request().method() !== 'POST') return await route.continue()
        const response = await route.fetch()
        backend.rooms.set(room, (await response.json() as { userId: string }).userId)
        await route.fulfill({ response })
      })
    }
  })
  await seatOn(ada, 'Seat 1: you').waitFor()
  await ada.getByRole('button', { name: 'Options for seat 2' }).waitFor()
  await backendReceived(1)
  t.equal(await idOf(ada), backend.rooms.get(room))
})

t.test('two users take seats and hear each other', async (t) => {
  bob = await visit(t, bobsBrowser, server.url, { name: 'Bob', room })
  await seatOn(bob, 'Seat 2: you').waitFor()
  await backendReceived(2)
  cyd = await visit(t, cydsBrowser, server.url, { name: 'Cyd', room })
  await seatOn(cyd, 'Seat 3: you').waitFor()
  await seatOn(cyd, 'Take seat 5').click()
  await seatOn(cyd, 'Seat 5: you').waitFor()
  await backendReceived(3)
  await Promise.all([
    expectTone(ada, 'Bob', 1000), expectTone(ada, 'Cyd', 2500),
    expectTone(bob, 'Ada', 440), expectTone(bob, 'Cyd', 2500),
    expectTone(cyd, 'Ada', 440), expectTone(cyd, 'Bob', 1000)
  ])
  for (const page of [bob, cyd]) {
    t.equal(await page.getByRole('button', { name: 'Options for seat 6' }).count(), 0, "only the owner sees the owner's buttons")
    const sheet = await sheetOf(page, 'Ada')
    await sheet.getByRole('button', { name: 'Send gift' }).waitFor()
    for (const name of ['Remove Ada from the seat', 'Mute Ada']) t.equal(await sheet.getByRole('button', { name }).count(), 0)
    await sheet.getByRole('button', { name: 'Close' }).click()
  }
})

t.test('a listener joins', async () => {
  dan = await visit(t, cydsBrowser, server.url, { name: 'Dan', room, microphone: false })
  await statusOf(dan, 'Connected, listening')
  await backendReceived(4)
  await Promise.all([expectTone(dan, 'Ada', 440), expectTone(dan, 'Bob', 1000), expectTone(dan, 'Cyd', 2500)])
})

t.test('the owner mutes a speaker for the listener', async (t) => {
  await act(ada, 'Bob', 'Mute Bob')
  await statusOf(bob, 'Connected, muted by the host')
  await Promise.all([expectTone(dan, 'Bob', 0), expectTone(cyd, 'Bob', 0)])
  const before = await receptionOf(dan, 'Bob')
  await expectTone(dan, 'Ada', 440)
  await expectTone(dan, 'Cyd', 2500)
  const after = await receptionOf(dan, 'Bob')
  t.equal(after?.producerId, before?.producerId)
  t.equal(after?.packetsReceived, before?.packetsReceived, 'no packets arrive during the mute')
  for (const page of [ada, bob, cyd, dan]) await personOn(page, 'Bob', 'muted').waitFor()
})

t.test('the owner removes the speaker', async (t) => {
  await act(ada, 'Bob', 'Remove Bob from the seat')
  for (const page of [ada, cyd, dan]) {
    await seatOn(page, 'Take seat 2').waitFor()
    await personOn(page, 'Bob', 'listening').waitFor()
    await until(async () => await receptionOf(page, 'Bob') === undefined)
  }
  await bob.getByRole('alert').filter({ hasText: 'removed from your seat' }).waitFor()
  await statusOf(bob, 'Connected, listening')
  t.equal(await bob.evaluate(() => window.flylive?.audio?.publishing), false, 'his microphone is off')
  t.equal(server.app.sfu.producersOf(room).length, 2)
  await expectTone(bob, 'Ada', 440)
})

t.test('the invited listener accepts and is heard', async () => {
  await act(ada, 'Dan', 'Invite Dan to a seat')
  await dan.getByText('You are invited to take seat 2').waitFor()
  await allowMicrophone(dan)
  await dan.getByRole('button', { name: 'Accept' }).click()
  await seatOn(dan, 'Seat 2: you').waitFor()
  await Promise.all([ada, bob, cyd].map((page) => expectTone(page, 'Dan', 2500)))
  await statusOf(dan, /^Connected$/)
  await dan.getByRole('button', { name: 'Accept' }).waitFor({ state: 'hidden' })
})

t.test('delivers chat messages to everyone', async () => {
  await dan.getByLabel('Message').fill('Glad to be here')
  await dan.getByRole('button', { name: 'Send' }).click()
  for (const page of [ada, bob, cyd, dan]) await logOf(page).getByText('Dan Glad to be here').waitFor()
})

t.test('charges a gift, and reports a rejected gift only to the sender', async (t) => {
  const [adasId, bobsId] = await Promise.all([idOf(ada), idOf(bob)])
  backend.balances.set(bobsId, 1)
  await give(bob, 'Ada')
  for (const page of [ada, bob, cyd, dan]) await logOf(page).getByText('Bob gave Ada a rose').waitFor()
  await until(() => backend.ledger.size === 1)
  t.match([...backend.ledger.values()], [{ applied: 1, transaction: { room_id: room, sender_id: bobsId, recipient_id: adasId, gift_id: 1, quantity: 1 } }])
  await give(bob, 'Dan')
  await logOf(bob).getByText('Your gift was not sent: Insufficient balance').waitFor()
  t.equal(await logOf(ada).getByText('was not sent').count(), 0)
  t.equal(backend.ledger.size, 1)
})

t.test('closes the empty room; the backend receives every status', async (t) => {
  for (const [left, page] of [[3, dan], [2, cyd], [1, bob]] as const) {
    await page.getByRole('button', { name: 'Leave', exact: true }).click()
    await backendReceived(left)
  }
  // Closing the window makes the user leave the room.
  await ada.context().close()
  await backendReceived('ended')
  t.equal((await server.admin('GET', `/admin/rooms/${room}`)).status, 404)
  const live = reported().filter((what, i, all) => !(what === 0 && all[i + 1] === 'ended'))
  t.same(live, [0, 1, 2, 3, 4, 3, 2, 1, 'ended'])
  t.ok(backend.statuses.every(({ roomId }) => roomId === room))
  const { started_at: startedAt } = backend.statuses[0]?.status ?? {}
  const { ended_at: endedAt, participant_count: left } = backend.statuses.at(-1)?.status ?? {}
  t.ok(Date.parse(startedAt ?? '') < Date.parse(endedAt ?? ''))
  t.equal(left, 0)
})
