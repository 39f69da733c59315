import t from 'tap'
import type { Test } from 'tap'
import type { Page } from 'playwright-core'
import { build, tokenFor } from '../support/build.ts'
import { act, expectTone, onSeat, openBrowser, personOn, seatOn, sheetOf } from '../support/browser.ts'
import type { TestClient } from '../support/client.ts'
import { until } from '../support/retry.ts'

// Two users try every control of the stage. Ada, who creates the room, sends a 440 Hz tone; Bob, on a phone, sends a
// 1000 Hz tone. A third user, Cyd, has no browser. audio.test.ts checks the audio after mutes and seat changes.

const [server, adasBrowser, bobsBrowser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,reactions,lobby,stage', MEDIASOUP_WORKERS: '1' } }),
  openBrowser(t, 440),
  openBrowser(t, 1000)
])
const room = 'evening'
const pin = '1234'
const complaints: string[] = []

async function open (name: string, browser: typeof adasBrowser, options: Parameters<typeof browser.newContext>[0] = {}, path = ''): Promise<Page> {
  // Only tests of animations enable animations, because painting takes more CPU time than the code under test.
  const context = await browser.newContext({ permissions: ['microphone', 'clipboard-read', 'clipboard-write'], reducedMotion: 'reduce', ...options })
  const page = await context.newPage()
  page.setDefaultTimeout(15_000)
  page.on('pageerror', (error) => complaints.push(`${name}: ${error.stack}`))
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(`${name}: ${message.text()}`) })
  await page.goto(server.url + path)
  return page
}
const button = (page: Page, name: string | RegExp) => page.getByRole('button', { name, exact: typeof name === 'string' })
const statusOf = (page: Page, text: string | RegExp) => page.getByRole('status').filter({ hasText: text }).waitFor()
/** Enables animations on the given pages until the end of the test. */
async function animate (t: Test, ...pages: Page[]): Promise<void> {
  for (const page of pages) {
    await page.emulateMedia({ reducedMotion: 'no-preference' })
    t.teardown(() => page.emulateMedia({ reducedMotion: 'reduce' }))
  }
}
/** Returns the audio level that the ring around a seat shows, from 0 to 1. */
const ringOf = (page: Page, seat: string) => seatOn(page, seat).evaluate((chair) => Number(getComputedStyle(chair.querySelector('.ring') ?? chair).getPropertyValue('--level')))

const ada = await open('Ada', adasBrowser, { colorScheme: 'dark' })
let bob: Page
let cyd: TestClient

t.test('tests the microphone in the lobby', async (t) => {
  await ada.getByText('No active rooms').waitFor()
  await ada.getByLabel('Original sound').check()
  await button(ada, 'Test microphone').click()
  await statusOf(ada, 'Your microphone works.')
  const level = () => ada.getByRole('img', { name: 'Input level' }).evaluate((bar) => Number(bar.style.getPropertyValue('--level')))
  await until(async () => await level() > 0.5)
  const devices = ada.getByLabel('Device')
  const names = await devices.locator('option').allTextContents()
  t.ok(names.length >= 2 && names.some((name) => /fake/i.test(name)), names.join())
  await devices.selectOption({ index: names.length - 1 })
  await statusOf(ada, 'Your microphone works.')
  await devices.selectOption({ index: 0 })
  await button(ada, 'Stop test').click()
  await ada.getByRole('img', { name: 'Input level' }).waitFor({ state: 'detached' })
})

