import t from 'tap'
import { startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { createEmptyRooms, leaveRooms, names, createOccupiedRooms, removals, startSweep, assertEndedOnce, storeElsewhere } from './support.ts'

const closedBy = async ({ url }: TestServer) => Number(/^flylive_rooms_auto_closed_total (\d+)$/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1])

t.test('concurrent sweeps close each room once', async (t) => {
  const env = { FEATURES: 'auth', REDIS_URL: await redisDatabase() }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  const [removed, others] = servers.map(removals) as [ReturnType<typeof removals>, ReturnType<typeof removals>]
  const store = storeElsewhere(servers[0])
  const due = names('due', 700)
  await createEmptyRooms(store, due, Date.now() - 3_600_000)
  await createEmptyRooms(store, ['young'], Date.now())
  await createOccupiedRooms(store, ['busy'])
  const sweeps = servers.map((server) => startSweep(t, server, 60_000))
  await until(() => removed.length + others.length >= due.length)
  await Promise.all(sweeps.map((sweep) => sweep.stop()))
  t.same([...removed, ...others].map(({ roomId }) => roomId).sort(), due.sort())
  t.comment(`${removed.length} by one server, ${others.length} by the other`)
  t.same(await Promise.all(servers.map(closedBy)), [removed.length, others.length])
  t.same((await store.listRooms('', 10)).map(({ roomId }) => roomId), ['busy', 'young'])
  t.same(await store.listEmptyRooms(Date.now(), 10), ['young'])
})

t.test('notifies the backend once when a room ends', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const env = { ...backend.env, FEATURES: 'auth,auto-close,laravel-bridge', REDIS_URL: await redisDatabase(), EMPTY_ROOM_SECONDS: '1' }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  const removed = servers.map(removals)
  const rooms = names('', 24)
  await leaveRooms(servers, backend, rooms)
  await until(() => removed.flat().length >= rooms.length)
  await assertEndedOnce(t, servers[0], backend, rooms)
  t.same(removed.flat().map(({ roomId, reason }) => `${roomId} ${reason}`).sort(), rooms.map((roomId) => `${roomId} inactivity`).sort())
})

t.test('if a server crashes while closing a room, another server announces the close', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const server = await build(t, { env: { ...backend.env, FEATURES: 'auth,laravel-bridge', REDIS_URL: await redisDatabase() } })
  const rooms = names('', 5)
  await leaveRooms([server], backend, rooms)
  const { jobs, store } = server.app
  // Simulate a server that died after the first step of removing the rooms.
  for (const roomId of rooms) await Promise.all([store.removeRoom(roomId, true), jobs.schedule('room-closed', roomId, Date.now())])
  await assertEndedOnce(t, server, backend, rooms)
  await until(async () => (await server.app.redis.keys('msab:jobs:*')).length === 0)
})
