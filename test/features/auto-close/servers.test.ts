import t from 'tap'
import type { Test } from 'tap'
import { startBackend } from '../../support/backend.ts'
import type { Backend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { startServer } from '../../support/process.ts'
import { freePort, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { holding } from '../chat/holding.ts'
import { abandon, names, occupy, removals, sweeping } from './support.ts'

const closedBy = async ({ url }: TestServer) => Number(/^flylive_rooms_auto_closed_total (\d+)$/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1])

t.test('servers that look at the same time: each room is closed by exactly one', async (t) => {
  const env = { FEATURES: 'auth', REDIS_URL: (await startRedis(t)).url }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  const [removed, others] = servers.map(removals) as [ReturnType<typeof removals>, ReturnType<typeof removals>]
  const { store } = servers[0].app
  // More than are asked for at a time.
  const due = names('due', 1100)
  await abandon(store, due, Date.now() - 3_600_000)
  await abandon(store, ['young'], Date.now())
  await occupy(store, ['busy'])
  const sweeps = servers.map((server) => sweeping(t, server, 60_000))
  await until(() => removed.length + others.length >= due.length)
  await Promise.all(sweeps.map((sweep) => sweep.stop()))
  t.same([...removed, ...others].map(({ roomId }) => roomId).sort(), due.sort())
  t.comment(`${removed.length} by the one, ${others.length} by the other`)
  t.same(await Promise.all(servers.map(closedBy)), [removed.length, others.length])
  t.same((await store.listRooms('', 10)).map(({ roomId }) => roomId), ['busy', 'young'])
  t.same(await store.listEmptyRooms(Date.now(), 10), ['young'])
})

/** Makes rooms that a backend knows to be live, and that everybody has left. */
async function leaveRooms (servers: readonly TestServer[], backend: Backend, roomIds: readonly string[]): Promise<void> {
  const clients = await Promise.all(Array.from({ length: 6 }, (_, i) => (servers[i % servers.length] as TestServer).connect(i)))
  await Promise.all(clients.map(async (client, i) => {
    for (const roomId of roomIds.filter((_, n) => n % clients.length === i)) {
      await client.ok('room:join', { roomId })
      await client.ok('room:leave')
    }
  }))
  const live = new Set(roomIds)
  await until(() => {
    for (const { roomId } of backend.statuses) live.delete(roomId)
    return live.size === 0
  })
}

/** Waits until all that is to be said of rooms has been said, and checks that it was said once that they ended. */
async function toldOnce (t: Test, server: TestServer, backend: Backend, roomIds: readonly string[]): Promise<void> {
  await until(async () => (await server.app.store.listNotes('room-status')).length === 0)
  const wrong = roomIds.map((roomId) => ({ roomId, told: backend.statuses.filter((item) => item.roomId === roomId).map(({ status }) => status) }))
    .filter(({ told }) => told.at(-1)?.is_live !== false || told.filter((status) => !status.is_live).length !== 1)
  t.same(wrong, [], 'the backend has heard once of each room that it ended')
}

t.test('the backend hears once that a room has ended', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const env = { ...backend.env, FEATURES: 'auth,auto-close,laravel-bridge', REDIS_URL: (await startRedis(t)).url, EMPTY_ROOM_SECONDS: '1' }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  const removed = servers.map(removals)
  const rooms = names('', 24)
  await leaveRooms(servers, backend, rooms)
  await until(() => removed.flat().length >= rooms.length)
  await toldOnce(t, servers[0], backend, rooms)
  t.same(removed.flat().map(({ roomId, reason }) => `${roomId} ${reason}`).sort(), rooms.map((roomId) => `${roomId} inactivity`).sort())
})

/** Where a server is in closing rooms, by what it has not told Redis any more when it is killed. */
const moments = {
  'the rooms are gone, and still noted as empty': /zrem\r\n\$\d+\r\nmsab:rooms\r\n/,
  'the rooms are gone, and noted nowhere': /exists\r\n\$\d+\r\nmsab:room:\{/
}

t.test('a server that is killed while it closes rooms: another brings it to its end', async (t) => {
  const killed = async (what: string, moment: RegExp) => {
    const redis = await startRedis(t)
    const backend = await startBackend(t)
    backend.everyRoom = () => 1
    const env = { ...backend.env, REDIS_URL: redis.url, EMPTY_ROOM_SECONDS: '1' }
    const server = await build(t, { env: { ...env, FEATURES: 'auth,laravel-bridge' } })
    const rooms = names('', 30)
    await leaveRooms([server], backend, rooms)

    const way = await holding(t, redis)
    const begun = way.hold(moment)
    const doomed = startServer(t, { ...env, REDIS_URL: way.url, FEATURES: 'auth,auto-close', PORT: String(await freePort()), HOST: '127.0.0.1', MEDIASOUP_WORKERS: '1' })
    await begun
    doomed.child.kill('SIGKILL')
    await doomed.exit
    const { store } = server.app
    t.same(await store.listRooms('', 100), [], what)
    t.equal(backend.statuses.some(({ status }) => !status.is_live), false, 'and the backend thinks that they are live')

    sweeping(t, server, 1000)
    await toldOnce(t, server, backend, rooms)
    t.same(await store.listEmptyRooms(Date.now(), 100), [])
    await until(async () => (await server.app.redis.keys('msab:agenda:*')).length === 0)
  }
  await Promise.all(Object.entries(moments).map(([what, moment]) => killed(what, moment)))
})