t.test('opens a room with a profile and a PIN', async (t) => {
  // A pasted room name can have a space at the end.
  await ada.getByLabel('Room', { exact: true }).fill(`${room} `)
  await button(ada, 'Join').click()
  t.equal(await ada.getByLabel('Your name').evaluate((field: HTMLInputElement) => field.validity.valueMissing), true, 'a name is required')
  await ada.getByLabel('Your name').fill('Ada Lovelace')
  await ada.getByRole('radio', { name: 'Teal' }).check()
  await ada.getByText('More options').click()
  await ada.getByLabel('PIN', { exact: true }).fill(pin)
  await ada.getByLabel('Seats (new rooms only)').selectOption('6')
  await button(ada, 'Join').click()
  await statusOf(ada, 'Connected, listening')
  await ada.getByRole('heading', { name: room }).waitFor()
  t.equal(new URL(ada.url()).hash, `#room=${room}`)
  t.equal(await ada.title(), `${room} · FlyLive`)
  t.equal(await ada.getByRole('group', { name: 'Seats' }).getByRole('button', { name: /^Take seat/ }).count(), 6)
  t.match(await personOn(ada, 'Ada Lovelace').locator('img').getAttribute('src'), '0f766e')
  await button(ada, 'Speak').click()
  await seatOn(ada, 'Seat 1: you').waitFor()
  await statusOf(ada, /^Connected$/)
  t.equal(await button(ada, 'Mute').evaluate((element) => element === document.activeElement), true, 'the focus moves to the button that replaces Speak')
})

t.test('a shared link opens the room', async () => {
  await button(ada, 'Share').click()
  await ada.getByRole('alert').filter({ hasText: 'Link copied' }).waitFor()
  await button(ada, 'Close').click()
  const link = await ada.evaluate(() => navigator.clipboard.readText())
  bob = await open('Bob', bobsBrowser, { viewport: { width: 360, height: 740 } }, link.slice(server.url.length))
  await bob.getByRole('heading', { name: `Join ${room}` }).waitFor()
})

t.test('lists the room for other users, who need the PIN to join', async (t) => {
  await bob.evaluate(() => { location.hash = '' })
  const listed = bob.getByRole('list', { name: 'Active rooms' }).getByRole('listitem').filter({ hasText: room })
  await listed.getByText('1 person').waitFor()
  await listed.getByText('1 speaker').waitFor()
  await listed.getByRole('img', { name: 'Locked' }).waitFor()
  t.equal(await listed.getByText('Ada').count(), 0, 'members of a locked room are not listed')
  await bob.getByLabel('Your name').fill('Bob')
  await bob.getByLabel('Original sound').check()
  await button(bob, `Join ${room}`).click()
  await bob.getByRole('alert').filter({ hasText: 'This room is locked. Enter the PIN.' }).waitFor()
  t.equal(await bob.getByLabel('Room', { exact: true }).inputValue(), room, 'the form keeps the room')
  await bob.getByLabel('PIN', { exact: true }).fill('4321')
  await button(bob, 'Join').click()
  await bob.getByRole('alert').filter({ hasText: 'Wrong PIN.' }).waitFor()
  await bob.getByLabel('PIN', { exact: true }).fill(pin)
  await button(bob, 'Join').click()
  await statusOf(bob, 'Connected, listening')
})

t.test('shows the link when the clipboard is blocked', async (t) => {
  await bob.context().clearPermissions()
  await bob.context().grantPermissions(['microphone'])
  await bob.evaluate(() => { navigator.clipboard.writeText = () => Promise.reject(new DOMException('', 'NotAllowedError')) })
  await button(bob, 'Share').click()
  t.equal(await bob.getByRole('dialog').getByLabel('Link to this room').inputValue(), `${server.url}/#room=${room}`)
  await button(bob, 'Close').click()
  await bob.getByRole('dialog').waitFor({ state: 'detached' })
})

t.test('the ring around a seat shows the level of the voice', async (t) => {
  await animate(t, ada, bob)
  await seatOn(bob, 'Take seat 3').click()
  await expectTone(ada, 'Bob', 1000)
  await until(async () => await ringOf(ada, 'Seat 3: Bob') > 0.3)
  await until(async () => await ringOf(bob, 'Seat 3: you') > 0.3)
  await until(async () => await ringOf(bob, 'Seat 1: Ada Lovelace') > 0.3)
  await button(bob, 'Mute').click()
  await personOn(ada, 'Bob', 'muted').waitFor()
  await until(async () => await ringOf(ada, 'Seat 3: Bob') === 0 && await ringOf(bob, 'Seat 3: you') === 0)
  await button(bob, 'Unmute').click()
  await until(async () => await ringOf(ada, 'Seat 3: Bob') > 0.3)
})

