import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { createRedisLeases } from '../../../plugins/cluster/leases.redis.ts'
import { createRedisStore } from '../../../plugins/store/redis/index.ts'
import { defaultTimings } from '../../../plugins/timings.ts'
import type { RoomStore } from '../../../plugins/store/store.ts'
import { accessDocument, maxListedParticipants } from '../../../plugins/store/types.ts'
import type { MembersChange, NodeMembers, RoomAccess } from '../../../plugins/store/types.ts'
import { codeOf, joining, recordOf, storeContract } from '../../contracts/store.ts'
import { storeDocumentsContract } from '../../contracts/store-documents.ts'
import { storeListsContract } from '../../contracts/store-lists.ts'
import { redisClient, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { stopwatch } from '../../support/pace.ts'

// The tests share one Redis; each test uses its own database.
const shared = await startRedis(t)
let database = 0

const storeOf = (client: Redis, nodeId: string) => createRedisStore(client, nodeId, createRedisLeases(client, nodeId))

async function pair (t: Test): Promise<{ a: RoomStore, b: RoomStore, client: Redis }> {
  const db = ++database % 16
  const [client, other] = [await redisClient(t, shared, db), await redisClient(t, shared, db)]
  await client.flushdb()
  return { a: storeOf(client, 'node-a'), b: storeOf(other, 'node-b'), client }
}

for (const contract of [storeContract, storeDocumentsContract, storeListsContract]) contract(t, async (t) => (await pair(t)).a)

t.test('two servers share a room', async (t) => {
  const { a, b } = await pair(t)
  t.match(await a.join(joining('r1', 1, { pinHash: 'right' })), { created: true })
  t.equal(await codeOf(b.join(joining('r1', 2))), 'PIN_REQUIRED')
  t.match(await b.join(joining('r1', 1, { sessionId: 'phone', pinHash: 'right' })), { created: false, firstOfUser: false, count: 1 })
  t.equal(await b.leave('r1', 's-1', '1', 1), undefined, "a server cannot remove another server's socket")
  t.same(await a.leave('r1', 's-1', '1', 1), { lastOfUser: false, count: 1 })
  t.same(await b.leave('r1', 'phone', '1', 1), { lastOfUser: true, count: 0 })

  await a.touchRoom('r1', 1, 2)
  await b.touchRoom('r1', 1, 3)
  t.match(await a.getRoom('r1'), { producers: 5 }, 'producers are summed across servers')
  t.match((await b.listRooms('', 10)), [{ roomId: 'r1', producers: 5 }])
  await a.ban('r1', '9', Date.now() + 60_000)
  t.equal(await codeOf(b.join(joining('r1', 9, { pinHash: 'right' }))), 'BANNED')

  const removals = await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? a : b).removeRoom('r1')))
  t.equal(removals.filter((room) => room !== undefined).length, 1)
})

t.test("two servers together admit exactly as many users as the room's limit allows", async (t) => {
  const { a, b } = await pair(t)
  const outcomes = await Promise.all(Array.from({ length: 50 }, (_, i) => codeOf((i % 2 ? a : b).join(joining('r1', i, { limit: 10 })))))
  t.equal(outcomes.filter((outcome) => outcome === 'ok').length, 10)
  t.equal(outcomes.filter((outcome) => outcome === 'ROOM_FULL').length, 40)
})

t.test('join replies list the right members after a server of an earlier version has added or removed some', async (t) => {
  const { a, client } = await pair(t)
  const room = 'msab:room:{r1}'
  let place = 4_000_000_000_000
  // Write and remove members as earlier versions of the server did.
  const add = async (user: number) => {
    const profile = JSON.stringify({ userId: user, id: user, name: `User ${user}` })
    await client.multi().hset(`${room}:sessions`, `node-c s-${user}`, user).hincrby(`${room}:refs`, `${user}`, 1)
      .zadd(`${room}:users`, place += 1000, `${user}`).hset(`${room}:profiles`, user, profile).exec()
  }
  const remove = async (user: number) => {
    await client.multi().hdel(`${room}:sessions`, `node-a s-${user}`, `node-c s-${user}`).hdel(`${room}:refs`, `${user}`)
      .zrem(`${room}:users`, `${user}`).hdel(`${room}:profiles`, `${user}`).exec()
  }
  const join = async (user: number) => (await a.join(joining('r1', user, { limit: 1000 }))).participants.map(({ userId }) => userId)
  for (const user of [1, 2, 3]) await join(user)
  await add(4)
  t.same(await join(2), [1, 2, 3, 4])
  await add(5)
  t.same(await join(6), [1, 2, 3, 4, 5, 6])
  await remove(6)
  t.same(await join(5), [1, 2, 3, 4, 5])
  for (const user of [20, 21]) await add(user)
  t.same(await join(20), [1, 2, 3, 4, 5, 20, 21])
  for (const user of [20, 21, 5]) await remove(user)
  t.same(await join(6), [1, 2, 3, 4, 6])
  await remove(1)
  await remove(6)
  for (const user of [7, 6]) await add(user)
  t.same(await join(8), [2, 3, 4, 7, 6, 8])
  for (let user = 10; user < 10 + maxListedParticipants; user++) await join(user)
  await remove(2)
  const expected = await a.getParticipants('r1', maxListedParticipants)
  t.same(await join(9), expected.map(({ userId }) => userId))
  t.equal(expected.length, maxListedParticipants)
})

