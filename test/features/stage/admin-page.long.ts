import { join } from 'node:path'
import t from 'tap'
import { createSqliteOutbox } from '../../../features/gifts/outbox.sqlite.ts'
import { giftOf } from '../../contracts/gift-outbox.ts'
import { violationsOf } from '../../support/axe.ts'
import { startBackend } from '../../support/backend.ts'
import { adminKey, build } from '../../support/build.ts'
import { until } from '../../support/retry.ts'
import { alerted, announces, enter, env, features, give, gone, heading, open, phone, press } from './admin-page.ts'

t.test('reports that the server has no admin key', async (t) => {
  const page = await open(t, await build(t, { env: { ...env, ADMIN_API_KEY: '' } }))
  await give(page, adminKey)
  await alerted(page, 'This server has no admin key')
})

t.test('supports keyboards and screen readers', async (t) => {
  const server = await build(t, { env })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'talk' })
  const page = await open(t, server)
  const focus = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent?.trim() ?? '')
  async function tabTo (name: string): Promise<void> {
    for (let tries = 0; await focus() !== name; tries++) {
      if (tries > 40) throw new Error(`The Tab key does not reach ${name}`)
      await page.keyboard.press('Tab')
    }
  }
  await page.keyboard.press('Tab')
  await page.keyboard.type(adminKey)
  await page.keyboard.press('Enter')
  await page.getByRole('link', { name: 'talk' }).waitFor()
  await until(async () => await focus() === 'Rooms')
  await tabTo('talk')
  await page.keyboard.press('Enter')
  await page.getByRole('button', { name: 'Kick User 2' }).waitFor()
  await until(async () => await focus() === 'Room talk')
  await tabTo('Kick User 2')
  await page.keyboard.press('Enter')
  t.match(await focus(), /^NoFor 10/, 'the first field of the dialog')
  await page.keyboard.press('Escape')
  await gone(page.locator('dialog'))
  t.equal(await focus(), 'Kick User 2')
  await page.keyboard.press('Enter')
  await tabTo('Kick')
  await page.keyboard.press('Enter')
  t.match(await bob.closed, { code: 4403 })
  await announces(page, 'User 2 was kicked.')

  const places = [['#rooms', 'Look up a user'], ['#rooms/talk', 'Seats'], ['#features', 'chat'], ['#gifts', 'Dead letters'], ['#charts', 'Charts']] as const
  for (const [hash, name] of places) {
    await page.evaluate((hash) => { location.hash = hash }, hash)
    await heading(page, name).waitFor()
    for (const [colorScheme, viewport] of [['light', phone], ['dark', { width: 1280, height: 800 }]] as const) {
      await page.emulateMedia({ colorScheme })
      await page.setViewportSize(viewport)
      t.same(await violationsOf(page), [], `${hash} ${colorScheme}`)
      t.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${hash} fits into ${viewport.width}`)
    }
  }
})

t.test('replays dead letters', async (t) => {
  const backend = await startBackend(t)
  const folder = t.testdir()
  const outbox = createSqliteOutbox(join(folder, 'gifts.sqlite'))
  const gifts = Array.from({ length: 52 }, () => giftOf({ roomId: '7', recipientId: 5 }))
  for (const gift of gifts) await outbox.add(gift)
  const batch = await outbox.take([100], 60_000)
  await outbox.settle(batch.token, new Map(gifts.map(({ transactionId }) => [transactionId, { to: 'deadLetters', reason: 'HTTP 500', at: 1 }])))
  await outbox.close()
  const server = await build(t, { env: { ...env, FEATURES: `${features},laravel-bridge`, DATA_DIR: folder, ...backend.env } })
  const page = await enter(t, server, '#gifts')
  await page.getByText('50 of 52').waitFor()
  await press(page, 'Show more')
  await page.getByText('52 of 52').waitFor()

  const ids = gifts.slice(0, 2).map(({ transactionId }) => transactionId)
  for (const id of ids) await page.getByLabel(`Select ${id}`).check()
  await press(page, 'Retry 2 selected gifts')
  await announces(page, 'Retrying 2 gifts.')
  await until(() => ids.every((id) => backend.ledger.get(id)?.applied === 1) && backend.ledger.size === 2)
  await page.getByText('50 of 50').waitFor()

  await press(page, 'Retry all')
  await page.getByRole('dialog', { name: 'Retry 50 dead letters?' }).waitFor()
  await press(page.getByRole('dialog'), 'Retry all')
  await announces(page, 'Retrying 50 gifts.')
  await page.getByText('No dead letters.').waitFor()
  await until(() => backend.ledger.size === 52)

  await server.admin('POST', '/admin/features/gifts/disable')
  await page.getByText('The gifts feature is off.').waitFor()
  await page.getByRole('link', { name: 'Go to features' }).click()
  await heading(page, 'Features').waitFor()
})

t.test('draws charts and drains a server', async (t) => {
  const server = await build(t, { env: { ...env, METRICS_TOKEN: 'only-for-prometheus', DRAIN_SECONDS: '0' } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'talk' })
  const page = await enter(t, server, '#charts')
  const chart = (title: string) => page.getByRole('img', { name: new RegExp(`^${title}: now`) })
  await page.getByRole('img', { name: 'Connections: now 1, minimum 1, maximum 1 in the last 3 minutes' }).waitFor()
  for (const title of ['Rooms', 'Rooms with audio', 'Event loop delay']) await chart(title).waitFor()
  await ada.flush()
  // The page can show a rate only after two measurements.
  await page.getByRole('img', { name: /^Messages per second: now 0\.\d/ }).waitFor()
  await chart('CPU of the server').waitFor()
  t.match(await chart('Connections').locator('path').last().getAttribute('d'), /^M[\d.]+ 0(?:L[\d.]+ 0)*L300 0$/)

  await press(page, 'Drain this server')
  const dialog = page.getByRole('dialog', { name: 'Drain this server' })
  await dialog.getByLabel('Seconds until the deadline').fill('forever')
  await press(dialog, 'Drain')
  await alerted(page, 'Enter a number from 0 to 3600.')
  await press(dialog, 'Cancel')
  await gone(page.locator('dialog'))
  t.notOk(server.app.drain.draining)
  await press(page, 'Drain this server')
  await dialog.getByLabel('Seconds until the deadline').fill('30')
  await press(dialog, 'Drain')
  await announces(page, 'Draining for up to 30 seconds.')
  await ada.event('server:draining')
  await ada.close()
  await announces(page, 'The server is empty.')
  await page.getByText('This server is draining').waitFor()
})
