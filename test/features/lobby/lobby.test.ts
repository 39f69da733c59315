import t from 'tap'
import type { Test } from 'tap'
import { build, onBothStores, onEveryStore } from '../../support/build.ts'
import type { StoreKind, TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { until } from '../../support/retry.ts'
import type { Page } from '../../../features/lobby/service.ts'
import { isSince, stopwatch } from '../../support/pace.ts'

/** Starts two servers that share one Redis. For stores without Redis, returns the same server twice. */
async function pair (t: Test, kind: StoreKind, env: Record<string, string>, config: Record<string, unknown> = {}, features = 'auth,lobby,seats'): Promise<[TestServer, TestServer]> {
  const options = { env: { FEATURES: features, FEATURES_CONFIG: JSON.stringify({ lobby: { cacheMs: 0, listsPerMinute: 10_000, ...config } }), ...env } }
  const server = await build(t, options)
  return [server, kind === 'redis' ? await build(t, options) : server]
}

const list = async (client: TestClient, data: object = {}) => await client.ok('lobby:list', data) as unknown as Page
const idsOf = ({ rooms }: Page) => rooms.map(({ roomId }) => roomId)

/** Counts how often a server calls each method of its store. */
function countCalls ({ app }: TestServer): Record<string, number> {
  const calls: Record<string, number> = {}
  const store = app.store as unknown as Record<string, (...args: unknown[]) => unknown>
  for (const name of ['listBusyRooms', 'listRooms', 'getRoom', 'getSomeMembers', 'getMembers', 'getParticipants', 'readDocuments']) {
    const call = store[name]?.bind(store)
    store[name] = (...args) => {
      calls[name] = (calls[name] ?? 0) + 1
      return call?.(...args)
    }
  }
  return calls
}

onBothStores(t, 'lists the occupied rooms of all servers', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const [ada, bob, eve, looker] = [await a.connect(1), await b.connect('bob'), await b.connect(3), await a.connect(9)]
  t.same(await list(looker), { rooms: [], nextCursor: null })

  const before = Date.now()
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r2', seatCount: 4 })
  await eve.ok('room:join', { roomId: 'r1' })
  const live = { speaking: [], onAir: false }
  const profile = (id: string | number) => ({ userId: id, id, name: `User ${id}` })
  const { rooms, nextCursor } = await list(looker)
  t.strictSame(rooms.map(({ createdAt, ...room }) => room), [
    { roomId: 'r1', ownerId: 3, hostName: 'User 3', title: null, topic: null, isLocked: false, participantCount: 1, live, seatCount: 15, seated: 0, people: [profile(3)] },
    { roomId: 'r2', ownerId: 1, hostName: 'User 1', title: null, topic: null, isLocked: false, participantCount: 2, live, seatCount: 4, seated: 0, people: [profile(1), profile('bob')] }
  ])
  t.ok(rooms.every(({ createdAt }) => isSince(before, createdAt)))
  t.equal(nextCursor, null)
  t.same(idsOf(await list(ada)), ['r1', 'r2'], 'members of a room can list, too')

  await eve.ok('room:leave')
  t.same(idsOf(await list(looker)), ['r2'], 'an empty room is not listed')
  await ada.ok('room:leave')
  t.match((await list(looker)).rooms, [{ ownerId: 1, people: [{ userId: 'bob' }] }])
  await a.admin('POST', '/admin/rooms/r2/close')
  t.same(await list(looker), { rooms: [], nextCursor: null })
})

onEveryStore(t, 'lists some members, seated members first', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const clients: TestClient[] = []
  for (let id = 1; id <= 9; id++) {
    const client = await (id % 2 ? a : b).connect(id)
    await client.ok('room:join', { roomId: 'r1' })
    clients.push(client)
  }
  const looker = await a.connect('looker')
  const people = async () => (await list(looker)).rooms[0]?.people.map(({ userId }) => userId)
  t.same(await people(), [1, 2, 3, 4, 5, 6])
  await clients[8]?.ok('seat:take', { seatIndex: 7 })
  await clients[3]?.ok('seat:take', { seatIndex: 2 })
  t.same(new Set((await people())?.slice(0, 2)), new Set([9, 4]))
  t.same((await people())?.slice(2), [1, 2, 3, 5])
  t.match((await list(looker)).rooms, [{ seated: 2, participantCount: 9 }])
  await clients[3]?.close()
  await until(async () => (await list(looker)).rooms[0]?.participantCount === 8)
  await until(async () => (await list(looker)).rooms[0]?.seated === 1)

  t.equal((await a.admin('PATCH', '/admin/features/lobby/config', { people: 1 })).status, 200)
  t.equal((await people())?.length, 1)
  t.equal((await a.admin('PATCH', '/admin/features/lobby/config', { people: 0 })).status, 200)
  t.same(await people(), [])
})

