import t from 'tap'
import type { Test } from 'tap'
import { startBackend } from '../../support/backend.ts'
import type { Backend, Status } from '../../support/backend.ts'
import { build, onBothStores, onEveryStore } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { isSince } from '../../support/pace.ts'

// The tests mostly wait, so they run in parallel. Only one test uses the shared Redis, because the databases of one
// Redis share channels.
t.jobs = 6

const statusesOf = (backend: Backend, roomId = '7'): Status[] => backend.statuses.filter((item) => item.roomId === roomId).map(({ status }) => status)
const counts = (backend: Backend, roomId = '7') => statusesOf(backend, roomId).map((status) => status.participant_count)

/** Asserts that all servers together sent at most one status per second. */
function assertSpacing (t: Test, backend: Backend, roomId = '7'): void {
  const times = backend.statuses.filter((item) => item.roomId === roomId).map(({ at }) => at)
  for (let i = 1; i < times.length; i++) t.ok((times[i] as number) - (times[i - 1] as number) >= 1000, `${(times[i] as number) - (times[i - 1] as number)} ms apart`)
}

onBothStores(t, 'reports the start, the member count and the end of a room', async (t, env) => {
  const backend = await startBackend(t)
  backend.rooms.set('7', 42)
  const server = await build(t, { env: { ...backend.env, ...env, EMPTY_ROOM_SECONDS: '1' } })
  const before = Date.now()
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  await ada.ok('room:join', { roomId: '7' })
  await until(() => counts(backend).at(-1) === 1)
  const [start, first] = statusesOf(backend)
  t.match(start, { is_live: true, participant_count: 0, started_at: String })
  const startedAt = Date.parse(start?.started_at ?? '')
  t.ok(isSince(before, startedAt), 'the creation time of the room')
  t.same(first, { is_live: true, participant_count: 1 })
  await bob.ok('room:join', { roomId: '7' })
  await until(() => counts(backend).at(-1) === 2)
  bob.ws.terminate()
  await until(() => counts(backend).at(-1) === 1)
  t.pass('a dropped connection counts as a leave')
  await ada.ok('room:leave')
  await until(() => statusesOf(backend).at(-1)?.is_live === false)
  t.match(statusesOf(backend).at(-1), { is_live: false, participant_count: 0, ended_at: String })
  t.ok(Date.parse(statusesOf(backend).at(-1)?.ended_at ?? '') >= startedAt)
  t.same(await server.app.kv.namespace('room-status').list().then((keys) => keys.length <= 1), true)
  await ada.ok('room:join', { roomId: '7' })
  await until(() => counts(backend).at(-1) === 1)
  t.equal(statusesOf(backend).filter(({ started_at: at }) => at !== undefined).length, 2, 'a new room is reported as started')
  assertSpacing(t, backend)
})

onEveryStore(t, 'coalesces changes into one report per second and sends the last value', async (t, env) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const server = await build(t, { env: { ...backend.env, ...env } })
  const crowd = await Promise.all(Array.from({ length: 30 }, (_, i) => server.connect(100 + i)))
  const started = Date.now()
  for (let round = 0; round < 3; round++) {
    await Promise.all(crowd.map((client) => client.ok('room:join', { roomId: '7' })))
    if (round < 2) await Promise.all(crowd.map((client) => client.ok('room:leave')))
  }
  await Promise.all(crowd.slice(0, 7).map((client) => client.ok('room:leave')))
  await until(() => counts(backend).at(-1) === 23)
  t.ok(statusesOf(backend).length <= 2 + (Date.now() - started) / 1000, `${statusesOf(backend).length} calls`)
  assertSpacing(t, backend)
})

t.test('sends one report per second across all servers', { buffered: true }, async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const env = { ...backend.env, REDIS_URL: (await startRedis(t)).url }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  const crowd = await Promise.all(Array.from({ length: 20 }, (_, i) => servers[i % 2 as 0 | 1].connect(100 + i)))
  for (const [i, client] of crowd.entries()) {
    await client.ok('room:join', { roomId: '7' })
    await until(() => i % 5 !== 4 || (counts(backend).at(-1) ?? 0) > i - 5)
  }
  await until(() => counts(backend).at(-1) === 20)
  assertSpacing(t, backend)
})

t.test('stops reporting a room that does not exist in the backend', { buffered: true }, async (t) => {
  const backend = await startBackend(t)
  backend.rooms.set('7', 42)
  const server = await build(t, { env: backend.env })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  await ada.ok('room:join', { roomId: '7' })
  backend.rooms.delete('7')
  await until(async () => JSON.parse(await server.app.kv.namespace('room-status').get('7') ?? '{}').count === 1)
  const calls = backend.calls('status')
  t.ok(calls <= 2)
  backend.rooms.set('7', 42)
  await bob.ok('room:join', { roomId: '7' })
  await until(() => counts(backend).at(-1) === 2)
  t.equal(backend.calls('status'), calls + 1)
})

t.test('a rejected report is not repeated immediately and does not delay other rooms', { buffered: true }, async (t) => {
  const backend = await startBackend(t)
  backend.rooms.set('7', 42).set('8', 42)
  backend.fault({ path: '/7/status', kind: 'status', status: 422 })
  const server = await build(t, { env: backend.env })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  await ada.ok('room:join', { roomId: '7' })
  await bob.ok('room:join', { roomId: '8' })
  await until(() => counts(backend, '8').at(-1) === 1)
  await bob.ok('room:leave')
  await until(() => counts(backend, '8').at(-1) === 0)
  t.ok(backend.requests.filter(({ path }) => path.includes('/7/status')).length <= 2)
})