t.test('changes and leaves the seat', async (t) => {
  await seatOn(bob, 'Take seat 4').click()
  await seatOn(ada, 'Seat 4: Bob').waitFor()
  await seatOn(bob, 'Seat 4: you').click()
  await bob.getByRole('dialog').getByRole('button', { name: 'Leave seat' }).click()
  await statusOf(bob, 'Connected, listening')
  t.equal(await bob.evaluate(() => window.flylive?.audio?.publishing), false, 'the microphone is off')
})

t.test('the owner sees a raised hand and invites the user', async (t) => {
  const hands = ada.getByRole('heading', { name: /Raised hands/ })
  cyd = await server.connect(3, { token: tokenFor(3, { name: 'Cyd' }) })
  await cyd.ok('room:join', { roomId: room, pin })
  await cyd.ok('seat:request')
  await ada.getByRole('heading', { name: 'Raised hands (1)' }).waitFor()
  t.equal(await bob.getByRole('heading', { name: /Raised hands/ }).count(), 0)
  await button(ada, 'Lower Cyd’s hand').click()
  await hands.waitFor({ state: 'detached' })

  await button(bob, 'Raise hand').click()
  await button(bob, 'Lower hand').click()
  await button(bob, 'Raise hand').click()
  await button(ada, 'Lower Bob’s hand').click()
  await button(bob, 'Raise hand').click()
  await button(bob, 'Lower hand').waitFor()
  await button(ada, 'Invite Bob to a seat').click()
  await button(ada, 'Bob is invited').waitFor()
  await bob.getByRole('alert').filter({ hasText: 'You are invited to take seat 2.' }).waitFor()
  await button(bob, 'Accept').click()
  await expectTone(ada, 'Bob', 1000)
  await hands.waitFor({ state: 'detached' })

  await onSeat(ada, 6, 'Invite Cyd to a seat')
  await seatOn(bob, 'Seat 6: Cyd is invited').waitFor()
  await cyd.ok('seat:invite:decline', { seatIndex: 5 })
  await seatOn(ada, 'Take seat 6').waitFor()
})

t.test('the owner mutes, removes, seats and invites users, and locks seats', async (t) => {
  await act(ada, 'Bob', 'Mute Bob')
  await statusOf(bob, 'Connected, muted by the host')
  t.equal(await button(bob, 'Muted by the host').isDisabled(), true)
  await act(ada, 'Bob', 'Unmute Bob')
  await statusOf(bob, /^Connected$/)
  await act(ada, 'Bob', 'Remove Bob from the seat')
  await bob.getByRole('alert').filter({ hasText: 'You were removed from your seat' }).waitFor()
  await button(bob, 'Close').click()

  await onSeat(ada, 2, 'Invite Bob to a seat')
  await button(bob, 'Decline').click()
  await seatOn(ada, 'Take seat 2').waitFor()
  const sheet = await sheetOf(ada, 'Bob')
  await sheet.getByLabel('Assign Bob to a seat').selectOption({ label: 'Seat 5' })
  await sheet.getByRole('button', { name: 'Assign' }).click()
  await seatOn(ada, 'Seat 5: Bob').waitFor()
  await button(bob, 'Turn on microphone').click()
  await expectTone(ada, 'Bob', 1000)

  await onSeat(ada, 6, 'Lock seat 6')
  t.equal(await seatOn(bob, 'Seat 6 is locked').isDisabled(), true)
  await onSeat(ada, 6, 'Unlock seat 6')
  await seatOn(bob, 'Take seat 6').waitFor()

  await onSeat(ada, 3, 'Assign Cyd to a seat')
  await seatOn(ada, 'Seat 3: Cyd').waitFor()
  await button(ada, 'Options for seat 2').click()
  await ada.getByRole('dialog').getByText('No listeners to invite').waitFor()
  await ada.getByRole('dialog').getByRole('button', { name: 'Take seat 2' }).click()
  await seatOn(ada, 'Seat 2: you').waitFor()
})

