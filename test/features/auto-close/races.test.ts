import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { build, onBothStores } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { createHoldingProxy } from '../chat/holding.ts'
import { createEmptyRooms, names, removals, startSweep, storeElsewhere } from './support.ts'

const env = { FEATURES: 'auth,chat', RATE_LIMIT_MESSAGES_PER_MINUTE: '10000', WS_MESSAGES_PER_SECOND: '100000', WS_MESSAGES_BURST: '100000' }

async function turns (count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await setImmediate()
}

onBothStores(t, 'a join during the close succeeds or fails with a retryable error', async (t, store, kind) => {
  const server = await build(t, { env: { ...env, ...store } })
  const other = kind === 'redis' ? await build(t, { env: { ...env, ...store } }) : server
  const elsewhere = storeElsewhere(server)
  const clients = [await server.connect('a'), await other.connect('b')] as const
  const outcomes = new Map<string, number>()
  for (const [i, roomId] of names('r', 48).entries()) {
    await createEmptyRooms(elsewhere, [roomId], Date.now())
    const client = clients[i % 2 as 0 | 1]
    const close = () => server.app.rooms.close(roomId, 'inactivity', true)
    // Varies whether the close or the join starts first, and by how many turns of the event loop.
    const shift = i % 16 - 8
    const [closed, { ok, data, error }] = await Promise.all([
      turns(shift).then(close),
      turns(-shift).then(() => client.request('room:join', { roomId }))
    ])
    const outcome = `${closed ? 'closed' : 'not closed'}, ${ok ? `in the ${data.ownerId === 1 ? 'old' : 'new'} room` : error.code}`
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    if (!ok) {
      t.equal(await client.fails('room:leave'), 'NOT_IN_ROOM')
      continue
    }
    const { id } = await client.ok('chat:message', { content: 'hello' })
    await client.event('chat:message', (message) => message.id === id)
    t.match(await server.app.store.getRoom(roomId), { participantCount: 1, ownerId: data.ownerId }, roomId)
    await client.ok('room:leave')
  }
  t.comment(JSON.stringify([...outcomes]))
  for (const outcome of outcomes.keys()) t.ok(['closed, in the new room', 'not closed, in the old room', 'closed, UNAVAILABLE'].includes(outcome), outcome)
  for (const client of clients) t.strictSame(client.events.filter(({ type }) => type === 'room:closed'), [], 'members of the new room do not receive the end of the old room')
  t.ok(outcomes.has('closed, in the new room') && outcomes.has('not closed, in the old room'), 'both outcomes occurred')
})

onBothStores(t, 'repeated sweeps remove no members and eventually close every room', async (t, store, kind) => {
  const server = await build(t, { env: { ...env, ...store } })
  const other = kind === 'redis' ? await build(t, { env: { ...env, ...store } }) : server
  const removed = [...new Set([server, other])].map(removals)
  const clients = await Promise.all(names('', 3).map((id, i) => (i % 2 ? other : server).connect(id)))
  const begin = Date.now()
  // Starts sweeps at staggered times, so that a sweep overlaps with every phase of the test.
  for (let sweeps = 0; sweeps < 24; sweeps++) {
    await until(() => Date.now() > begin + 40 * sweeps)
    startSweep(t, sweeps % 2 ? other : server, 0)
  }
  let visits = 0
  await Promise.all(clients.map(async (client, i) => {
    for (let n = 0; removed.flat().length < 40; n++) {
      const roomId = `r${(3 * n + i) % 12}`
      const { ok, error } = await client.request('room:join', { roomId })
      if (!ok) {
        t.equal(error.code, 'UNAVAILABLE')
        continue
      }
      visits++
      const [room, { id }] = await Promise.all([server.app.store.getRoom(roomId), client.ok('chat:message', { content: 'hello' })])
      await client.event('chat:message', (message) => message.id === id)
      if (!room || room.participantCount === 0) t.fail(`${roomId} is missing or empty`)
      await client.ok('room:leave')
    }
  }))
  t.comment(`${visits} visits to ${removed.flat().length} rooms`)
  await until(async () => (await server.app.store.listRooms('', 20)).length === 0)
  // If a user leaves while another server closes the room, the room returns to the index of empty rooms and stays there
  // until the next sweep.
  await until(async () => (await server.app.store.listEmptyRooms(Date.now(), 20)).length === 0)
})

t.test('closes a room that its last member leaves during a sweep', async (t) => {
  const redis = await startRedis(t)
  const proxy = await createHoldingProxy(t, redis)
  const [server, sweeper] = [await build(t, { env: { ...env, REDIS_URL: redis.url } }), await build(t, { env: { ...env, REDIS_URL: proxy.url } })]
  const removed = removals(sweeper)
  // The server's clock is a little behind the clock of the sweeping server.
  const { now } = server.app.clock
  Object.assign(server.app.clock, { now: () => now() - 200 })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  await ada.ok('room:leave')
  await ada.ok('room:join', { roomId: 'r1' })
  // Matches the script that removes an entry from the index of empty rooms.
  const found = proxy.hold(/\r\n\$1\r\n3\r\n\$\d+\r\nmsab:rooms:empty\r\n/)
  startSweep(t, sweeper, 0)
  await found
  await ada.ok('room:leave')
  proxy.release()
  await until(() => removed.length > 0)
  t.match(removed, [{ roomId: 'r1', reason: 'inactivity' }])
})
