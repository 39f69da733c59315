import t from 'tap'
import type { Page } from 'playwright-core'
import { startBackend } from '../support/backend.ts'
import { build } from '../support/build.ts'
import { act, onSeat, openBrowser, personOn, seatOn, sheetOf, visit } from '../support/browser.ts'

// The page offers the actions that the backend's roles allow: Ada owns the room, Bob is
// an admin of the room, and Cyd is a member.

const backend = await startBackend(t)
const [server, browser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,gifts,laravel-bridge,stage', MEDIASOUP_WORKERS: '1', ...backend.env } }),
  openBrowser(t, 440)
])
const room = '7'

/** Calls `become` with the new guest's id, which is in the response of the session route. */
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

t.test('an admin sees raised hands, invites, mutes, removes and locks', async (t) => {
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
  await bob.getByRole('button', { name: 'Options of seat 4' }).click()
  t.equal(await bob.getByRole('dialog').getByRole('button', { name: 'Assign Cyd to a seat' }).count(), 0)
  await bob.keyboard.press('Escape')
})

t.test('a member controls only themselves', async (t) => {
  t.equal(await cyd.getByRole('button', { name: /^Options of seat/ }).count(), 0)
  const sheet = await sheetOf(cyd, 'Bob')
  await sheet.getByRole('button', { name: 'Send gift' }).waitFor()
  t.same(await sheet.getByRole('button').allTextContents(), ['✕', 'Send gift'])
})
