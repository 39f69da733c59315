import t from 'tap'
import { build } from '../support/build.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/retry.ts'

for (const type of ['room:leave', 'room:join']) {
  t.test(`leaves no room behind if Redis hangs during ${type}`, async (t) => {
    const redis = await startRedis(t)
    const server = await build(t, { env: { FEATURES: 'auth,auto-close', EMPTY_ROOM_SECONDS: '1', REDIS_URL: redis.url } })
    const ada = await server.connect(1)
    if (type === 'room:leave') await ada.ok('room:join', { roomId: 'r1' })
    redis.process.kill('SIGSTOP')
    await ada.request(type, { roomId: 'r1' })
    // Redis executes the request only now, after the call has timed out.
    redis.process.kill('SIGCONT')
    await until(() => server.app.store.check().then(() => true, () => false))
    await until(async () => (await server.app.store.getRoom('r1')) === undefined)
    // The store removes the keys of the room first, and the room's entry in the index of empty rooms later.
    await until(async () => (await server.app.store.listEmptyRooms(Date.now(), 10)).length === 0)
    t.pass('the room is not listed as empty')
  })
}
