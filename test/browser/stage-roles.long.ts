import t from 'tap'
import type { Page } from 'playwright-core'
import { startBackend } from '../support/backend.ts'
import { build } from '../support/build.ts'
import { act, give, onSeat, openBrowser, personOn, seatOn, sheetOf, visit } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// Tests that the page offers exactly those actions that the user's role in the backend allows. Ada owns the room, Bob
// is one of its admins, and Cyd is a member.

const backend = await startBackend(t)
const [server, browser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,gifts,laravel-bridge,stage', MEDIASOUP_WORKERS: '1', ...backend.env } }),
  openBrowser(t, 440)
])
const room = '7'

/** Reads the new guest's id from the session response and passes it to `become`. */
const as = (become: (userId: string) => void) => async (page: Page) => {
  await page.route('**/stage/session', async (route) => {
    if (route.request().method() !== 'POST') return await route.continue()
    const response = await route.fetch()
    become((await response.json() as { userId: string }).userId)
    await route.fulfill({ response })
  })
}

const ada = await visit(t, browser, server.url, { name: 'Ada', room, prepare: as((userId) => backend.rooms.set(room, userId)) })
await seatOn(ada, 'Seat 1: you').waitFor()
const bob = await visit(t, browser, server.url, { name: 'Bob', room, prepare: as((userId) => backend.roles.set(`${room}/${userId}`, 'admin')) })
await seatOn(bob, 'Seat 2: you').waitFor()
const cyd = await visit(t, browser, server.url, { name: 'Cyd', room, microphone: false })

t.test('an admin sees raised hands, invites, mutes and removes users, and locks seats', async (t) => {
  await cyd.getByRole('button', { name: 'Raise hand' }).click()
  for (const page of [ada, bob]) await page.getByRole('heading', { name: 'Raised hands (1)' }).waitFor()
  await bob.getByRole('button', { name: 'Invite Cyd to a seat' }).click()
  await cyd.context().grantPermissions(['microphone'])
  await cyd.getByRole('button', { name: 'Accept' }).click()
  await seatOn(bob, 'Seat 3: Cyd').waitFor()
  await act(bob, 'Cyd', 'Mute Cyd')
  await personOn(cyd, 'Cyd', 'muted').waitFor()
  await act(bob, 'Cyd', 'Remove Cyd from the seat')
  await seatOn(cyd, 'Take seat 3').waitFor()
  await onSeat(bob, 3, 'Lock seat 3')
  await seatOn(cyd, 'Seat 3 is locked').waitFor()
  t.pass('all actions match the contract')
})

t.test('an admin cannot assign seats or remove the owner', async (t) => {
  const sheet = await sheetOf(bob, 'Ada')
  await sheet.getByRole('button', { name: 'Mute Ada' }).waitFor()
  t.equal(await sheet.getByRole('button', { name: 'Remove Ada from the seat' }).count(), 0)
  await bob.keyboard.press('Escape')
  const other = await sheetOf(bob, 'Cyd')
  await other.getByRole('button', { name: 'Invite Cyd to a seat' }).waitFor()
  t.equal(await other.getByLabel('Assign Cyd to a seat').count(), 0)
  await bob.keyboard.press('Escape')
  await bob.locator('dialog').waitFor({ state: 'detached' })
  await bob.getByRole('button', { name: 'Options for seat 4' }).click()
  t.equal(await bob.getByRole('dialog').getByRole('button', { name: 'Assign Cyd to a seat' }).count(), 0)
  await bob.keyboard.press('Escape')
})

t.test('a member can only send gifts to other users', async (t) => {
  t.equal(await cyd.getByRole('button', { name: /^Options for seat/ }).count(), 0)
  const sheet = await sheetOf(cyd, 'Bob')
  await sheet.getByRole('button', { name: 'Send gift' }).waitFor()
  t.same(await sheet.getByRole('button').allTextContents(), ['✕', 'Send gift'])
})

t.test('charges a gift, and reports a rejected gift only to the sender', async (t) => {
  const [adasId, bobsId] = await Promise.all([ada, bob].map((page) => page.evaluate(() => String(window.flylive?.connection.greeting?.userId)))) as [string, string]
  backend.balances.set(bobsId, 1)
  await give(bob, 'Ada')
  for (const page of [ada, bob, cyd]) await page.getByRole('log').getByText('Bob gave Ada a rose').waitFor()
  await until(() => backend.ledger.size === 1)
  t.match([...backend.ledger.values()], [{ applied: 1, transaction: { room_id: room, sender_id: bobsId, recipient_id: adasId, gift_id: 1, quantity: 1 } }])
  await give(bob, 'Cyd')
  await bob.getByRole('log').getByText('Your gift was not sent: Insufficient balance').waitFor()
  t.equal(await ada.getByRole('log').getByText('was not sent').count(), 0)
  t.equal(backend.ledger.size, 1)
})

t.test('a user who closes the window leaves the room', async (t) => {
  const present = () => backend.statuses.filter(({ roomId }) => roomId === room).at(-1)?.status.participant_count
  await until(() => present() === 3)
  await cyd.context().close()
  await until(() => present() === 2)
  t.pass('the backend receives the new number of users')
})

t.test('rejects a room that does not exist in the backend', async (t) => {
  const page = await visit(t, browser, server.url, { name: 'Dan', room: 'nowhere', microphone: false })
  await page.getByRole('alert').filter({ hasText: 'nowhere' }).waitFor()
  t.equal(await page.getByRole('button', { name: 'Join', exact: true }).isVisible(), true)
  await page.context().close()
})
