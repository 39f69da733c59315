import t from 'tap'
import type { Page } from 'playwright-core'
import { build } from '../support/build.ts'
import { act, openBrowser, personOn, seatOn, sheetOf, visit } from '../support/browser.ts'

// A moderated evening: Ada hosts; Bob is a guest; Rudy misbehaves.

const [server, browser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,chat,lobby,moderation,stage', ALLOW_ANONYMOUS: 'true', MEDIASOUP_WORKERS: '1' } }),
  openBrowser(t, 440)
])
const room = 'evening'
const guest = async (name: string, microphone = false) => await visit(t, browser, server.url, { name, room, microphone })
const ada = await guest('Ada')
await ada.getByText('Connected').first().waitFor()
const [bob, rudy] = await Promise.all([guest('Bob'), guest('Rudy', true)])
await seatOn(ada, 'Seat 1: Rudy').waitFor()

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

t.test('the host gives the room a title', async (t) => {
  const sheet = await settings()
  await sheet.getByLabel('Title').fill('Ada’s evening')
  await sheet.getByLabel('Topic').fill('Be kind')
  await sheet.getByRole('button', { name: 'Save' }).click()
  await sheet.getByText('Saved.').waitFor()
  await closeSheet()
  await bob.getByRole('heading', { name: 'Ada’s evening' }).waitFor()
  await bob.getByText('Be kind').waitFor()
  t.equal(await bob.getByRole('button', { name: 'Room settings' }).count(), 0, 'guests have no settings')
})

t.test('the host mutes everyone, slows the chat and deletes a message', async (t) => {
  const sheet = await settings()
  await sheet.getByRole('button', { name: 'Mute everyone' }).click()
  await sheet.getByText('1 person muted.').waitFor()
  await personOn(bob, 'Rudy', 'muted').waitFor()
  await sheet.getByLabel('Slow mode').selectOption('60')
  await closeSheet()
  await rudy.getByText('Slow mode: one message every 60 seconds.').first().waitFor()
  await write(rudy, 'You are all boring')
  await bob.getByText('You are all boring').waitFor()
  await write(rudy, 'Boring!')
  await rudy.getByText('Too many requests').waitFor()
  t.equal(await bob.getByText('Boring!').count(), 0)
  t.equal(await bob.getByRole('button', { name: /^Delete message/ }).count(), 0)
  await ada.getByRole('button', { name: 'Delete message from Rudy' }).click()
  for (const page of [ada, bob, rudy]) await page.getByText('You are all boring').waitFor({ state: 'detached' })
})

t.test('the host removes, bans and unbans a user', async (t) => {
  await act(ada, 'Rudy', 'Remove from room')
  await rudy.getByText('You were removed from the room').waitFor()
  await seatOn(ada, 'Take seat 1').waitFor()
  await rudy.getByRole('button', { name: 'Join', exact: true }).click()
  await personOn(ada, 'Rudy').waitFor()
  const sheet = await sheetOf(ada, 'Rudy')
  await sheet.getByLabel('May join again').selectOption('3600')
  await sheet.getByRole('button', { name: 'Remove from room' }).click()
  await rudy.getByText('You were removed from the room').waitFor()
  await rudy.getByRole('button', { name: 'Join', exact: true }).click()
  await rudy.getByText('You are banned from this room').waitFor()
  const all = await settings()
  await all.getByRole('button', { name: /^Unban/ }).click()
  await all.getByRole('heading', { name: 'Banned people' }).waitFor({ state: 'detached' })
  await closeSheet()
  await rudy.getByRole('button', { name: 'Join', exact: true }).click()
  await personOn(ada, 'Rudy').waitFor()
  t.pass('and is back')
})

t.test('the host locks the room', async (t) => {
  await act(ada, 'Rudy', 'Remove from room')
  const sheet = await settings()
  await sheet.getByRole('button', { name: 'Lock room' }).click()
  await sheet.getByText('Locked. Nobody else can join.').waitFor()
  await closeSheet()
  await bob.getByRole('img', { name: 'Locked' }).waitFor()
  await rudy.getByRole('button', { name: 'Join', exact: true }).click()
  await rudy.getByText('This room is locked. Nobody else can join').waitFor()
  t.pass('for everyone who is not in it')
})

t.test('the host appoints a moderator and hands the room over, and the new host ends the room', async (t) => {
  await act(ada, 'Bob', 'Make Bob a moderator')
  await bob.getByRole('button', { name: 'Room settings' }).waitFor()
  t.equal(await (await sheetOf(bob, 'Ada')).getByRole('button', { name: 'Remove from room' }).count(), 0, 'a moderator cannot remove the host')
  await bob.keyboard.press('Escape')
  const sheet = await sheetOf(ada, 'Bob')
  await sheet.getByRole('button', { name: 'Make Bob the host' }).click()
  await sheet.getByRole('button', { name: 'Hand the room over to Bob?' }).click()
  await bob.getByRole('button', { name: 'Room settings' }).click()
  const end = bob.getByRole('dialog', { name: 'Room settings' })
  await end.getByRole('button', { name: 'End room' }).click()
  await end.getByRole('button', { name: 'End the room for everyone?' }).click()
  for (const page of [ada, bob]) await page.getByText('The room was closed').waitFor()
  t.equal((await server.admin('GET', `/admin/rooms/${room}`)).status, 404)
})
