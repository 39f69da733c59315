import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { onEveryStore } from '../support/build.ts'
import { goesOn, heals, liveRoom } from './backend-away.ts'

// In one test, the backend returns 503 for a minute. In the other test, the backend is stopped until the cached
// responses are too old to use.

const awayMs = 60_000
const staleMs = 30_000 + 300_000

onEveryStore(t, 'survives a minute without the backend', async (t, env) => {
  const life = await liveRoom(t, { EMPTY_ROOM_SECONDS: '1', ...env }, (backend) => backend.fault({ kind: 'status', status: 503 }))
  const { backend } = life
  const before = backend.calls('role')
  const end = Date.now() + awayMs
  let asked = 0
  let rounds = 0
  while (Date.now() < end) {
    // Stop after 25 rounds, because each round sends a gift and the limit is 30 gifts per user per minute.
    if (rounds < 25) await goesOn(t, life, rounds++)
    for (let i = 0; i < 10; i++, asked++) t.equal(await life.admin.fails('seat:mute', { userId: 2 }), 'UNAVAILABLE')
    await delay(500)
  }
  const calls = backend.calls('role') - before
  t.comment(`${rounds} rounds and ${asked} role lookups in a minute: ${calls} calls reached the backend, ${backend.calls('gifts')} for gifts`)
  t.ok(calls < asked / 10, 'the breaker blocks most calls')
  backend.mend()
  await heals(t, life, rounds)
})

t.test('uses cached responses for five minutes, then returns UNAVAILABLE', async (t) => {
  const life = await liveRoom(t, {}, (backend) => backend.stop())
  const { owner } = life
  const end = Date.now() + staleMs
  for (let locked = true; Date.now() < end - 10_000; locked = !locked) {
    await owner.ok(locked ? 'seat:unlock' : 'seat:lock', { seatIndex: 5 })
    await delay(5000)
  }
  await delay(15_000)
  t.equal(await owner.fails('seat:lock', { seatIndex: 6 }), 'UNAVAILABLE')
})
