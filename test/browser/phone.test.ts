import t from 'tap'
import type { Locator } from 'playwright-core'
import { build } from '../support/build.ts'
import { openBrowser, seatOn, sheetOf } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// Tests the stage on a phone (portrait and landscape) and zoomed in: required controls must be visible and not covered,
// and the Back button must work as in other apps. Hedy uses the page; Ada, the owner, has no browser.

const portrait = { width: 360, height: 740 }
const landscape = { width: 740, height: 360 }
/** Other small viewports: 1280×720 at 200 % zoom, and 1280×1024 at 400 %, the limit in WCAG 1.4.10. */
const zoomed = [{ width: 640, height: 360 }, { width: 320, height: 256 }]

const [server, browser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,reactions,lobby,stage' } }),
  openBrowser(t, 440)
])
const pin = '1234'
const ada = await server.connect(1)
const context = await browser.newContext({ viewport: portrait, permissions: ['microphone'], reducedMotion: 'reduce', hasTouch: true })
const page = await context.newPage()
page.setDefaultTimeout(15_000)
page.on('pageerror', (error) => t.fail(`the page has an error: ${error.stack}`))
await page.goto('about:blank')
await page.goto(server.url)

const button = (name: string | RegExp) => page.getByRole('button', { name, exact: typeof name === 'string' })
const pinField = page.getByLabel('PIN', { exact: true })
/** The chat log. On a phone, it is hidden while the page shows the room. */
const log = page.locator('[role=log]')
const heading = (room: string) => page.getByRole('heading', { name: room, exact: true })

/** @returns whether an element is completely visible and its center is not covered */
const isClear = (locator: Locator) => locator.evaluate((element) => {
  const { left, top, right, bottom } = element.getBoundingClientRect()
  const front = document.elementFromPoint((left + right) / 2, (top + bottom) / 2)
  return left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight && front !== null && (element.contains(front) || front.contains(element))
})
/** @returns whether the newest line of the chat is visible */
const isNewestVisible = () => log.locator('p').last().evaluate((line) => {
  const { top, bottom } = line.getBoundingClientRect()
  const box = line.closest('[role=log]')?.getBoundingClientRect()
  return box !== undefined && box.height > 0 && top >= box.top && bottom <= box.bottom + 1 && box.bottom <= innerHeight
})
let said = 0
function say (roomId: string, times: number): void {
  for (let i = 0; i < times; i++) {
    const n = ++said
    server.app.rooms.emit(roomId, 'chat:message', { roomId, id: `m${n}`, userId: 7, userName: 'Eve', content: `line ${n}`, messageType: 'text', timestamp: Date.now() })
  }
}
async function enter (room: string): Promise<void> {
  await page.getByLabel('Your name').fill('Hedy')
  await page.getByLabel('Room', { exact: true }).fill(room)
  await button('Join').click()
}
const isConnected = () => page.getByRole('status').filter({ hasText: 'Connected' }).waitFor()
const membersOf = async (room: string) => (await server.admin('GET', `/admin/rooms/${room}`)).body?.participantCount