t.test('shows the audio quality', async (t) => {
  await button(ada, /^Connection: (good|fair|poor)/).click()
  const sheet = ada.getByRole('dialog', { name: 'Connection' })
  const cells = (name: string) => sheet.getByRole('row', { name: new RegExp(`^${name}`) }).getByRole('cell').allTextContents()
  await until(async () => (await cells('Packets')).every((text) => Number(text) > 50))
  t.match(await cells('Lost packets'), [/^0\.0 %$/, /^0\.0 %$/])
  t.match(await cells('Jitter'), [/^\d+ ms$/, /^\d+ ms$/])
  t.match(await cells('Data rate'), [/^\d+ kbit\/s$/, /^\d+ kbit\/s$/])
  t.match(await sheet.locator('dl').textContent(), /Round trip\s*\d+ ms\s*Route\s*udp, host → host\s*Reconnects\s*0/)
  await ada.keyboard.press('Escape')
  await sheet.waitFor({ state: 'detached' })
  t.equal(await button(ada, /^Connection/).evaluate((element) => element === document.activeElement), true, 'the focus returns to the button')
  // Stop the audio, because it takes a lot of CPU time and the remaining tests do not need it.
  for (const page of [ada, bob]) await page.evaluate(() => window.flylive?.audio?.unpublish())
})

t.test('shows chat messages', async (t) => {
  await button(bob, /^Chat/).click()
  await bob.getByLabel('Message').fill('Good evening')
  await button(bob, 'Send').click()
  t.equal(await until(async () => await bob.getByLabel('Message').inputValue() === ''), true)
  for (const page of [ada, bob]) await page.getByRole('log').getByText('Bob Good evening').waitFor()
  await button(bob, 'Room').click()
  await ada.getByLabel('Message').fill('   ')
  await button(ada, 'Send').click()
  await ada.getByLabel('Message').fill('Welcome, Bob 👋')
  // The second press comes before the reply to the first one.
  await ada.getByLabel('Message').evaluate(({ form }: HTMLInputElement) => {
    form?.requestSubmit()
    form?.requestSubmit()
  })
  await button(bob, /1 new/).click()
  await bob.getByRole('log').getByText('Welcome, Bob 👋').waitFor()
  await button(bob, /new$/).waitFor({ state: 'detached' })
  t.pass('the message counts as read')
  await ada.getByLabel('Message').fill('Shall we begin?')
  await ada.getByLabel('Message').press('Enter')
  await bob.getByRole('log').getByText('Shall we begin?').waitFor()
  t.equal(await bob.getByRole('log').getByText('Welcome, Bob 👋').count(), 1)
})

t.test('animates and counts gifts', async (t) => {
  await animate(t, ada)
  await button(bob, 'Room').click()
  const sheet = await sheetOf(bob, 'Ada Lovelace')
  await sheet.getByRole('radio', { name: 'Rocket' }).check()
  await sheet.getByLabel('How many').fill('3')
  await sheet.getByRole('button', { name: 'Send gift' }).click()
  const gift = ada.locator('.gift', { hasText: 'Bob gave Ada Lovelace 3 × Rocket' })
  t.not(await gift.evaluate((element) => getComputedStyle(element).animationName), 'none')
  await ada.getByRole('log').getByText('Bob gave Ada Lovelace 3 × Rocket').waitFor()
  await sheet.waitFor({ state: 'detached' })
  const again = await sheetOf(bob, 'Ada Lovelace')
  await again.getByLabel('How many').fill('1')
  await again.getByRole('button', { name: 'Send gift' }).evaluate((button: HTMLButtonElement) => {
    // A double click must send only one gift.
    button.click()
    button.click()
  })
  await ada.getByText('4 gifts so far').waitFor()
  await ada.getByRole('group', { name: 'Seats' }).getByText('Ada Lovelace received 4 gifts').waitFor()
})

