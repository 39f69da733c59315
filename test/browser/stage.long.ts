import t from 'tap'
import type { Page } from 'playwright-core'
import { build, tokenFor } from '../support/build.ts'
import { openBrowser, visit } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// Tests a long chat and a room with a hundred users on the stage. stage.test.ts tries every control in a small room.

const [server, browser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,chat,lobby,stage', MEDIASOUP_WORKERS: '1' } }),
  openBrowser(t, 440)
])
const room = 'evening'
const complaints: string[] = []
const watch = (name: string) => async (page: Page) => {
  page.setDefaultTimeout(15_000)
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(`${name}: ${message.text()}`) })
}
async function open (name: string, path: string): Promise<Page> {
  const page = await (await browser.newContext({ reducedMotion: 'reduce' })).newPage()
  page.on('pageerror', (error) => complaints.push(`${name}: ${error.stack}`))
  await watch(name)(page)
  await page.goto(server.url + path)
  return page
}
const button = (page: Page, name: string | RegExp) => page.getByRole('button', { name, exact: typeof name === 'string' })
const ada = await visit(t, browser, server.url, { name: 'Ada', room, microphone: false, prepare: watch('Ada') })
await ada.getByRole('status').filter({ hasText: 'Connected, listening' }).waitFor()
let dan: Page

t.test('keeps the position of a user who reads older messages', async (t) => {
  const log = ada.getByRole('log')
  const top = () => log.evaluate(({ scrollTop }) => scrollTop)
  const say = (n: number) => server.app.rooms.emit(room, 'chat:message', { roomId: room, id: `m${n}`, userId: 7, userName: 'Eve', content: `line ${n}`, messageType: 'text', timestamp: Date.now() })
  for (let n = 0; n < 250; n++) say(n)
  await log.getByText('line 249').waitFor()
  t.equal(await log.locator('p').count(), 200, 'the log is bounded')
  await until(async () => await top() > 1000)
  await log.focus()
  await ada.keyboard.press('Home')
  await button(ada, /^New messages/).waitFor()
  await until(async () => await top() === 0)
  say(250)
  await log.getByText('line 250').waitFor()
  t.ok(await top() < 100)
  await button(ada, /^New messages/).click()
  await until(async () => await top() > 1000)
})

t.test('lists and finds everyone in a big room', async (t) => {
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'crowd' })
  const crowd = await Promise.all(Array.from({ length: 103 }, async (_, i) => {
    const one = await server.connect(1000 + i)
    await one.ok('room:join', { roomId: 'crowd' })
    return one
  }))
  dan = await open('Dan', '/#room=crowd&name=Dan')
  await dan.getByLabel('Original sound').check()
  await button(dan, 'Join').click()
  await dan.getByText('105 people').waitFor()
  const people = dan.getByRole('list', { name: 'In the room' }).getByRole('listitem')
  t.ok(await people.count() <= 101, 'the list is paginated')
  await button(dan, 'Show more people').click()
  await until(async () => await people.count() === 105)
  await dan.getByLabel('Search people').fill('User 1102')
  await until(async () => await people.count() === 1)
  await dan.getByLabel('Search people').fill('')
  await dan.getByText(/^105 people, \d+ listening$/).waitFor()

  // An owner who joins late receives the ids of users with raised hands, but not their names.
  const late = await open('Late', `/#room=crowd&name=Late&token=${tokenFor(1)}`)
  await button(late, 'Join').click()
  await late.getByText('105 people, 105 listening').waitFor()
  const listed = (await late.getByRole('list', { name: 'In the room' }).allTextContents()).join()
  const unlisted = crowd.findIndex((_, i) => !listed.includes(`User ${1000 + i}`))
  await crowd[unlisted]?.ok('seat:request')
  await button(late, `Invite User ${1000 + unlisted} to a seat`).waitFor()
  await late.context().close()
  owner.close()

  for (const one of crowd) one.close()
  await until(async () => await people.count() === 1)
})

t.test('shows the chat history to a user who joins late', async (t) => {
  const eve = await server.connect(7)
  await eve.ok('room:join', { roomId: room })
  for (const content of ['Good evening', 'Welcome']) await eve.ok('chat:message', { roomId: room, content })
  await button(dan, 'Leave').click()
  await dan.getByLabel('Room', { exact: true }).fill(room)
  await button(dan, 'Join').click()
  await dan.getByText('3 people').waitFor()
  t.match(await dan.getByRole('log').locator('p').allTextContents(), [/^User 7 Good evening/, /^User 7 Welcome/])
})

t.test('no page logs an error', async (t) => {
  t.same(complaints, [])
})