onEveryStore(t, 'lists a locked room without its members', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const [ada, bob, looker] = [await a.connect(1), await b.connect(2), await b.connect(9)]
  await ada.ok('room:join', { roomId: 'closed', pin: '1234' })
  await ada.ok('seat:take', { seatIndex: 0 })
  await bob.ok('room:join', { roomId: 'open' })
  const { rooms } = await list(looker)
  t.match(rooms, [
    { roomId: 'closed', ownerId: 1, participantCount: 1, isLocked: true, seated: 1, people: emptyArray },
    { roomId: 'open', isLocked: false, people: [{ userId: 2 }] }
  ])
  t.notMatch(JSON.stringify(rooms[0]), /User 1|1234|pin/)
})

onEveryStore(t, 'returns rooms in pages', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const ids = ['B', '_', 'a', 'a.1', 'b', 'x'.repeat(128), 'z:9']
  for (const [i, roomId] of ids.entries()) await (await (i % 2 ? a : b).connect(i)).ok('room:join', { roomId })
  const gone = await a.connect('gone')
  for (const roomId of ['a.0', 'zz']) await gone.ok('room:join', { roomId })
  await gone.ok('room:leave')
  const looker = await b.connect(9)
  for (const limit of [1, 3, 7, 100]) {
    const listed: string[] = []
    let cursor: string | null = null
    let pages = 0
    do {
      const page: Page = await list(looker, { limit, ...(cursor === null ? {} : { cursor }) })
      t.ok(page.rooms.length <= limit)
      listed.push(...idsOf(page))
      cursor = page.nextCursor
      pages++
    } while (cursor !== null)
    t.same(listed, ids, `pages of ${limit}`)
    t.equal(pages, Math.ceil(ids.length / limit))
  }
  const { nextCursor } = await list(looker, { limit: 3 })
  await (await b.connect('late')).ok('room:join', { roomId: 'a.5' })
  t.same(idsOf(await list(looker, { limit: 2, cursor: nextCursor })), ['a.1', 'a.5'], 'a cursor stays valid when rooms are added')
  for (const data of [{ limit: 0 }, { limit: 101 }, { limit: 1.5 }, { limit: '5' }, { cursor: 5 }, { cursor: 'x'.repeat(513) }]) {
    t.equal(await looker.fails('lobby:list', data), 'VALIDATION_FAILED', JSON.stringify(data))
  }
})

onEveryStore(t, 'searches in pages', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  for (const [i, roomId] of ['r1', 'r2', 'r3', 'r4', 'r5'].entries()) {
    await (await (i % 2 ? a : b).connect(i)).ok('room:join', { roomId, title: i % 2 ? 'Chess' : 'Music' })
  }
  const looker = await a.connect('looker')
  const first = await list(looker, { query: 'music', limit: 2 })
  t.same(idsOf(first), ['r1', 'r3'])
  const second = await list(looker, { query: 'music', limit: 2, cursor: first.nextCursor })
  t.same([idsOf(second), second.nextCursor], [['r5'], null])
  t.match(await list(looker, { query: 'music', limit: 3 }), { nextCursor: null })
})

t.test('lists the active speakers on all servers, except in locked rooms', async (t) => {
  const [server] = await pair(t, 'memory', {})
  const [ada, bob, looker] = [await server.connect(1), await server.connect(2), await server.connect(9)]
  await ada.ok('room:join', { roomId: 'closed', pin: '1234' })
  await bob.ok('room:join', { roomId: 'open' })
  const { rooms } = await until(async () => {
    // Servers repeat their reports, because a report is valid for a few seconds only.
    for (const [node, userIds] of [['other', [2, 'cyd']], ['third', ['2']]] as const) {
      await server.app.bus.publish('lobby:speaking', JSON.stringify({ node, rooms: { closed: [1], open: userIds } }))
    }
    const page = await list(looker)
    return page.rooms[1]?.live.speaking.length === 2 && page
  })
  t.same(rooms.map(({ live }) => live.speaking.map(String).sort()), [[], ['2', 'cyd']])
  await until(async () => {
    for (const [node, rooms] of [['other', {}], ['third', { open: ['2'] }]] as const) {
      await server.app.bus.publish('lobby:speaking', JSON.stringify({ node, rooms }))
    }
    return (await list(looker)).rooms[1]?.live.speaking.length === 1
  })
})