t.test('animates reactions', async (t) => {
  await animate(t, ada)
  await button(bob, 'React').click()
  await button(bob, 'React with 👏').click()
  for (const page of [ada, bob]) await page.locator('.reaction', { hasText: '👏' }).first().waitFor()
  t.match(await ada.locator('.reaction').first().textContent(), 'Bob')
  await ada.locator('[aria-live=polite]').filter({ hasText: /^(\d × )?👏$/ }).waitFor({ state: 'attached' })
  await bob.keyboard.press('Escape')
  await button(bob, 'React with 👏').waitFor({ state: 'detached' })
  t.equal(await button(bob, 'React').evaluate((element) => element === document.activeElement), true, 'the focus moves to the button that opened the reactions')
})

t.test('leaving returns to the lobby and releases the seat immediately', async (t) => {
  // The lobby refreshes its list only every few seconds, so create the next test's rooms before Bob opens the lobby.
  const titles = ['Morning tea', 'Jazz and tea', 'Chess', 'News', 'Books', 'Gardens']
  await Promise.all(titles.map(async (title, i) => {
    const host = await server.connect(2000 + i)
    await host.ok('room:join', { roomId: `hall-${i}`, title })
  }))
  // The user presses the button again while the page waits for the server.
  await bob.evaluate(() => {
    const { send } = WebSocket.prototype
    WebSocket.prototype.send = function (data) {
      if (String(data).includes('room:leave')) Object.assign(window, { sendLeave: () => send.call(this, data) })
      else send.call(this, data)
    }
  })
  await button(bob, 'Leave').click()
  await bob.waitForFunction(() => 'sendLeave' in window)
  const stepsBack = await button(bob, 'Leave').evaluate((leave: HTMLElement) => {
    let count = 0
    history.back = () => { count++ }
    leave.click()
    Reflect.deleteProperty(history, 'back')
    return count
  })
  t.equal(stepsBack, 0, 'the second press does not leave the page')
  await bob.evaluate(() => (window as unknown as { sendLeave (): void }).sendLeave())
  await button(bob, 'Join').waitFor()
  await seatOn(ada, 'Take seat 5').waitFor()
  t.equal(new URL(bob.url()).hash, '')
  t.equal(await bob.title(), 'FlyLive')
  t.equal(await bob.evaluate(() => document.activeElement?.tagName), 'H1', 'the heading has the focus')
  t.equal(await bob.getByLabel('Room', { exact: true }).inputValue(), room, 'Join returns to the room')
  t.equal(await bob.getByLabel('Your name').inputValue(), 'Bob', 'the name is filled in')
  await bob.getByRole('list', { name: 'Active rooms' }).getByText('2 people').waitFor()
  await bob.reload()
  t.equal(await bob.getByLabel('Your name').inputValue(), 'Bob')
})

t.test('the lobby finds rooms by title, topic and name', async (t) => {
  const list = bob.getByRole('list', { name: 'Active rooms' })
  await bob.getByRole('searchbox', { name: 'Search rooms' }).fill('TEA')
  await until(async () => (await list.getByRole('listitem').count()) === 2)
  const found = await list.getByRole('listitem').allTextContents()
  t.ok(['Morning tea', 'Jazz and tea'].every((title) => found.some((text) => text.includes(title))), found.join())
  await bob.getByRole('searchbox', { name: 'Search rooms' }).fill('no such room')
  await bob.getByText('No rooms found.').waitFor()
  await bob.getByRole('searchbox', { name: 'Search rooms' }).fill('')
  await list.getByText('Chess', { exact: true }).waitFor()
})

t.test('the animations of gifts and reactions end', async (t) => {
  for (const kind of ['.gift', '.reaction']) await ada.locator(kind).first().waitFor({ state: 'detached' })
  t.pass('nothing is left')
})

t.test('no page logs an error or contacts another server', async (t) => {
  t.same(complaints, [])
  for (const page of [ada, bob]) {
    const hosts = await page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => new URL(name)).filter(({ protocol }) => protocol !== 'data:').map(({ host }) => host))
    t.same([...new Set(hosts)], [new URL(server.url).host])
  }
})
