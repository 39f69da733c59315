import t from 'tap'
import type { Test } from 'tap'
import { wrongKeys } from '../../../plugins/redis/lockout.ts'
import { violationsOf } from '../../support/axe.ts'
import { adminKey, build } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { until } from '../../support/retry.ts'
import { produce } from '../seats/scene.ts'
import { alerted, announces, env, features, give, gone, heading, open, phone, press } from './admin-page.ts'

// Tests the most important pages on one server. admin-page.long.ts tests the other pages and the keyboard.

const folder = featureFolder(t)
folder.write('hello', { 'index.ts': saying('hello', 'one') })
folder.write('world', { 'index.ts': saying('world', 'one', { dependencies: ['hello'] }) })
const server = await build(t, { env: { ...env, FEATURES: `${features},hello,world`, FEATURES_PATH: folder.path } })
const page = await open(t, server, '#features')

/** Checks the current page on a phone in dark mode. */
async function expectAccessible (t: Test, what: string): Promise<void> {
  const before = page.viewportSize()
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.setViewportSize(phone)
  t.same(await violationsOf(page), [], what)
  t.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${what} fits into ${phone.width} pixels`)
  await page.emulateMedia({ colorScheme: 'light' })
  if (before) await page.setViewportSize(before)
}

/** The page polls when its tab becomes visible, so the test need not wait for the next poll. */
const lookAgain = () => page.evaluate(() => { document.dispatchEvent(new Event('visibilitychange')) })

t.test('the key opens the page only in the current tab', async (t) => {
  t.equal(await page.title(), 'Admin key · FlyLive admin')
  await press(page, 'Enter')
  await alerted(page, 'Enter a key.')
  for (const wrong of ['nonsense', 'kľúč']) {
    await give(page, wrong)
    await alerted(page, 'Wrong key.')
  }
  t.equal(await page.evaluate(() => document.activeElement?.getAttribute('type')), 'password', 'the key field has the focus')
  await give(page, adminKey)
  await heading(page, 'Features').waitFor()
  await until(async () => await page.title() === 'Features · FlyLive admin')
  t.same(await page.evaluate((key) => [Object.values(sessionStorage).includes(key), localStorage.length, document.cookie], adminKey), [true, 0, ''])

  await page.reload()
  await heading(page, 'chat').waitFor()
  const other = await page.context().newPage()
  await other.goto(`${server.url}/admin`)
  await other.getByLabel('Admin key', { exact: true }).waitFor()
  await other.close()

  // Simulates a server whose admin key has changed.
  await page.route('**/admin/rooms?*', (route) => route.fulfill({ status: 401, json: { error: { code: 'UNAUTHORIZED', message: 'no' } } }))
  await page.getByRole('link', { name: 'Rooms' }).click()
  await alerted(page, 'The server no longer accepts this key.')
  t.equal(await page.evaluate(() => sessionStorage.length), 0)
  await page.unroute('**/admin/rooms?*')
  await give(page, adminKey)
  await heading(page, 'Rooms').waitFor()

  await page.context().setOffline(true)
  await announces(page, 'The server cannot be reached.')
  await page.context().setOffline(false)
  await gone(page.getByText('The server cannot be reached.'))

  await press(page, 'Forget key')
  await announces(page, 'Key removed.')
  t.equal(await page.evaluate(() => sessionStorage.length), 0)
  await Promise.all(Array.from({ length: wrongKeys.tries }, () => fetch(`${server.url}/admin/features`, { headers: { authorization: 'Bearer wrong' } })))
  await give(page, 'wrong')
  await alerted(page, /Too many wrong keys from your address. Try again in \d+ min/)
  await give(page, adminKey)
  await heading(page, 'Rooms').waitFor()
})

t.test('shows live rooms, closes rooms and removes members', async (t) => {
  await page.getByText('No active rooms.').waitFor()

  const [ada, bob, eve] = [await server.connect(1), await server.connect(2), await server.connect(3)]
  await ada.ok('room:join', { roomId: 'talk', seatCount: 4 })
  await Promise.all([bob, eve].map((client) => client.ok('room:join', { roomId: 'talk' })))
  await ada.ok('seat:take', { seatIndex: 0 })
  await produce(ada)
  await ada.ok('seat:lock', { seatIndex: 3 })
  await ada.ok('seat:invite', { userId: 2, seatIndex: 1 })
  await eve.ok('seat:request')
  const row = page.getByRole('row').filter({ has: page.getByRole('rowheader', { name: 'talk' }) })
  await row.filter({ hasText: /^talk1311\d+ s/ }).waitFor()
  // Without the `auto-close` feature, the rooms remain after their owners leave.
  const owners = await Promise.all(['o1', 'o2', 'o3', 'o4'].map((id) => server.connect(id)))
  await Promise.all(owners.map(async (client, o) => {
    for (let i = 0; i < 13; i++) await client.ok('room:join', { roomId: `crowd-${o}-${i}` })
  }))
  await lookAgain()
  await page.getByText('50 rooms').waitFor()
  await press(page, 'Show more')
  await page.getByText('53 rooms').waitFor()
  t.equal(await page.getByRole('button', { name: 'Show more' }).count(), 0)
  await page.getByLabel('Filter by room or owner').fill('talk')
  await page.getByText('1 of 53').waitFor()
  await page.getByLabel('Filter by room or owner').fill('nowhere')
  await page.getByText('No matching rooms.').waitFor()
  await page.getByRole('link', { name: 'Open room nowhere' }).click()
  await alerted(page, 'Room not found.')
  await page.getByRole('link', { name: 'All rooms' }).click()
  t.equal(await page.getByLabel('Filter by room or owner').inputValue(), 'nowhere', 'the filter is kept')
  await page.getByLabel('Filter by room or owner').fill('')

  await page.getByLabel('User ID').fill('u'.repeat(200))
  t.equal((await page.getByLabel('User ID').inputValue()).length, 128, 'the field accepts no id that the server rejects')
  await page.getByLabel('User ID').fill('1')
  await press(page, 'Look up')
  await page.getByText('Has seat 1.').waitFor()
  await page.getByLabel('User ID').fill('nobody')
  await page.keyboard.press('Enter')
  await page.getByText('nobody is not connected to any server.').waitFor()

  await page.getByRole('link', { name: 'talk' }).click()
  t.match(page.url(), /#rooms\/talk$/)
  await heading(page, 'Room talk').waitFor()
  const seats = page.getByRole('table', { name: 'Seats' })
  for (const text of ['Seat 1User 1', 'Seat 2FreeUser 2 is invited', 'Seat 4Freelocked']) await seats.getByRole('row').filter({ hasText: text }).waitFor()
  await page.getByRole('table', { name: 'Transports' }).getByRole('row').filter({ hasText: 'User 1sends' }).waitFor()
  await page.getByRole('row', { name: 'User 1 Owner 1 Seat 1 microphone on' }).waitFor()
  await page.getByRole('listitem').filter({ hasText: /^\s*User 3\s*$/ }).waitFor()

  await page.getByLabel('Number of seats').selectOption('6')
  await press(page, 'Change')
  await announces(page, 'The room now has 6 seats.')
  await seats.getByRole('row').filter({ hasText: 'Seat 6' }).waitFor()

  await press(page, 'Kick User 2')
  await press(page.getByRole('dialog'), 'Cancel')
  t.equal(await page.evaluate(() => document.activeElement?.getAttribute('aria-label')), 'Kick User 2', 'the focus is kept')
  await press(page, 'Kick User 2')
  await press(page.getByRole('dialog'), 'Kick')
  await announces(page, 'User 2 was kicked.')
  t.match(await bob.closed, { code: 4403 })
  await lookAgain()
  await gone(page.getByRole('button', { name: 'Kick User 2' }))

  await press(page, 'Kick User 3')
  await page.getByLabel('Ban').selectOption({ label: 'For an hour' })
  await press(page.getByRole('dialog'), 'Kick')
  await announces(page, 'User 3 was kicked and banned for 1 h.')
  t.match(await eve.closed, { code: 4403 })
  const again = await server.connect(3)
  t.equal(await again.fails('room:join', { roomId: 'talk' }), 'BANNED')
  await page.getByLabel('User ID').fill('3')
  await press(page, 'Remove ban')
  await announces(page, '3 can join talk again.')
  await again.ok('room:join', { roomId: 'talk' })
  await lookAgain()
  await page.getByRole('button', { name: 'Kick User 3' }).waitFor()

  await expectAccessible(t, 'a room')

  await press(page, 'Close room')
  await page.getByLabel('Reason sent to clients').fill('good night')
  await press(page, 'Close the room')
  await announces(page, 'Room talk closed.')
  t.match(await ada.event('room:closed'), { roomId: 'talk', reason: 'good night' })
  await heading(page, 'Rooms').waitFor()
})

t.test('toggles, reloads and configures features', async (t) => {
  await page.evaluate(() => { location.hash = '#features' })
  const card = (name: string) => page.getByRole('listitem').filter({ has: heading(page, name) })
  const dialog = page.getByRole('dialog')

  await press(page, 'Turn off: hello')
  await press(dialog, 'Turn off')
  await dialog.getByText('Required by world.').waitFor()
  await press(dialog, 'Turn off all')
  await announces(page, 'hello is off. Also: world.')
  await press(page, 'Turn on: world')
  await dialog.getByText('Requires hello, which is off.').waitFor()
  await press(dialog, 'Turn on all')
  await announces(page, 'world is on. Also: hello.')
  t.equal((await fetch(`${server.url}/hello`)).status, 200)

  folder.write('hello', { 'index.ts': saying('hello', 'two') })
  await press(page, 'Reload: hello')
  await announces(page, /hello reloaded \(generation \d/)
  t.same(await (await fetch(`${server.url}/hello`)).json(), { text: 'two' })
  folder.write('hello', { 'index.ts': saying('hello', 'three', { before: 'throw new Error("out of order")' }) })
  await press(page, 'Reload: hello')
  await announces(page, 'Feature hello failed to load: out of order')
  await card('hello').getByText(/out of order \(.*hello\/index\.ts:\d+\)/).waitFor()
  t.same(await (await fetch(`${server.url}/hello`)).json(), { text: 'two' }, 'the running version keeps working')

  await card('world').locator('summary').click()
  await card('world').getByText('GET /world').waitFor()
  await card('world').getByText('world:say').waitFor()

  folder.write('later', { 'index.ts': saying('later', 'one') })
  await press(page, 'Rescan')
  await announces(page, 'Added: later.')
  await card('later').waitFor()
  await expectAccessible(t, 'features')

  const chat = async () => ((await server.admin('GET', '/admin/features')).body?.features as { name: string, config: unknown }[]).find(({ name }) => name === 'chat')?.config
  await press(page, 'Settings: chat')
  await press(dialog, 'Save')
  await announces(page, 'No changes.')
  await press(page, 'Settings: chat')
  const history = dialog.getByLabel('history')
  for (const [text, problem] of [['many', 'Enter a number.'], ['-1', 'Enter a number: 0 to 1000.'], ['1.5', 'Invalid input']] as const) {
    await history.fill(text)
    await press(dialog, 'Save')
    await alerted(page, problem)
    await until(() => history.evaluate((field) => field === document.activeElement && field.getAttribute('aria-invalid') === 'true'))
  }
  t.same(await chat(), { history: 50, messagesPerMinute: 60 })
  await history.fill('7')
  await press(dialog, 'Save')
  await announces(page, 'Settings of chat saved.')
  t.same(await chat(), { history: 7, messagesPerMinute: 60 })
  await press(page, 'Settings: chat')
  await history.fill('')
  await press(dialog, 'Save')
  await gone(page.locator('dialog'))
  t.same(await chat(), { history: 50, messagesPerMinute: 60 })

  await press(page, 'Turn off: stage')
  await dialog.getByText('This feature serves this page.').waitFor()
  await press(dialog, 'Turn off')
  await announces(page, 'stage is off.')
  t.equal((await fetch(`${server.url}/admin`)).status, 404)
  await press(page, 'Turn on: stage')
  await announces(page, 'stage is on.')
  t.equal((await fetch(`${server.url}/admin`)).status, 200)
})