onBothStores(t, 'a page takes only a few store calls, and concurrent requests share them', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env, { cacheMs: 60_000 })
  for (let i = 0; i < 20; i++) {
    const client = await a.connect(i)
    await client.ok('room:join', { roomId: `r${i}` })
    await client.ok('seat:take', { seatIndex: 1 })
  }
  const lookers = await Promise.all(Array.from({ length: 20 }, (_, i) => b.connect(`looker ${i}`)))
  const calls = countCalls(b)
  const pages = await Promise.all(Array.from({ length: 10 }, () => lookers).flat().map((client) => list(client)))
  t.ok(pages.every(({ rooms }) => rooms.length === 20 && rooms.every(({ seated, people }) => seated === 1 && people.length === 1)))
  // `readDocuments` reads owners, details and seats; `getSomeMembers` reads the names of owners and members.
  const once = { listBusyRooms: 1, readDocuments: 3, getSomeMembers: 2 }
  t.same(calls, once)
  await list(lookers[0] as TestClient, { limit: 50 })
  t.same(calls, once, 'the default limit returns the same cached page')
  await list(lookers[0] as TestClient, { limit: 5 })
  t.same(calls, { listBusyRooms: 2, readDocuments: 6, getSomeMembers: 4 }, 'another limit loads another page')
})

onEveryStore(t, 'the list is at most one second old', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env, { cacheMs: undefined })
  const [ada, looker] = [await a.connect(1), await b.connect(9)]
  t.same(idsOf(await list(looker)), [])
  await ada.ok('room:join', { roomId: 'r1' })
  const passed = stopwatch()
  await until(async () => idsOf(await list(looker)).length === 1)
  t.ok(passed() < 3000)
})

onBothStores(t, 'limits requests per user per minute across all servers', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env, { listsPerMinute: 5 })
  const [ada, adasPhone, bob] = [await a.connect(1), await b.connect(1), await b.connect(2)]
  for (let i = 0; i < 5; i++) await list(i % 2 ? ada : adasPhone)
  for (const client of [ada, adasPhone]) t.match(await client.request('lobby:list'), { error: { code: 'RATE_LIMITED', details: { retryAfterMs: Number } } })
  await list(bob)
})

t.test('omits seats while the feature is disabled', async (t) => {
  const [server] = await pair(t, 'memory', {}, {}, 'auth,lobby')
  const [ada, looker] = [await server.connect(1), await server.connect(9)]
  await ada.ok('room:join', { roomId: 'r1' })
  const { rooms } = await list(looker)
  t.same(Object.keys(rooms[0] ?? {}).sort(), ['createdAt', 'hostName', 'isLocked', 'live', 'ownerId', 'participantCount', 'people', 'roomId', 'title', 'topic'])
  t.equal((await server.admin('POST', '/admin/features/seats/enable')).status, 200)
  t.match((await list(looker)).rooms, [{ seatCount: 15, seated: 0 }], 'present after enabling seats')
  t.equal((await server.admin('POST', '/admin/features/lobby/disable')).status, 200)
  t.equal(await looker.fails('lobby:list'), 'FEATURE_DISABLED')
})

t.test('reports an unavailable store and recovers', async (t) => {
  const [server] = await pair(t, 'memory', {}, { cacheMs: 60_000 })
  const looker = await server.connect(9)
  const { store } = server.app
  const { listBusyRooms } = store
  store.listBusyRooms = async () => { throw Object.assign(new Error('The store is unreachable'), { code: 'UNAVAILABLE', statusCode: 503 }) }
  t.equal(await looker.fails('lobby:list'), 'UNAVAILABLE')
  store.listBusyRooms = listBusyRooms
  t.same(await list(looker), { rooms: [], nextCursor: null })
})
