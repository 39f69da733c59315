import t from 'tap'
import type { Test } from 'tap'
import type { NodeMembers, WrittenMembers } from '../../../plugins/store/types.ts'
import { build } from '../../support/build.ts'
import { deafen } from '../../support/deaf.ts'
import { redisClient, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { buildTally, follow, tallySchema } from './tally.ts'
import type { Follower } from './tally.ts'

// Redis loses its data while servers are running. After the restore, the store and all members must have every change
// that was acknowledged before or during the restore. The tests run in parallel, because each test is independent and
// waits for its servers to recover.

t.jobs = 4
const concurrent = { buffered: true }

type Tally = Awaited<ReturnType<typeof buildTally>>

/**
 * Lets the test control when a server restores its rooms.
 *
 * @param around called instead of the function that restores the rooms; the first argument of `around` is that function
 */
function intercept ({ server: { app: { store } } }: Tally, around: (write: (share: NodeMembers) => Promise<WrittenMembers>, share: NodeMembers) => Promise<WrittenMembers>): void {
  const replaceNodeMembers = store.replaceNodeMembers.bind(store)
  store.replaceNodeMembers = (nodeId: string, share: NodeMembers) => around((written) => replaceNodeMembers(nodeId, written), share)
}

/**
 * Starts servers with one member each. Each room has a counter, the tally. Members receive the changes of the tally.
 */
async function servers (t: Test, ...names: string[]) {
  const redis = await startRedis(t)
  const all: Tally[] = []
  const members: Follower[] = []
  for (const name of names) {
    const tally = await buildTally(t, { REDIS_URL: redis.url, NODE_ID: name })
    all.push(tally)
    members.push(await follow(await tally.connect(name)))
  }
  const [a, b] = all as [Tally, Tally]
  return {
    redis,
    a,
    b,
    members,
    /** Waits until the store, the servers and all members report the count `n`. */
    async agree (n: number) {
      await until(async () => (await a.server.app.store.readDocuments(['r1'], 'tally'))[0] === `{"n":${n}}`)
      await until(() => all.every(({ peek }) => peek() === n) && members.every(({ known }) => known() === n))
    }
  }
}

/** Repeats an increment of the tally until the server acknowledges the increment. */
const countOnce = ({ count }: Tally) => until(() => count().catch(() => false as const))

t.test('keeps changes made during recovery', concurrent, async (t) => {
  const { a, b, agree } = await servers(t, 'a', 'b')
  for (let i = 0; i < 3; i++) await a.count()
  await agree(3)
  const written = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  intercept(a, async (write, share) => {
    const change = await write(share)
    written.resolve()
    await goOn.promise
    return change
  })
  intercept(b, async (write, share) => {
    await goOn.promise
    return await write(share)
  })
  await a.server.app.redis.flushall()
  await written.promise
  // The room has been restored; a new change either continues the count or is rejected.
  const early = await b.count().then((n) => n, (error: { code?: string }) => error.code)
  t.ok(early === 4 || early === 'UNAVAILABLE', String(early))
  goOn.resolve()
  const last = await countOnce(a)
  t.equal(last, early === 4 ? 5 : 4)
  await agree(last)
})

t.test('keeps state that only one server has', concurrent, async (t) => {
  const { redis, a, b, agree } = await servers(t, 'a', 'b')
  await a.count()
  await agree(1)
  const heal = deafen(b.server)
  const newest = Promise.withResolvers<void>()
  const older = Promise.withResolvers<void>()
  const killed = Promise.withResolvers<void>()
  intercept(a, async (write, share) => {
    await newest.promise
    return await write(share)
  })
  intercept(b, async (write, share) => {
    await killed.promise
    const change = await write(share)
    older.resolve()
    return change
  })
  t.equal(await a.count(), 2, 'acknowledged')
  await redis.kill()
  t.equal(b.peek(), 1, 'the other server has an older state')
  killed.resolve()
  await redis.start()
  await heal()
  await older.promise
  const early = await b.count().then((n) => n, (error: { code?: string }) => error.code)
  t.equal(early, 'UNAVAILABLE', 'the current state is not known yet')
  newest.resolve()
  await agree(2)
  t.equal(await countOnce(b), 3)
  await agree(3)
})

t.test('a server that syncs late adopts the state of the other servers', concurrent, async (t) => {
  const { redis, a, b, members: [ada], agree } = await servers(t, 'a', 'b')
  await a.count()
  await agree(1)
  const heal = deafen(b.server)
  const newest = Promise.withResolvers<void>()
  intercept(a, async (write, share) => {
    await newest.promise
    return await write(share)
  })
  for (let i = 0; i < 3; i++) await a.count()
  await until(() => ada?.known() === 4)
  await redis.kill()
  t.equal(b.peek(), 1)
  await redis.start()
  await heal()
  t.equal(await countOnce(b), 2, 'other servers do not wait forever')
  newest.resolve()
  await agree(2)
  t.equal(await countOnce(a), 3)
  await agree(3)
})

t.test('state with `changesDuringRestore` accepts changes during recovery', concurrent, async (t) => {
  const { a, agree } = await servers(t, 'a', 'b')
  await a.count()
  await agree(1)
  const { app } = a.server
  const own = app.rooms.roomState.define('own', tallySchema, { changesDuringRestore: true })
  const set = async (n: number) => { await own.change('r1', () => ({ state: { n }, result: undefined })) }
  await set(1)
  await app.redis.flushall()
  await until(async () => await app.store.getRoom('r1') !== undefined)
  await set(2)
  t.same(await own.read('r1'), { n: 2 })
  t.same(await app.store.readDocuments(['r1'], 'tally'), ['{"n":1}'])
})

t.test('restores changes acknowledged during a sync', concurrent, async (t) => {
  const { a, b, agree } = await servers(t, 'a', 'b')
  for (let i = 0; i < 3; i++) await a.count()
  await agree(3)
  const goOn = Promise.withResolvers<void>()
  let first = true
  intercept(a, async (write, share) => {
    if (!first) return await write(share)
    first = false
    // Restore the state from before the last change, as if that change had been acknowledged during the sync.
    const version = String(share.documents.get('tally')?.version).replace(/\d+$/, '2')
    const change = await write({ ...share, documents: new Map([['tally', { version, state: '{"n":2}' }]]) })
    goOn.resolve()
    return change
  })
  intercept(b, async (write, share) => {
    await goOn.promise
    return await write({ ...share, documents: new Map() })
  })
  await a.server.app.redis.flushall()
  await agree(3)
  t.equal(await countOnce(b), 4)
  await agree(4)
})

t.test('if only Redis lost state, rejects changes until the state is restored', concurrent, async (t) => {
  const { a, b, agree } = await servers(t, 'a', 'b')
  for (let i = 0; i < 3; i++) await a.count()
  await agree(3)
  const { redis } = a.server.app
  // Simulate a Redis that lost its last writes in a crash or failover.
  const version = String(await redis.hget('msab:room:{r1}:docs', 'tally')).replace(/\d+ .*$/, '1')
  await redis.hset('msab:room:{r1}:docs', 'tally', `${version} {"n":1}`)
  await t.rejects(b.count(), { code: 'UNAVAILABLE' })
  t.equal(await countOnce(a), 4)
  await agree(4)
})

t.test('a join before the recovery does not end the room', concurrent, async (t) => {
  const { a, agree, members } = await servers(t, 'a', 'b')
  for (let i = 0; i < 3; i++) await a.count()
  await agree(3)
  const eve = await a.connect('eve')
  await a.server.app.redis.flushall()
  const { tally, ownerId, participantCount } = await eve.ok('room:join', { roomId: 'r1' })
  t.match({ tally, ownerId }, { tally: 3, ownerId: 'a' })
  t.ok(Number(participantCount) >= 2)
  t.equal(await countOnce(a), 4)
  await agree(4)
  await until(async () => (await a.server.app.store.getRoom('r1'))?.participantCount === 3)
  for (const { client } of members) t.notOk(client.events.some(({ type }) => type === 'room:closed'))
})

t.test('a server without members creates no room during recovery', concurrent, async (t) => {
  const { redis, a, b, agree, members } = await servers(t, 'a', 'b')
  const outside = await buildTally(t, { REDIS_URL: redis.url, NODE_ID: 'c' })
  const eve = await outside.connect('eve')
  for (let i = 0; i < 3; i++) await a.count()
  await agree(3)
  const goOn = Promise.withResolvers<void>()
  for (const server of [a, b]) {
    intercept(server, async (write, share) => {
      await goOn.promise
      return await write(share)
    })
  }
  await redis.kill()
  await redis.start()
  await until(() => outside.server.app.store.check())
  t.equal(await eve.fails('room:join', { roomId: 'r1' }), 'UNAVAILABLE')
  goOn.resolve()
  t.equal((await until(() => follow(eve))).first, 3)
  t.equal(await countOnce(outside), 4)
  await agree(4)
  for (const { client } of members) t.notOk(client.events.some(({ type }) => type === 'room:closed'))
  await until(() => eve.ok('room:join', { roomId: 'new' }), 5000)
})

t.test('a leave before the recovery is final', concurrent, async (t) => {
  const { a, members } = await servers(t, 'a', 'b')
  const { client: eve } = await follow(await a.connect('eve'))
  await a.server.app.redis.flushall()
  await eve.ok('room:leave')
  for (const { client } of members) t.match(await client.event('room:userLeft'), { userId: 'eve' })
  await until(async () => (await a.server.app.store.getParticipants('r1', 10)).length === 2)
  t.same(new Set((await a.server.app.store.getParticipants('r1', 10)).map(({ userId }) => userId)), new Set(['a', 'b']))
})

t.test('a server that restores a room makes the other servers sync it', concurrent, async (t) => {
  const redis = await startRedis(t)
  const [a, b] = [await build(t, { env: { FEATURES: 'auth', REDIS_URL: redis.url } }), await build(t, { env: { FEATURES: 'auth', REDIS_URL: redis.url } })]
  await (await a.connect('ada')).ok('room:join', { roomId: 'r1' })
  await (await b.connect('bob')).ok('room:join', { roomId: 'r1' })
  const client = await redisClient(t, redis, Number(new URL(redis.url).pathname.slice(1)))
  // Lose only this room: both servers keep their leases and connections.
  const keys = await client.keys('*{r1}*')
  t.ok(keys.length > 2)
  await client.del(keys)
  await (await a.connect('carol')).ok('room:join', { roomId: 'r1' })
  await until(async () => (await a.app.store.getParticipants('r1', 10)).length === 3)
  t.same((await a.app.store.getParticipants('r1', 10)).map(({ userId }) => userId).sort(), ['ada', 'bob', 'carol'])
})