t.test('the next call removes a partially removed room from the indexes', async (t) => {
  const { a, client } = await pair(t)
  await a.join(joining('r1', 1))
  await a.join(joining('r2', 2))
  await client.del('msab:room:{r1}')
  t.equal(await a.removeRoom('r1', true), undefined)
  t.match(await a.listRooms('', 10), [{ roomId: 'r2' }])
  t.same(await client.zrange('msab:rooms', '0', '-1'), ['r2'])
  t.equal(await a.removeRoom('r2', true), undefined, 'an occupied room is kept')
  t.same(await client.zrange('msab:rooms', '0', '-1'), ['r2'])
})

t.test('removes the members of a dead server', async (t) => {
  const { a, b, client } = await pair(t)
  await a.join(joining('r1', 1))
  await a.join(joining('r2', 1))
  await b.join(joining('r1', 2))
  await b.join(joining('r1', 1, { sessionId: 'phone' }))
  await a.touchRoom('r1', 1, 3)
  t.same((await b.listNodeRooms('node-a')).sort(), ['r1', 'r2'])

  t.same(await b.removeNodeMembers('node-a', 'r1'), { joined: [], left: [], count: 2 }, 'user 1 is still a member through b')
  t.same(await b.removeNodeMembers('node-a', 'r2'), { joined: [], left: [{ userId: 1, id: 1, name: 'User 1' }], count: 0 })
  t.same(await b.removeNodeMembers('node-a', 'r2'), { joined: [], left: [], count: 0 }, 'once')
  t.match(await b.getRoom('r1'), { participantCount: 2, producers: 0 })
  t.same(await b.listEmptyRooms(Date.now(), 10), ['r2'], 'an empty room is listed as empty')
  await client.sadd('msab:node:{node-a}:rooms', 'r9')
  await b.forgetNodeRooms('node-a')
  t.same(await b.listNodeRooms('node-a'), [])
})

t.test('users of a dead server can return to a locked room, unless they were kicked', async (t) => {
  const { a, b } = await pair(t)
  for (const id of [1, 2]) await a.join(joining('r1', id))
  await b.join(joining('r1', 3))
  await b.swapDocument({ roomId: 'r1', name: accessDocument, expected: '1000.0', state: JSON.stringify({ admits: 'nobody' } satisfies RoomAccess) })
  await b.forbidReturn('r1', '2')
  await b.removeNodeMembers('node-a', 'r1')
  t.equal(await codeOf(b.join(joining('r1', 1))), 'ok')
  t.equal(await codeOf(b.join(joining('r1', 2))), 'ROOM_LOCKED')
})

t.test('if two servers remove a dead server\'s members, each member is announced once', async (t) => {
  const { a, b, client } = await pair(t)
  const dead = storeOf(client, 'node-dead')
  for (let i = 0; i < 20; i++) await dead.join(joining('r1', i))
  const changes = await Promise.all([a.removeNodeMembers('node-dead', 'r1'), b.removeNodeMembers('node-dead', 'r1')])
  t.same(changes.flatMap(({ left }) => left.map(({ userId }) => Number(userId))).sort((x, y) => x - y), Array.from({ length: 20 }, (_, i) => i))
})

