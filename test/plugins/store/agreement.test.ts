import fc from 'fast-check'
import t from 'tap'
import { createRedisLeases } from '../../../plugins/cluster/leases.redis.ts'
import type { UserId } from '../../../plugins/connections/session.ts'
import { createMemoryKeyValue } from '../../../plugins/kv/memory.ts'
import { createMemoryStore } from '../../../plugins/store/memory/index.ts'
import { createRedisStore } from '../../../plugins/store/redis/index.ts'
import type { RoomStore } from '../../../plugins/store/store.ts'
import { accessDocument } from '../../../plugins/store/types.ts'
import { tries } from '../../support/arbitrary.ts'
import { databaseClient } from '../../support/redis.ts'

// Runs the same random calls on the memory store and on the Redis store. Each call must have the same outcome.

/** A store under test, and the document versions that the test has received from it. */
interface Side {
  store: RoomStore
  versions: Map<string, string>
}

interface Call {
  text: string
  run (side: Side, now: number): Promise<unknown>
}

const begin = Date.now()
const later = begin + 3_600_000
const roomId = fc.constantFrom('r1', 'a:b', '.x.y', '...')
const userId = fc.constantFrom<UserId>(1, '2', 'é ü', '😀', '\uffff', 'a:b {c} *', ' ', '"\\\n\t', '-', '%d', '99999999999999999999')
const userKey = userId.map(String)
const sessionId = fc.constantFrom('phone', 'laptop')
const pinHash = fc.constantFrom(undefined, 'p1', 'p2')
const address = fc.constantFrom(undefined, 'x', 'y')
const limit = fc.constantFrom(1, 2, 100)
const name = fc.constantFrom(accessDocument, 'chat')
const log = fc.constantFrom('chat', 'kernel')
const entry = fc.constantFrom('e1', 'é\n', '{"a":1}')
const before = fc.integer({ min: 0, max: 60 }).map((ms) => begin + ms)
const state = fc.constantFrom(undefined, '{"admits":"nobody"}', '{"admits":"pin","pinHash":"p2"}', '{"admits":"everyone"}', '{"title":"t"}', '{"intervalMs":600000}', '{"intervalMs":0}')

/** Returns random calls with random data. */
function calls<D extends object> (name: string, data: { [K in keyof D]: fc.Arbitrary<D[K]> }, run: (side: Side, data: D, now: number) => Promise<unknown>, weight = 1) {
  const arbitrary = fc.record(data).map((values): Call => ({ text: `${name} ${JSON.stringify(values)}`, run: (side, now) => run(side, values as D, now) }))
  return { weight, arbitrary }
}

const documentKey = (roomId: string, name: string) => `${roomId} ${name}`

