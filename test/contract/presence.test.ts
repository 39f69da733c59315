import t from 'tap'
import { build, onBothStores } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import type { TestClient } from '../support/client.ts'
import { emptyArray } from '../support/empty-array.ts'
import { onceASecond } from '../support/pace.ts'
import { redisDatabase } from '../support/redis.ts'
import { until } from '../support/retry.ts'

interface Presence { count: number, joined: { userId: unknown }[], left: unknown[] }

/** Maintains the member list of a room from events, as a client does. */
function follow (client: TestClient, joined: Record<string, unknown>) {
  const there = new Set((joined.participants as { userId: unknown }[]).map(({ userId }) => userId))
  const seen = { there, count: Number(joined.participantCount), begin: performance.now(), presences: [] as number[], single: 0, faults: [] as string[] }
  const enter = (userId: unknown, how: string) => {
    if (there.has(userId) && userId !== client.greeting.userId) seen.faults.push(`${how}: ${String(userId)} is there already`)
    there.add(userId)
  }
  const leave = (userId: unknown, how: string) => {
    if (!there.delete(userId)) seen.faults.push(`${how}: ${String(userId)} is not there`)
  }
  client.ws.on('message', (raw) => {
    const { type, data } = JSON.parse(String(raw)) as { type?: string, data: never }
    if (type === 'room:userJoined' || type === 'room:userLeft') seen.single++
    if (type === 'room:userJoined') enter((data as { userId: unknown }).userId, type)
    if (type === 'room:userLeft') leave((data as { userId: unknown }).userId, type)
    if (type !== 'room:presence') return
    const presence = data as Presence
    seen.presences.push(performance.now())
    seen.count = presence.count
    for (const { userId } of presence.joined) enter(userId, type)
    for (const userId of presence.left) leave(userId, type)
  })
  return seen
}

async function crowd (servers: readonly [TestServer, ...TestServer[]]) {
  const watcher = await servers[0].connect('watcher')
  const seen = follow(watcher, await watcher.ok('room:join', { roomId: 'r1' }))
  const clients = await Promise.all(Array.from({ length: 24 }, (_, i) => (servers[i % servers.length] as TestServer).connect(i)))
  const stay = await Promise.all(clients.map(async (client, i) => {
    await client.ok('room:join', { roomId: 'r1' })
    for (let n = 0; n < i % 4; n++) {
      await client.ok('room:leave')
      await client.ok('room:join', { roomId: 'r1' })
    }
    if (i % 3 === 0) await client.close()
    return i % 3 !== 0
  }))
  const expected = ['watcher', ...stay.flatMap((stays, i) => stays ? [i] : [])].map(String).sort()
  return { watcher, seen, clients, expected, now: () => [...seen.there].map(String).sort() }
}

onBothStores(t, 'sends room:presence once per second in a big room', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth', PRESENCE_COALESCE_OVER: '2', ...env } })
  const { watcher, seen, clients, expected, now } = await crowd([server])
  await until(() => now().join() === expected.join() && seen.count === expected.length)

  const eventsBefore = seen.presences.length
  await clients[1]?.close()
  await until(() => seen.presences.length > eventsBefore)
  await until(() => seen.count === expected.length - 1)
  t.same(now(), expected.filter((id) => id !== '1'))
  t.same(seen.faults, [], 'no user joins or leaves twice')
  t.ok(onceASecond(seen.presences, seen.begin), `${seen.begin}: ${seen.presences.join()}`)
  // The server sends an event per join and per leave only while the room is small.
  const single = watcher.events.filter(({ type }) => type === 'room:userJoined' || type === 'room:userLeft')
  t.ok(single.length <= 8, `${single.length} events for individual users`)
})

t.test('sends room:presence once per second across all servers', async (t) => {
  const env = { FEATURES: 'auth', PRESENCE_COALESCE_OVER: '0', REDIS_URL: await redisDatabase() }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  const { seen, expected, now } = await crowd(servers)
  await until(() => now().join() === expected.join())
  t.ok(onceASecond(seen.presences, seen.begin), `${seen.begin}: ${seen.presences.join()}`)
  t.same(seen.faults, [])
})