t.test("replaces a server's members in a room, and returns who joined and left", async (t) => {
  const { a, b, client } = await pair(t)
  const member = (id: number, sessionId = `s-${id}`) => ({ sessionId, userKey: String(id), profile: { userId: id, id, name: `User ${id}` } })
  const share = (...members: NodeMembers['members'][number][]): NodeMembers => ({ room: recordOf('r1', 1, true), pinHash: 'right', members, documents: new Map() })
  const named = ({ joined, left, count }: MembersChange) => ({ joined: joined.map(({ userId }) => userId), left: left.map(({ userId }) => userId), count })

  for (const id of [1, 2, 3]) await a.join(joining('r1', id, { pinHash: 'right' }))
  await b.join(joining('r1', 3, { sessionId: 'phone', pinHash: 'right' }))
  await b.join(joining('r1', 4, { pinHash: 'right' }))

  t.same(named(await a.replaceNodeMembers('node-a', share(member(1), member(2), member(3)))), { joined: [], left: [], count: 4 }, 'no difference')
  t.same(named(await a.replaceNodeMembers('node-a', share(member(1), member(5)))), { joined: [5], left: [2], count: 4 }, 'user 3 is still a member through b')
  t.same(named(await b.replaceNodeMembers('node-b', share(member(4)))), { joined: [], left: [3], count: 3 })
  t.same(await a.leave('r1', 's-5', '5', 1), { lastOfUser: true, count: 2 }, 'an added member can leave')
  t.equal(await a.leave('r1', 's-2', '2', 1), undefined)

  await client.flushdb()
  t.same(named(await b.replaceNodeMembers('node-b', share(member(4)))), { joined: [4], left: [], count: 1 }, 'a lost room is recreated')
  t.same(named(await a.replaceNodeMembers('node-a', share(member(1), member(1, 'phone')))), { joined: [1], left: [], count: 2 }, 'a user is added with all sockets')
  t.match(await a.getRoom('r1'), { ownerId: 1, locked: true, participantCount: 2 })
  t.equal(await codeOf(a.join(joining('r1', 9))), 'PIN_REQUIRED', 'the room is still locked')
  t.match(await a.listRooms('', 10), [{ roomId: 'r1' }])
  t.same(await a.listNodeRooms('node-a'), ['r1'])
  t.same(named(await a.removeNodeMembers('node-a', 'r1')), { joined: [], left: [1], count: 1 })
  t.same(await a.listNodeRooms('node-a'), [])
  await a.join(joining('r1', 1, { pinHash: 'right' }))
  t.same(await a.listNodeRooms('node-a'), ['r1'])
  await a.releaseRoom('r1')
  t.same(await a.listNodeRooms('node-a'), [])
})

t.test('publishes a message together with a change, and only if the change is applied', async (t) => {
  const { a, b, client } = await pair(t)
  const subscriber = client.duplicate({ enableOfflineQueue: true })
  t.teardown(() => subscriber.disconnect())
  const payloads: string[] = []
  subscriber.on('message', (channel, text) => { payloads.push(`${channel}: ${text}`) })
  await subscriber.connect()
  await subscriber.subscribe('c')
  await a.join(joining('r1', 1))
  const change = (store: RoomStore, expected: string, text: string) =>
    store.swapDocument({ roomId: 'r1', name: 'd', expected, state: `"${text}"`, publish: { channel: 'c', payload: text } })

  const outcomes = await Promise.all(Array.from({ length: 20 }, (_, i) => change(i % 2 ? a : b, '1000.0', `first ${i}`)))
  t.equal(outcomes.filter(({ swapped }) => swapped).length, 1)
  const first = outcomes[0]?.version ?? ''
  t.match(await change(b, first.replace('1000', '999'), 'of an earlier room'), { swapped: false })
  t.match(await change(b, '1000.7', 'from what is not there'), { swapped: false })
  t.match(await b.swapDocument({ roomId: 'r1', name: 'd', expected: first, publish: { channel: 'c', payload: 'without a change' } }), { swapped: true })
  t.equal(await a.appendLog('r1', 'chat', { entry: 'an entry', keep: 1, now: 1, publish: { channel: 'c', payload: 'logged' } }), 1, 'one subscriber')
  t.same(await b.readLog('r1', 'chat'), ['an entry'])
  t.equal(await a.appendLog('nowhere', 'chat', { entry: 'an entry', keep: 1, now: 1, publish: { channel: 'd', payload: 'nobody hears' } }), 0)
  t.equal(await codeOf(a.swapDocument({ roomId: 'nowhere', name: 'd', expected: '', state: '1', publish: { channel: 'c', payload: 'nowhere' } })), 'ROOM_NOT_FOUND')
  const second = await change(b, first, 'second')
  t.equal(second.swapped, true)
  await until(() => payloads.length >= 3)
  t.same(payloads, [`c: first ${outcomes.findIndex(({ swapped }) => swapped)}\n${first}`, 'c: logged', `c: second\n${second.version}`], 'the last line is the new version')
})