const call = fc.oneof(
  calls('join', { roomId, userId, sessionId, pinHash, address, comparedHash: fc.constantFrom(undefined, 'p1', 'none'), isHost: fc.boolean(), mayCreate: fc.boolean(), limit: fc.constantFrom(2, 100), name: fc.constantFrom('Ada', 'Bob') }, async ({ store, versions }, { userId, mayCreate, name, sessionId, ...command }, now) => {
    const create = mayCreate ? { roomId: command.roomId, ownerId: userId, createdAt: now, options: {}, locked: command.pinHash !== undefined } : undefined
    const result = await store.join({ ...command, userKey: String(userId), sessionId: `${userId} ${sessionId}`, profile: { userId, id: userId, name }, create, now })
    for (const [name, { version }] of result.documents) versions.set(documentKey(command.roomId, name), version)
    return { ...result, documents: [...result.documents].map(([name, { state }]) => [name, state]).sort() }
  }, 6),
  calls('leave', { roomId, userId, sessionId, mayReturn: fc.boolean() }, ({ store }, { roomId, userId, sessionId, mayReturn }, now) => store.leave(roomId, `${userId} ${sessionId}`, String(userId), now, mayReturn), 4),
  calls('forbidReturn', { roomId, userKey }, ({ store }, { roomId, userKey }) => store.forbidReturn(roomId, userKey)),
  calls('countPin', { roomId, address, isRight: fc.boolean() }, ({ store }, { roomId, address, isRight }) => store.countPin(roomId, address, isRight)),
  calls('ban', { roomId, userId, limit: fc.constantFrom(undefined, 1, 2), by: fc.constantFrom(undefined, 1, 'x') }, ({ store }, { roomId, userId, ...options }) => store.ban(roomId, String(userId), later, { userId, ...options })),
  calls('unban', { roomId, userKey }, ({ store }, { roomId, userKey }) => store.unban(roomId, userKey)),
  // The order of ids beyond ASCII depends on the store.
  calls('listBans', { roomId }, async ({ store }, { roomId }) => (await store.listBans(roomId, '', 50)).map((ban) => JSON.stringify(ban)).sort()),
  calls('getRoom', { roomId }, async ({ store }, { roomId }) => [await store.getRoom(roomId), await store.getPinHash(roomId)]),
  calls('listRooms', { after: fc.oneof(fc.constant(''), roomId), limit }, async ({ store }, { after, limit }) => [await store.listRooms(after, limit), await store.listBusyRooms(after, limit)]),
  // On Redis, the list can contain rooms that have members again.
  calls('listEmptyRooms', { before }, async ({ store }, { before }) => {
    const ids = await store.listEmptyRooms(before, 100)
    const rooms = await Promise.all(ids.map(store.getRoom))
    return ids.filter((_, i) => rooms[i]?.participantCount === 0)
  }),
  calls('forgetEmptyRoom', { roomId, before }, ({ store }, { roomId, before }) => store.forgetEmptyRoom(roomId, before)),
  calls('touchRoom', { roomId, producers: fc.constantFrom(undefined, 0, 3) }, ({ store }, { roomId, producers }, now) => store.touchRoom(roomId, now, producers)),
  calls('removeRoom', { roomId, onlyIfEmpty: fc.boolean() }, ({ store }, { roomId, onlyIfEmpty }) => store.removeRoom(roomId, onlyIfEmpty)),
  calls('swapDocument', { roomId, name, state, isExpected: fc.boolean(), isKept: fc.boolean() }, async ({ store, versions }, { roomId, name, state, isExpected, isKept }) => {
    const expected = isExpected ? versions.get(documentKey(roomId, name)) ?? `${(await store.getRoom(roomId))?.createdAt}.0` : '?'
    const { version, ...result } = await store.swapDocument({ roomId, name, expected, state, kept: isKept ? state : undefined })
    versions.set(documentKey(roomId, name), version)
    return result
  }, 3),
  calls('readDocuments', { roomId, name }, ({ store }, { roomId, name }) => store.readDocuments([roomId], name)),
  calls('appendLog', { roomId, log, entry, keep: fc.constantFrom(1, 2, 5), key: fc.constantFrom(undefined, 'k1', 'k 2') }, ({ store }, { roomId, log, key, ...added }, now) =>
    store.appendLog(roomId, log, { ...added, now, ...(key === undefined ? {} : { spacing: { key, document: 'chat', field: 'intervalMs' } }) }), 3),
  calls('removeFromLog', { roomId, log, entry }, ({ store }, { roomId, log, entry }) => store.removeFromLog(roomId, log, entry)),
  calls('readLog', { roomId, log: fc.option(log, { nil: undefined }), last: fc.constantFrom(undefined, 1, 3) }, ({ store }, { roomId, log, last }) => store.readLog(roomId, log, last)),
  calls('listParticipants', { roomId, limit, index: fc.nat(3) }, async ({ store }, { roomId, limit, index }) => {
    const all = await store.listParticipants(roomId, 0, 100)
    const page = await store.listParticipants(roomId, all.arrivals[index]?.place ?? 0, limit)
    const lists = [all, page].map(({ arrivals }) => arrivals.map(({ profile }) => profile))
    return { lists, count: page.count, participants: await store.getParticipants(roomId, limit) }
  }),
  calls('getMembers', { roomId, userKeys: fc.array(userKey, { maxLength: 3 }) }, ({ store }, { roomId, userKeys }) => store.getMembers(roomId, userKeys)),
  calls('getSomeMembers', { rooms: fc.array(fc.record({ roomId, first: fc.array(userKey, { maxLength: 4 }) }), { maxLength: 3 }), limit }, ({ store }, { rooms, limit }) => store.getSomeMembers(rooms, limit))
)

/** Returns a value as JSON, with the fields of objects in alphabetical order. */
const textOf = (value: unknown): string | undefined => JSON.stringify(value, (_name, part: unknown) =>
  typeof part === 'object' && part !== null && !Array.isArray(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => a < b ? -1 : 1)) : part)

/** Returns the result of a call, or its error without the remaining times, which depend on the moment of the call. */
const outcomeOf = async (result: Promise<unknown>) => await result.then(textOf, ({ code, lockedByHost, pinLimit, pinHash, message }: Record<string, unknown>) =>
  textOf({ error: code ?? message, lockedByHost, pinLimit, pinHash }))

t.test('any sequence of calls has the same outcomes on both stores', async (t) => {
  const folder = t.testdir()
  const redis = (await databaseClient(t)).setMaxListeners(0)
  let runs = 0
  await fc.assert(fc.asyncProperty(fc.array(call, { maxLength: 60, size: 'max' }), async (sequence) => {
    const node = `node-${++runs}`
    const kv = createMemoryKeyValue(`${folder}/${node}`)
    await redis.flushdb()
    const sides = [await createMemoryStore(kv), createRedisStore(redis, node, createRedisLeases(redis, node))].map((store): Side => ({ store, versions: new Map() }))
    try {
      for (const [i, { text, run }] of sequence.entries()) {
        const [memory, other] = [await outcomeOf(run(sides[0] as Side, begin + i)), await outcomeOf(run(sides[1] as Side, begin + i))]
        if (memory !== other) throw new Error([...sequence.slice(0, i).map(({ text }) => text), `${text}: ${memory} in memory, ${other} on Redis`].join('\n'))
      }
    } finally {
      kv.close()
    }
  }), tries(60))
})
