import t from 'tap'
import { startBackend } from '../support/backend.ts'
import { build } from '../support/build.ts'
import { act, expectTone, give, openBrowser, receptionOf, seatOn, visit } from '../support/browser.ts'
import { until } from '../support/retry.ts'

const awayMs = Number(process.env.AWAY_MS ?? 60_000)
const room = '42'

t.test('audio and host actions continue while the backend is down', async (t) => {
  const backend = await startBackend(t)
  const [server, adasBrowser, bobsBrowser] = await Promise.all([
    build(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,auto-close,laravel-bridge,stage', ...backend.env } }),
    openBrowser(t, 440),
    openBrowser(t, 1000)
  ])
  const ada = await visit(t, adasBrowser, server.url, {
    name: 'Ada',
    room,
    async prepare (page) {
      await page.route('**/stage/session', async (route) => {
        if (route.request().method() !== 'POST') return await route.continue()
        const response = await route.fetch()
        backend.rooms.set(room, (await response.json() as { userId: string }).userId)
        await route.fulfill({ response })
      })
    }
  })
  await seatOn(ada, 'Seat 1: you').waitFor()
  const bob = await visit(t, bobsBrowser, server.url, { name: 'Bob', room })
  await seatOn(bob, 'Seat 2: you').waitFor()
  await Promise.all([expectTone(ada, 'Bob', 1000), expectTone(bob, 'Ada', 440)])

  await backend.stop()
  const begin = Date.now()
  const before = await receptionOf(bob, 'Ada')
  let rounds = 0
  for (; Date.now() < begin + awayMs; rounds++) {
    await act(ada, 'Bob', 'Mute Bob')
    await expectTone(ada, 'Bob', 0)
    await act(ada, 'Bob', 'Unmute Bob')
    await expectTone(ada, 'Bob', 1000)
    await expectTone(bob, 'Ada', 440)
  }
  const after = await receptionOf(bob, 'Ada')
  const seconds = (Date.now() - begin) / 1000
  const received = (after?.packetsReceived ?? 0) - (before?.packetsReceived ?? 0)
  const lost = (after?.packetsLost ?? 0) - (before?.packetsLost ?? 0)
  t.comment(`${rounds} mutes in ${Math.round(seconds)} s; Bob received ${received} packets from Ada, ${lost} were lost`)
  t.equal(after?.producerId, before?.producerId, 'the stream is unchanged')
  t.equal(lost, 0)
  t.ok(received > seconds * 40, 'about 50 packets per second')
  t.ok(rounds >= 1)

  await backend.start()
  await give(bob, 'Ada')
  await until(() => backend.ledger.size === 1, 30_000)
  await until(() => backend.statuses.at(-1)?.status.participant_count === 2, 30_000)
})