const numberOf = (version: string) => Number(version.split('.')[1])

/** Creates the stores of two servers, and records the messages published when a room is restored. */
async function losing (t: Test) {
  const { a, b, client } = await pair(t)
  const subscriber = client.duplicate({ enableOfflineQueue: true })
  t.teardown(() => subscriber.disconnect())
  const payloads: string[] = []
  subscriber.on('message', (_channel, text) => { payloads.push(text) })
  await subscriber.connect()
  await subscriber.subscribe('c')
  const member = { sessionId: 's-1', userKey: '1', profile: { userId: 1, id: 1 } }
  const document = (version: string) => ({ version, state: `"${version}"` })
  const documents = (...all: [name: string, version: string][]) => new Map(all.map(([name, version]) => [name, document(version)]))
  return {
    a,
    b,
    client,
    payloads,
    documents,
    /** @returns the documents stored after the write */
    write: async (store: RoomStore, ...all: [name: string, version: string][]) =>
      (await store.replaceNodeMembers('node-a', { room: recordOf('r1'), members: [member], documents: documents(...all), publish: { channel: 'c', payload: JSON.stringify(all) } })).documents,
    swap: (store: RoomStore, expected: string, state?: string) => store.swapDocument({ roomId: 'r1', name: 'd', expected, state }),
    /** Moves the stored time of the room's restore into the past, by `ms` milliseconds. */
    async age (ms: number) {
      const restored = Number(await client.hget('msab:room:{r1}', 'restored'))
      await client.hset('msab:room:{r1}', 'restored', restored - ms)
    }
  }
}

t.test('restores lost documents with the room, from the server with the newest version', async (t) => {
  const { a, b, client, documents, payloads, write } = await losing(t)
  await a.join(joining('r1', 1))
  t.same(await write(a), documents())
  t.same(payloads, [], 'no message is published without a loss')
  await client.flushdb()
  t.same(await write(a, ['d', '1000.9'], ['e', '1000.3'], ['old', '999.12']), documents(['d', '1000.9'], ['e', '1000.3']))
  t.same(await write(b, ['d', '1000.8'], ['e', '1000.10'], ['f', '1000.1']), documents(['d', '1000.9'], ['e', '1000.10'], ['f', '1000.1']))
  t.same(await write(a, ['d', '1000.9'], ['e', '1000.3']), documents(['d', '1000.9'], ['e', '1000.10'], ['f', '1000.1']))
  await until(() => payloads.length >= 2)
  t.same(payloads.map((text) => (JSON.parse(text) as unknown[]).length), [3, 3], 'all servers receive the restored documents')
})

t.test('rejects changes to a lost room during the recovery window', async (t) => {
  const { a, b, age, client, documents, swap, write } = await losing(t)
  await a.join(joining('r1', 1))
  await client.flushdb()
  await write(a, ['d', '1000.4'])
  for (const expected of ['1000.4', '1000.0', '1000.5']) {
    await t.rejects(swap(b, expected, '1'), { code: 'UNAVAILABLE', details: { retryable: true } })
  }
  t.same(await swap(b, '1000.0'), { swapped: false, version: '1000.4', state: '"1000.4"' }, 'the state can still be read')
  t.same(await swap(b, '1000.4'), { swapped: true, version: '1000.4' })
  await age(defaultTimings.recoveryMs - 500)
  t.same(await write(b, ['d', '1000.5']), documents(['d', '1000.5']), 'a newer version is accepted during the window')
  await t.rejects(swap(b, '1000.5', '1'), { code: 'UNAVAILABLE' })
  await age(500)

  const { swapped, version } = await swap(b, '1000.5', '"after"')
  t.ok(swapped && numberOf(version) > 1e15, version)
  const after = new Map([['d', { version, state: '"after"' }]])
  t.same(await write(a, ['d', '1000.7']), after, 'a late restore changes nothing')
  const next = await swap(a, version, '"next"')
  t.ok(next.swapped && numberOf(next.version) > numberOf(version), 'changes are accepted again')

  await client.flushdb()
  await write(a, ['d', next.version])
  await age(defaultTimings.recoveryMs)
  const again = await swap(b, next.version, '"again"')
  t.ok(again.swapped && numberOf(again.version) > numberOf(next.version), 'versions increase after the next loss, too')
})

