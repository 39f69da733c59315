import t from 'tap'
import { startBackend } from '../../support/backend.ts'
import type { Status } from '../../support/backend.ts'
import { build, shortTimings } from '../../support/build.ts'
import { buildMortal } from '../../support/mortal.ts'
import { clocksDifferMs } from '../../support/pace.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { lastStatus as last } from './support.ts'

// The tests mostly wait, so they run in parallel. Each test has its own Redis, because the databases of one Redis share
// channels.
t.jobs = 5

t.test('after an outage, the backend receives the current status', { buffered: true }, async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const server = await build(t, { env: { ...backend.env, EMPTY_ROOM_SECONDS: '0' } })
  const crowd = await Promise.all([1, 2, 3, 4, 5].map((id) => server.connect(id)))
  const [ada, bob, eve, kim, lee] = crowd as [typeof crowd[0], typeof crowd[0], typeof crowd[0], typeof crowd[0], typeof crowd[0]]
  for (const roomId of ['7', '8', '9']) {
    await ada.ok('room:join', { roomId })
    await until(() => last(backend, roomId)?.participant_count === 1)
  }
  await ada.ok('room:join', { roomId: '7' })
  await kim.ok('room:join', { roomId: '8' })
  await lee.ok('room:join', { roomId: '9' })
  await until(() => ['7', '8', '9'].every((roomId) => last(backend, roomId)?.participant_count === 1))

  const before = backend.calls('status')
  const mend = backend.fault({ call: 'status', kind: 'reset-after' })
  await bob.ok('room:join', { roomId: '7' })
  await until(() => backend.calls('status') > before)
  mend()
  backend.fault({ call: 'status', kind: 'status', status: 503 })
  await eve.ok('room:join', { roomId: '7' })
  await lee.ok('room:leave')
  await until(async () => (await server.app.store.getRoom('9')) === undefined)
  await kim.ok('room:leave')
  await until(async () => (await server.app.store.getRoom('8')) === undefined)
  await kim.ok('room:join', { roomId: '8' })
  await until(() => backend.calls('status') > before + 5)
  await bob.ok('room:leave')
  const calls = backend.calls('status')
  await until(() => backend.calls('status') > calls)
  await until(() => backend.requests.some(({ call, path, body }) => call === 'status' && path.includes('/9/') && (body as Status).is_live === false))
  const reported = Date.now()
  backend.mend()
  const mended = Date.now()

  await until(() => last(backend, '7')?.participant_count === 2 && last(backend, '9')?.is_live === false && last(backend, '8')?.participant_count === 1)
  t.comment(`correct ${Date.now() - mended} ms after the backend recovered`)
  t.ok(Date.parse(last(backend, '9')?.ended_at ?? '') <= reported + clocksDifferMs, 'ended_at is the true time of the end')
  const again = backend.statuses.filter((item) => item.roomId === '8').slice(-3).map(({ status }) => status)
  t.match(again, [{ is_live: false }, { is_live: true, participant_count: 0, started_at: String }, { participant_count: 1 }], 'a room recreated during the outage ends and starts')
})

t.test('another server reports the rooms of a killed server', { buffered: true }, async (t) => {
  const redis = await startRedis(t)
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const env = { ...backend.env, REDIS_URL: redis.url, EMPTY_ROOM_SECONDS: '1' }
  const server = await build(t, { env, timings: shortTimings })
  const doomed = await buildMortal(t, { env, reaches: ['REDIS_URL', 'LARAVEL_API_URL'], timings: shortTimings })
  const [ada, bob, eve] = [await server.connect(1), await doomed.connect(2), await doomed.connect(3)]
  await ada.ok('room:join', { roomId: '7' })
  await bob.ok('room:join', { roomId: '7' })
  await eve.ok('room:join', { roomId: '8' })
  await until(() => last(backend, '7')?.participant_count === 2 && last(backend, '8')?.participant_count === 1)
  backend.fault({ call: 'status', kind: 'hang' })
  await eve.ok('room:leave')
  doomed.kill()
  backend.mend()
  const synced = () => last(backend, '7')?.participant_count === 1 && last(backend, '8')?.is_live === false
  // The killed server's lease on the job expires after 60 s.
  await until(synced, 90_000)
  t.match(last(backend, '7'), { is_live: true, participant_count: 1 })
  t.match(last(backend, '8'), { is_live: false, ended_at: String })
})

t.test('a restarted single server reports that its rooms are empty, and then that they ended', { buffered: true }, async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const env = { ...backend.env, FEATURES: 'auth,auto-close,laravel-bridge', EMPTY_ROOM_SECONDS: '1' }
  const first = await buildMortal(t, { env, reaches: ['LARAVEL_API_URL'], timings: shortTimings })
  const ada = await first.connect(1)
  await ada.ok('room:join', { roomId: '7' })
  await until(() => last(backend, '7')?.participant_count === 1)
  await build(t, { env: first.kill(), timings: shortTimings })
  await until(() => last(backend, '7')?.participant_count === 0)
  await until(() => last(backend, '7')?.is_live === false)
  t.match(last(backend, '7'), { is_live: false, participant_count: 0, ended_at: String })
})

t.test('reports that rooms ended even if Redis loses its data', { buffered: true }, async (t) => {
  const redis = await startRedis(t)
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const server = await build(t, { env: { ...backend.env, REDIS_URL: redis.url, EMPTY_ROOM_SECONDS: '1' }, timings: shortTimings })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  await ada.ok('room:join', { roomId: '7' })
  await bob.ok('room:join', { roomId: '8' })
  await until(() => last(backend, '7')?.participant_count === 1 && last(backend, '8')?.participant_count === 1)
  await redis.kill()
  await ada.ok('room:leave')
  await redis.start()
  await until(() => last(backend, '7')?.is_live === false)
  await until(() => last(backend, '8')?.participant_count === 1)
  t.match(last(backend, '8'), { is_live: true })
})

t.test('reports changes made while the feature was disabled', { buffered: true }, async (t) => {
  const redis = await startRedis(t)
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const off = await build(t, { env: { REDIS_URL: redis.url, EMPTY_ROOM_SECONDS: '1' } })
  const ada = await off.connect(1)
  await ada.ok('room:join', { roomId: '7' })
  const on = await build(t, { env: { ...backend.env, REDIS_URL: redis.url, EMPTY_ROOM_SECONDS: '1' } })
  await until(() => last(backend, '7')?.participant_count === 1)
  await on.close()
  await ada.ok('room:leave')
  await until(async () => (await off.app.store.getRoom('7')) === undefined)
  await build(t, { env: { ...backend.env, REDIS_URL: redis.url } })
  await until(() => last(backend, '7')?.is_live === false)
  t.match(last(backend, '7'), { ended_at: String })
})
