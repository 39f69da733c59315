import t from 'tap'
import type { Locator } from 'playwright-core'
import { build, tokenFor } from '../support/build.ts'
import { openBrowser, personOn, sheetOf, visit } from '../support/browser.ts'

// Tests the buttons of a room's owner: what a double-click does, and what the room settings say. Ada owns the room; the
// other users have no browser.

const [server, browser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,seats,chat,moderation,stage', MEDIASOUP_WORKERS: '1' } }),
  openBrowser(t, 440)
])
const room = 'r1'
const ada = await visit(t, browser, server.url, { name: 'Ada', room, microphone: false })
ada.setDefaultTimeout(15_000)
await personOn(ada, 'Ada').waitFor()
const [bob, cyd] = await Promise.all(['Bob', 'Cyd'].map(async (name) => {
  const client = await server.connect(name, { token: tokenFor(name, { name }) })
  await client.ok('room:join', { roomId: room })
  return client
})) as [Awaited<ReturnType<typeof server.connect>>, Awaited<ReturnType<typeof server.connect>>]
const button = (name: string) => ada.getByRole('button', { name, exact: true })
const dialog = ada.getByRole('dialog')

/** Clicks at the middle of a button, as the second click of a double-click. */
async function clickAgain (target: Locator): Promise<void> {
  const { x, y, width, height } = await target.boundingBox() as { x: number, y: number, width: number, height: number }
  await ada.mouse.move(x + width / 2, y + height / 2)
  await ada.mouse.down({ clickCount: 2 })
  await ada.mouse.up({ clickCount: 2 })
}
/** Waits until the server has handled all requests of the page. */
const flush = () => ada.evaluate(() => window.flylive?.connection.request('room:participants', { limit: 1 }))

t.test('the second click of a double-click presses no button that appeared after the first click', async (t) => {
  for (const client of [bob, cyd]) await client.ok('seat:request')
  await ada.getByRole('heading', { name: 'Raised hands (2)' }).waitFor()
  await button('Lower Bob’s hand').click()
  await ada.getByRole('heading', { name: 'Raised hands (1)' }).waitFor()
  await clickAgain(button('Lower Cyd’s hand'))
  await flush()
  t.equal(await button('Lower Cyd’s hand').count(), 1, 'only one hand is lowered')
  await button('Lower Cyd’s hand').click()
  await button('Lower Cyd’s hand').waitFor({ state: 'detached' })

  const sheet = await sheetOf(ada, 'Bob')
  await clickAgain(sheet.getByRole('button', { name: 'Remove from room' }))
  await sheet.getByRole('button', { name: 'Make Bob the host' }).click()
  await clickAgain(sheet.getByRole('button', { name: 'Hand the room over to Bob?' }))
  await flush()
  t.equal(await sheet.getByRole('button', { name: 'Hand the room over to Bob?' }).count(), 1, 'nothing is confirmed, and Bob is still in the room')
  await ada.keyboard.press('Escape')

  await button('Room settings').click()
  await dialog.waitFor()
  await clickAgain(ada.locator('header').getByRole('button', { name: 'Room settings', includeHidden: true }))
  await dialog.getByRole('button', { name: 'Lock room' }).click()
  await dialog.getByText('Locked.').waitFor()
  t.pass('the dialog stays open')
  await dialog.getByRole('button', { name: 'Unlock room' }).click()
  await ada.keyboard.press('Escape')
})

t.test('a button that is pressed again before the reply sends no second request', async (t) => {
  await button('Take seat 1').click()
  await button('Leave seat').evaluate((leave: HTMLElement) => {
    leave.click()
    leave.click()
  })
  await button('Take seat 1').waitFor()
  await flush()
  t.equal(await ada.getByText('You do not have a seat').count(), 0)
})

t.test('the room settings show the result of each action', async (t) => {
  const sheet = await sheetOf(ada, 'Bob')
  await sheet.getByLabel('May join again').selectOption({ label: 'In 10 minutes' })
  await sheet.getByRole('button', { name: 'Remove from room' }).click()
  await personOn(ada, 'Bob').waitFor({ state: 'detached' })
  await button('Room settings').click()
  await dialog.getByText('Bob (Bob)').waitFor()
  await dialog.getByLabel('PIN for new people').fill('1234')
  await dialog.getByRole('button', { name: 'Lock room' }).click()
  await dialog.getByText('Locked. New people need the PIN.').waitFor()
  await dialog.getByRole('button', { name: 'Unlock room' }).click()
  await dialog.getByText('Unlocked. Everyone can join.').waitFor()

  await ada.evaluate(() => window.flylive?.connection.request('chat:slowMode', { seconds: 7 }))
  await dialog.getByRole('option', { name: '7 seconds' }).waitFor({ state: 'attached' })
  t.equal(await dialog.getByLabel('Slow mode').evaluate((select: HTMLSelectElement) => select.selectedOptions[0]?.text), '7 seconds')

  await ada.evaluate(() => {
    const { connection } = window.flylive as unknown as { connection: { request: () => Promise<never> } }
    connection.request = () => Promise.reject(Object.assign(new Error('No'), { code: 'FEATURE_DISABLED' }))
  })
  await dialog.getByRole('button', { name: 'Save' }).click()
  await dialog.getByRole('alert').filter({ hasText: 'This feature is turned off.' }).waitFor()
  t.equal(await dialog.getByText('Unlocked. Everyone can join.').count(), 0, 'the sheet covers the notice on the page, so the sheet shows the error')
})