t.test('restores the latest change if Redis has lost it', async (t) => {
  const { a, b, age, documents, payloads, swap, write } = await losing(t)
  await a.join(joining('r1', 1))
  const { version } = await swap(a, '1000.0', '"1"')
  const [lost, newer] = [1, 2].map((n) => `1000.${numberOf(version) + n}`) as [string, string]
  t.same(await write(b, ['d', lost]), documents(['d', lost]))
  await t.rejects(swap(b, lost, '"4"'), { code: 'UNAVAILABLE' }, 'other servers may have newer state')
  t.same(await write(a, ['d', newer]), documents(['d', newer]))
  await age(defaultTimings.recoveryMs)
  t.match(await swap(a, newer, '"5"'), { swapped: true })
  await until(() => payloads.length === 2)
})

t.test("accepts changes when Redis's clock is set back", async (t) => {
  const { a, age, client, swap, write } = await losing(t)
  await a.join(joining('r1', 1))
  await client.flushdb()
  await write(a)
  await age(-3_600_000)
  t.match(await swap(a, '1000.0', '1'), { swapped: true })
})

t.test('sends the source of a script only once', async (t) => {
  const redis = await startRedis(t)
  const client = await redisClient(t, redis)
  const store = storeOf(client, 'node-a')
  const calls = async () => {
    const stats = await client.info('commandstats')
    const of = (name: string) => Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0)
    return { text: of('eval') + of('script\\|load'), name: of('evalsha') }
  }
  await store.join(joining('r1', 0))
  const before = await calls()
  t.ok(before.text >= 1)
  for (let i = 1; i <= 100; i++) await store.join(joining('r1', i, { limit: 1000 }))
  const after = await calls()
  t.equal(after.text, before.text)
  t.equal(after.name - before.name, 100, 'one round trip per call')
})

t.test('many empty rooms do not slow down the listing of occupied rooms', async (t) => {
  const { a, client } = await pair(t)
  await a.join(joining('first', 1))
  await a.join(joining('zzz', 1))
  // Add index entries of rooms that do not exist. A crash can leave such entries behind.
  await client.zadd('msab:rooms', ...Array.from({ length: 5000 }, (_, i) => [0, `gone-${String(i).padStart(4, '0')}`]).flat())
  const turns = async () => Number(/^cmdstat_zrangebylex:calls=(\d+)/m.exec(await client.info('commandstats'))?.[1] ?? 0)
  const before = await turns()
  const { rooms, next } = await a.listBusyRooms('', 50)
  t.match(rooms, [{ roomId: 'first' }])
  t.match(next, /^gone-\d{4}$/, 'the next page continues there')
  t.ok(await turns() - before <= 4, 'each step needs two round trips')
  const all = [...rooms]
  for (let after = next; after !== undefined;) {
    const page = await a.listBusyRooms(after, 50)
    all.push(...page.rooms)
    after = page.next
  }
  t.same(all.map(({ roomId }) => roomId), ['first', 'zzz'])
})

t.test('keeps members in order of arrival across servers and recoveries', async (t) => {
  const { a, b, client } = await pair(t)
  const order = async () => (await a.listParticipants('r1', 0, 100)).arrivals.map(({ profile }) => profile.userId)
  // One server's clock is an hour fast.
  await a.join(joining('r1', 1, { now: Date.now() + 3_600_000 }))
  for (const id of [2, 3]) await b.join(joining('r1', id))
  t.same(await order(), [1, 2, 3])
  const { arrivals: [, second] } = await a.listParticipants('r1', 0, 100)

  const members = [9, 3, 8, 2, 7].map((id) => ({ sessionId: `s-${id}`, userKey: String(id), profile: { userId: id, id, name: `User ${id}` } }))
  await b.replaceNodeMembers('node-b', { room: recordOf('r1'), members, documents: new Map() })
  t.same(await order(), [1, 2, 3, 9, 8, 7], 'existing members keep their positions; others follow in list order')
  t.same((await b.listParticipants('r1', second?.place ?? 0, 2)).arrivals.map(({ profile }) => profile.userId), [3, 9])

  await client.flushdb()
  await b.replaceNodeMembers('node-b', { room: recordOf('r1'), members, documents: new Map() })
  t.same(await order(), [9, 3, 8, 2, 7])
})