t.test('omits users who join and leave within a second', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', PRESENCE_COALESCE_OVER: '0' } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  t.match(await ada.event('room:presence'), { roomId: 'r1', count: 1, joined: [{ userId: 1 }], left: emptyArray })
  const [brief, stays] = [await server.connect(2), await server.connect(3)]
  // Suppress the server's events until all users have joined and left: it cannot get the lock, as if another server
  // had just sent an event.
  const { cluster } = server.app
  const { tryLock } = cluster
  cluster.tryLock = async (key, ttlMs) => key.startsWith('presence:') ? false : await tryLock(key, ttlMs)
  await brief.ok('room:join', { roomId: 'r1' })
  await brief.ok('room:leave')
  await stays.ok('room:join', { roomId: 'r1' })
  cluster.tryLock = tryLock
  const { count, joined, left } = await ada.event('room:presence') as unknown as Presence
  t.same({ count, joined: joined.map(({ userId }) => userId), left }, { count: 2, joined: [3], left: [] })
})

t.test('batches the events of a user who keeps joining and leaving', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const [ada, bob] = [await server.connect('ada'), await server.connect('bob')]
  const seen = follow(ada, await ada.ok('room:join', { roomId: 'r1' }))
  for (let n = 0; n < 25; n++) {
    await bob.ok('room:join', { roomId: 'r1' })
    await bob.ok('room:leave')
  }
  await bob.ok('room:join', { roomId: 'r1' })
  await until(() => seen.there.has('bob') && seen.presences.length > 0)
  t.same(seen.faults, [])
  t.ok(seen.single <= 20, `${seen.single} single events`)
  t.ok(onceASecond(seen.presences, seen.begin))
})

t.test('loses no user when the room becomes small', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', PRESENCE_COALESCE_OVER: '2' } })
  const ada = await server.connect(1)
  const seen = follow(ada, await ada.ok('room:join', { roomId: 'r1' }))
  const [bob, eve] = [await server.connect(2), await server.connect(3)]
  for (const client of [bob, eve]) await client.ok('room:join', { roomId: 'r1' })
  await until(() => seen.there.size === 3)

  // Eve leaves the room while the room is big, and rejoins less than a second later, when the room is small.
  await eve.ok('room:leave')
  await bob.ok('room:leave')
  await eve.ok('room:join', { roomId: 'r1' })
  await bob.close()
  const dan = await server.connect(4)
  await dan.ok('room:join', { roomId: 'r1' })
  await until(() => seen.there.has(4) && !seen.there.has(2))
  t.same([...seen.there].sort(), [1, 3, 4])
  t.same(seen.faults, [])
})

t.test('at shutdown, a server announces that its members left', async (t) => {
  const env = { FEATURES: 'auth', PRESENCE_COALESCE_OVER: '0', REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const ada = await a.connect('ada')
  const seen = follow(ada, await ada.ok('room:join', { roomId: 'r1' }))
  for (let i = 0; i < 3; i++) await (await b.connect(i)).ok('room:join', { roomId: 'r1' })
  await until(() => seen.there.size === 4)
  await b.close()
  await until(() => seen.there.size === 1)
  t.equal(seen.count, 1)
  t.same(seen.faults, [])
})

t.test('does not announce the members of a closed room in a new room', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', PRESENCE_COALESCE_OVER: '0' } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await server.admin('POST', '/admin/rooms/r1/close')
  await ada.event('room:closed')
  const eve = await server.connect(3)
  await eve.ok('room:join', { roomId: 'r1' })
  const { count, joined, left } = await eve.event('room:presence') as unknown as Presence
  t.same({ count, joined: joined.map(({ userId }) => userId), left }, { count: 1, joined: [3], left: [] })
})
