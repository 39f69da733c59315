import t from 'tap'
import { violationsOf } from '../support/axe.ts'
import { tokenFor } from '../support/build.ts'
import { playedFrequency } from '../support/hls.ts'
import { until } from '../support/retry.ts'
import { openEvening, sign, take } from './broadcast.ts'

// The owner of a room starts a broadcast on the stage, and a person without an account listens on the /listen page.

const { server, ada, listen } = await openEvening(t)
const listener = await listen('evening')

t.test('the owner goes live, and the room shows that it is on air', async () => {
  await sign(listener, 'Not on air')
  await take(listener, 'listen-off')
  await ada.getByRole('button', { name: 'Go live' }).click()
  await take(ada, 'go-live-phone')
  await ada.getByRole('button', { name: 'Go live now' }).click()
  await ada.getByRole('button', { name: 'End broadcast' }).waitFor()
  await ada.keyboard.press('Escape')
  await ada.getByRole('link', { name: 'On air' }).waitFor()
  await take(ada, 'on-air-phone')
})

t.test('the room shows that it is recorded', async () => {
  const admin = await server.connect(9, { token: tokenFor(9, { roles: ['admin'] }) })
  await admin.ok('room:join', { roomId: 'evening' })
  await admin.ok('recording:start')
  await ada.locator('.recorded').waitFor()
  await take(ada, 'recorded-phone')
  await ada.getByRole('button', { name: 'Stop recording' }).click()
  await ada.locator('.recorded').waitFor({ state: 'detached' })
  await admin.close()
})

t.test('a listener without an account receives the tone of the microphone', async (t) => {
  await listener.getByRole('button', { name: 'Listen' }).click()
  await listener.getByText(/s behind the room/).waitFor()
  const hz = await until(async () => {
    const found = await playedFrequency(listener)
    return found > 0 && found
  }, 30_000)
  t.ok(Math.abs(hz - 1000) <= 1, `${hz} Hz`)
  await listener.getByText('Speaking: Ada').waitFor()
  await listener.getByText('Host: Ada').waitFor()
  t.equal(await listener.getByRole('link', { name: 'Join the room' }).getAttribute('href'), '/#room=evening')
  t.equal(await listener.evaluate(() => navigator.mediaSession.metadata?.title), 'evening')
  t.strictSame(await violationsOf(listener), [])
  await take(listener, 'listen')
})

t.test('a listener can pause and resume playback', async () => {
  await listener.getByRole('button', { name: 'Pause' }).click()
  await sign(listener, 'Paused')
  await listener.getByRole('button', { name: 'Listen' }).click()
  await listener.getByRole('button', { name: 'Pause' }).waitFor()
})

t.test('the page shows that the server cannot be reached', async () => {
  await sign(listener, 'On air')
  await listener.route('**/info', (route) => route.abort())
  await sign(listener, 'Reconnecting')
  await listener.getByText('Host: Ada').waitFor()
  await take(listener, 'listen-reconnecting')
  await listener.unroute('**/info')
  await sign(listener, 'On air')
})

t.test('the page shows that the broadcast has ended', async () => {
  await ada.getByRole('button', { name: 'Broadcast' }).click()
  await ada.getByRole('button', { name: 'End broadcast' }).click()
  await ada.getByRole('button', { name: 'Go live now' }).waitFor()
  await sign(listener, 'Not on air')
})