t.test('the keys of a room share a cluster slot', async (t) => {
  const { a, client } = await pair(t)
  await a.join(joining('r1', 1, { pinHash: 'x' }))
  await codeOf(a.join(joining('r1', 2, { pinHash: 'y' })))
  await a.ban('r1', '3', Date.now() + 60_000)
  const keys = (await client.keys('msab:room:*'))
  t.ok(keys.length >= 7)
  const slots = await Promise.all(keys.map((key) => client.cluster('KEYSLOT', key).catch(() => key.replace(/^.*\{(.*?)\}.*$/, '$1'))))
  t.equal(new Set(slots).size, 1, keys.join(' '))
})

t.test('rejects calls while Redis is down', async (t) => {
  const redis = await startRedis(t)
  const client = await redisClient(t, redis)
  const store = storeOf(client, 'node-a')
  await store.join(joining('r1', 1))
  await redis.kill()
  const calls: Record<Exclude<keyof RoomStore, 'kind'>, () => Promise<unknown>> = {
    check: () => store.check(),
    join: () => store.join(joining('r1', 2)),
    countPin: () => store.countPin('r1', 'home', true),
    leave: () => store.leave('r1', 's-1', '1', 1),
    removeRoom: () => store.removeRoom('r1'),
    getRoom: () => store.getRoom('r1'),
    getPinHash: () => store.getPinHash('r1'),
    getParticipants: () => store.getParticipants('r1', 1),
    listParticipants: () => store.listParticipants('r1', 0, 1),
    getSomeMembers: () => store.getSomeMembers([{ roomId: 'r1', first: ['1'] }], 1),
    listRooms: () => store.listRooms('', 1),
    listBusyRooms: () => store.listBusyRooms('', 1),
    listEmptyRooms: () => store.listEmptyRooms(1, 1),
    forgetEmptyRoom: () => store.forgetEmptyRoom('r1', 1),
    getMembers: () => store.getMembers('r1', ['1']),
    touchRoom: () => store.touchRoom('r1', 1),
    swapDocument: () => store.swapDocument({ roomId: 'r1', name: 'd', expected: '' }),
    readDocuments: () => store.readDocuments(['r1'], 'd'),
    appendLog: () => store.appendLog('r1', 'chat', { entry: 'x', keep: 1, now: 1 }),
    readLog: () => store.readLog('r1'),
    ban: () => store.ban('r1', '2', Date.now() + 1000),
    removeFromLog: () => store.removeFromLog('r1', 'chat', 'x'),
    unban: () => store.unban('r1', '2'),
    listBans: () => store.listBans('r1', '', 1),
    forbidReturn: () => store.forbidReturn('r1', '2'),
    listNodeRooms: () => store.listNodeRooms('node-a'),
    replaceNodeMembers: () => store.replaceNodeMembers('node-a', { room: recordOf('r1'), members: [], documents: new Map() }),
    releaseRoom: () => store.releaseRoom('r1'),
    removeNodeMembers: () => store.removeNodeMembers('node-a', 'r1'),
    areIntact: () => store.areIntact([{ roomId: 'r1', sessionId: 's1' }]),
    forgetNodeRooms: () => store.forgetNodeRooms('node-b')
  }
  for (const [name, call] of Object.entries(calls)) {
    const passed = stopwatch()
    await t.rejects(call(), { code: 'UNAVAILABLE', statusCode: 503, details: { retryable: true } }, name)
    t.ok(passed() < 3000, `${name} rejects without waiting`)
  }
  t.same(Object.keys(calls).sort(), Object.keys(store).filter((name) => name !== 'kind').sort(), 'every method is covered')

  await redis.start()
  await until(async () => await codeOf(store.check()) === 'ok')
  t.match(await store.join(joining('r1', 2)), { created: true, count: 1 })
})

t.test('rejects calls while Redis hangs', async (t) => {
  const redis = await startRedis(t)
  const store = storeOf(await redisClient(t, redis, 0, 2000), 'node-a')
  await store.check()
  redis.process.kill('SIGSTOP')
  await t.rejects(store.join(joining('r1', 1)), { code: 'UNAVAILABLE' })
  redis.process.kill('SIGCONT')
  await until(async () => await codeOf(store.check()) === 'ok')
})
