import t from 'tap'
import { startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import { startServer } from '../../support/process.ts'
import { freePort, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { createHoldingProxy } from '../chat/holding.ts'
import { leaveRooms, names, startSweep, assertEndedOnce } from './support.ts'

/** Patterns of Redis commands. The server is killed right before Redis receives a command that matches the pattern. */
const moments = {
  'the rooms are removed but still in the index of empty rooms': /zrem\r\n\$\d+\r\nmsab:rooms\r\n/,
  'the rooms are removed from all indexes': /exists\r\n\$\d+\r\nmsab:room:\{/
}

// The tests mostly wait, so they run in parallel.
t.jobs = 2

for (const [what, moment] of Object.entries(moments)) {
  t.test(`another server finishes closing rooms after a kill: ${what}`, async (t) => {
    const redis = await startRedis(t)
    const backend = await startBackend(t)
    backend.everyRoom = () => 1
    const env = { ...backend.env, REDIS_URL: redis.url, EMPTY_ROOM_SECONDS: '1' }
    const server = await build(t, { env: { ...env, FEATURES: 'auth,laravel-bridge' } })
    const rooms = names('', 20)
    await leaveRooms([server], backend, rooms)

    const proxy = await createHoldingProxy(t, redis)
    const begun = proxy.hold(moment)
    const doomed = startServer(t, { ...env, REDIS_URL: proxy.url, FEATURES: 'auth,auto-close', PORT: String(await freePort()), HOST: '127.0.0.1', MEDIASOUP_WORKERS: '1' })
    await begun
    doomed.child.kill('SIGKILL')
    await doomed.exit
    const { redis: client, store } = server.app
    t.same(await store.listRooms('', 100), [])
    t.equal(backend.statuses.some(({ status }) => !status.is_live), false, 'the rooms are live in the backend')

    startSweep(t, server, 1000)
    await assertEndedOnce(t, server, backend, rooms)
    await until(async () => (await store.listEmptyRooms(Date.now(), 100)).length === 0)
    await until(async () => (await client.keys('msab:jobs:*')).length === 0)
  })
}
