import t from 'tap'
import { onEveryStore } from '../support/build.ts'
import { until } from '../support/retry.ts'
import { goesOn, heals, liveRoom } from './backend-away.ts'

onEveryStore(t, 'a room continues without the backend and recovers', async (t, env) => {
  const life = await liveRoom(t, { EMPTY_ROOM_SECONDS: '1', ...env }, (backend) => backend.stop())
  const { admin, backend, owner, server } = life
  for (let round = 0; round < 2; round++) await goesOn(t, life, round)
  t.equal(await owner.fails('room:join', { roomId: '8' }), 'UNAVAILABLE', 'a new room needs the backend')
  t.same(await owner.ok('user:getRoom', { userId: 1 }), { roomId: '7' }, 'a rejected user stays in the current room')
  await until(async () => {
    t.equal(await admin.fails('seat:mute', { userId: 2 }), 'UNAVAILABLE')
    return /flylive_laravel_breaker_state\{call="role"\} 2/.test(await (await fetch(`${server.url}/metrics`)).text())
  })
  t.pass('the breaker blocks calls')
  await backend.start()
  await heals(t, life, 2)
})