/** By default, most tests run only in portrait. With ALL_LOOKS (phone.long.ts), these tests also run in landscape. */
const all = process.env.ALL_LOOKS !== undefined
for (const viewport of all ? [portrait, landscape] : [portrait]) {
  const size = `${viewport.width}×${viewport.height}`
  const isPortrait = viewport === portrait
  const room = isPortrait ? 'upright' : 'wide'

  t.test(`${size}: a wrong PIN moves the focus to the PIN field`, async (t) => {
    await ada.ok('room:join', { roomId: room, pin })
    await page.setViewportSize(viewport)
    await enter(room)
    await page.getByRole('alert').filter({ hasText: 'This room is locked. Enter the PIN.' }).waitFor()
    t.equal(await pinField.evaluate((field) => field === document.activeElement), true, 'the field has the focus')
    t.equal(await isClear(pinField), true)
    await page.keyboard.type('4321')
    await page.keyboard.press('Enter')
    const alert = page.getByRole('alert').filter({ hasText: 'Wrong PIN.' })
    await alert.waitFor()
    t.equal(await pinField.inputValue(), '4321', 'the input is kept')
    t.equal(await pinField.getAttribute('aria-invalid'), 'true')
    t.same([await isClear(pinField), await isClear(alert)], [true, true])
    await page.keyboard.type(pin)
    await page.keyboard.press('Enter')
    await heading(room).waitFor()
    await isConnected()
  })

  t.test(`${size}: the chat opens at its newest message`, async (t) => {
    say(room, 60)
    await log.getByText(`line ${said}`, { exact: true }).waitFor({ state: 'attached' })
    if (isPortrait) {
      await button(/^Chat\s+60 new$/).click()
      await button('Chat').waitFor()
    }
    await until(isNewestVisible)
    t.equal(await isClear(page.getByLabel('Message')), true)

    await log.evaluate((element) => { element.scrollTop = 100 })
    await button(/^New messages/).waitFor()
    say(room, 1)
    if (isPortrait) {
      await button(/^Chat\s+1 new$/).waitFor()
      await button('Room').click()
      await button(/^Chat\s+1 new$/).click()
      await until(() => log.evaluate((element) => element.scrollTop === 100))
      t.pass('an unread message stays unread, and the scroll position is kept')
    }
    await button(/^New messages/).click()
    await until(isNewestVisible)
    if (isPortrait) await button('Chat').waitFor()

    await page.setViewportSize(isPortrait ? landscape : portrait)
    await page.setViewportSize(viewport)
    if (isPortrait) await page.setViewportSize({ ...portrait, height: 440 })
    await until(isNewestVisible)
    await page.setViewportSize(viewport)
    await until(isNewestVisible)
    t.pass('after a rotation and above the keyboard, too')
  })

  t.test(`${size}: no animation covers a notice or the controls`, async (t) => {
    const userId = await page.evaluate(() => window.flylive?.connection.greeting?.userId) as string
    await ada.ok('seat:invite', { userId, seatIndex: 2 })
    await button('Accept').waitFor()
    for (const giftId of [1, 2, 3]) await ada.ok('gift:send', { roomId: room, giftId, recipientId: userId, quantity: 1 })
    await ada.ok('room:react', { roomId: room, emoji: '👏' })
    await page.locator('.gift').nth(2).waitFor({ state: 'attached' })
    await page.locator('.reaction').first().waitFor()
    const covered = await page.evaluate(() => {
      const area = document.querySelector('.shows')?.getBoundingClientRect() as DOMRect
      // Content that overflows this area is clipped and therefore not visible.
      const clip = ({ left, right, top, bottom }: DOMRect) => ({ left, right, top: Math.max(top, area.top), bottom: Math.min(bottom, area.bottom) })
      const shows = [...document.querySelectorAll('.gift, .reaction')].map((element) => clip(element.getBoundingClientRect()))
      const meets = (a: ReturnType<typeof clip>, b: ReturnType<typeof clip>) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
      return [...document.querySelectorAll('header button, .notices button, .views button, .bar button, form button, form input')]
        .filter((element) => shows.some((show) => meets(show, element.getBoundingClientRect())))
        .map(({ textContent }) => textContent)
    })
    t.same(covered, [])
    t.equal(await isClear(button('Accept')), true)
    if (isPortrait) await button('Room').click()
    await button('Accept').click()
    await seatOn(page, 'Seat 3: you').waitFor()
  })

  t.test(`${size}: Back closes a dialog, then leaves the room`, async (t) => {
    await sheetOf(page, 'User 1')
    await page.goBack()
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    // Check the history state, because the lobby and the room have the same address here.
    await until(() => page.evaluate(() => (history.state as { page: string }).page === 'room'))
    t.equal(await membersOf(room), 2, 'the user is still in the room')
    await page.goBack()
    await page.getByRole('heading', { name: 'FlyLive' }).waitFor()
    await until(async () => await membersOf(room) === 1)
    t.equal(page.url(), `${server.url}/`)
    t.equal(await page.title(), 'FlyLive')
    await page.goForward()
    await page.getByRole('heading', { name: `Join ${room}` }).waitFor()
    t.equal(await page.getByLabel('Room', { exact: true }).inputValue(), room, 'Forward opens the form for joining the room')
    await page.goBack()
    await page.getByRole('heading', { name: 'Join or open a room' }).waitFor()
  })
}

t.test('every control is visible at every size', async (t) => {
  await ada.ok('room:join', { roomId: 'open' })
  await enter('open')
  await isConnected()
  await ada.ok('seat:invite', { userId: await page.evaluate(() => window.flylive?.connection.greeting?.userId) as string, seatIndex: 2 })
  await button('Accept').waitFor()
  for (const viewport of [portrait, landscape, ...zoomed]) {
    await page.setViewportSize(viewport)
    await page.locator('.content').evaluate((content) => { content.scrollTop = 0 })
    for (const name of ['Leave', 'Speak', 'Raise hand', 'React']) t.equal(await isClear(button(name)), true, `${viewport.width}×${viewport.height}: ${name}`)
    t.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true)
    await button('Accept').scrollIntoViewIfNeeded()
    t.equal(await isClear(button('Accept')), true)
  }
})

t.test('a room link opened in the same tab shows the linked room', async (t) => {
  await page.setViewportSize(portrait)
  await page.evaluate(() => { location.hash = '#room=upright&name=Hedy' })
  await page.getByRole('heading', { name: 'Join upright' }).waitFor()
  await until(async () => await membersOf('open') === 1)
  await page.evaluate(() => { location.hash = '#room=wide' })
  await page.getByRole('heading', { name: 'Join wide' }).waitFor()
  t.equal(await page.getByLabel('Room', { exact: true }).inputValue(), 'wide')
})

t.test('rejoins the room when the browser restores the page', async (t) => {
  await enter('open')
  await isConnected()
  const restored = await page.evaluate(async () => {
    const room = window.flylive
    dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))
    const state = room?.state
    dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))
    return state
  })
  t.equal(restored, 'out')
  await until(() => page.evaluate(() => window.flylive?.state === 'in'))
  await heading('open').waitFor()
})

t.test('the gift form stays open if the gift fails', async (t) => {
  const sheet: Locator = await sheetOf(page, 'User 1')
  await sheet.getByLabel('How many').fill('7')
  await page.evaluate(() => { if (window.flylive) window.flylive.gifts.send = () => Promise.reject(Object.assign(new Error('Not now'), { code: 'UNAVAILABLE' })) })
  await sheet.getByRole('button', { name: 'Send gift' }).click()
  await sheet.getByRole('alert').filter({ hasText: 'Not now.' }).waitFor()
  t.equal(await sheet.getByLabel('How many').inputValue(), '7')
  await sheet.getByLabel('How many').hover()
  await page.mouse.down()
  await page.mouse.move(5, 5)
  await page.mouse.up()
  t.equal(await sheet.isVisible(), true, 'selecting text does not close the dialog')
})
