import t from 'tap'
import type { Test } from 'tap'
import { deafen } from '../../support/deaf.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { buildTally, follow } from './tally.ts'

/** Starts two servers with one member each. The members receive the tally's changes. */
async function pair (t: Test) {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const [a, b] = [await buildTally(t, { ...env, NODE_ID: 'a' }), await buildTally(t, { ...env, NODE_ID: 'b' })]
  const [ada, bob] = [await follow(await a.connect('ada')), await follow(await b.connect('bob'))]
  return { redis, a, b, ada, bob }
}

t.test('a partitioned server sends its members the missed changes', async (t) => {
  const { a, b, ada, bob } = await pair(t)
  await a.count()
  await until(() => bob.known() === 1)
  const heal = deafen(b.server)
  for (let i = 0; i < 2; i++) await a.count()
  t.equal(b.peek(), 1)
  await heal()
  await until(() => bob.known() === 3)
  t.same(bob.numbers(), [1, 3])
  t.equal(bob.missed(), 1)
  await until(() => ada.known() === 3)
  t.same(ada.numbers(), [1, 2, 3], 'members who missed no change receive no extra events')
  t.equal(b.peek(), 3)
})

t.test('a change after missed changes also delivers the missed changes', async (t) => {
  const { a, b, ada, bob } = await pair(t)
  await a.count()
  await until(() => bob.known() === 1)
  const healed = new Promise<void>((resolve) => b.server.app.bus.onHealed(resolve))
  const heal = deafen(b.server)
  for (let i = 0; i < 2; i++) await a.count()
  await heal()
  await healed
  // These changes are sent before the server resyncs.
  await Promise.all([a.count(), a.count()])
  await until(() => bob.known() === 5)
  // The sync may read the last change from the store before the message about the change arrives.
  const missed = bob.missed()
  t.ok(missed === 1 || missed === 2, String(missed))
  const numbers = bob.numbers()
  t.same(numbers, [...new Set(numbers)].sort((x, y) => x - y), 'changes arrive in order, each once')
  await a.count()
  await until(() => bob.known() === 6)
  t.equal(bob.missed(), missed)
  await until(() => ada.known() === 6)
  t.same(ada.numbers(), [1, 2, 3, 4, 5, 6])
})

t.test('a partitioned server applies its own changes, and delivers them when it reconnects', async (t) => {
  const { b, ada, bob } = await pair(t)
  const heal = deafen(b.server)
  t.same(await Promise.all([b.count(), b.count()]), [1, 2])
  t.equal(b.peek(), 2)
  await heal()
  await until(() => bob.known() === 2)
  await until(() => ada.known() === 2)
})

t.test('a join does not hide changes that other members missed', async (t) => {
  const { a, b, bob } = await pair(t)
  const eve = await b.connect('eve')
  const heal = deafen(b.server)
  // Server b misses the change, but Eve's join reply may already contain the new tally.
  const [, late] = await Promise.all([a.count(), follow(eve)])
  t.ok(late.first <= 1)
  await heal()
  await until(() => late.known() === 1)
  await until(() => bob.known() === 1)
})

t.test('restores state that Redis lost', async (t) => {
  const { redis, a, b, ada, bob } = await pair(t)
  for (let i = 0; i < 3; i++) await a.count()
  await until(() => bob.known() === 3 && ada.known() === 3)
  await redis.kill()
  await t.rejects(a.count(), { code: 'UNAVAILABLE' })
  t.equal(a.peek(), 3)
  await redis.start()
  const store = a.server.app.store
  await until(async () => (await store.readDocuments(['r1'], 'tally'))[0] === '{"n":3}')
  await until(async () => await b.count().catch(() => false) !== false)
  await until(() => bob.known() === 4 && ada.known() === 4)
  t.equal((await follow(await a.connect('eve'))).first, 4)
  t.same([ada.missed(), bob.missed()], [0, 0], 'no member missed a change')
})

t.test('restores the newest state of all servers and notifies everyone', async (t) => {
  const { redis, a, b, ada, bob } = await pair(t)
  await a.count()
  await until(() => bob.known() === 1)
  // When Redis loses its data, only server a has the change.
  const heal = deafen(a.server, b.server)
  await a.count()
  await redis.kill()
  await redis.start()
  await heal()
  await until(() => ada.known() === 2 && bob.known() === 2)
  await until(() => a.count().then(() => true, () => false))
  await until(() => ada.known() === 3 && bob.known() === 3)
  for (const { peek } of [a, b]) t.equal(peek(), 3)
})

t.test('restores a database that was flushed', async (t) => {
  const { a, b, ada, bob } = await pair(t)
  await a.count()
  await until(() => bob.known() === 1)
  await a.server.app.redis.flushall()
  await t.rejects(b.count(), { code: 'ROOM_NOT_FOUND' })
  await until(() => b.count().then(() => true, () => false))
  await until(() => bob.known() === 2 && ada.known() === 2)
  t.same([ada.numbers(), bob.numbers()], [[1, 2], [1, 2]])
})

t.test('a new room inherits nothing from its predecessor', async (t) => {
  const { a, b, bob } = await pair(t)
  await a.count()
  await until(() => bob.known() === 1)
  // Simulate a server that closes the room and dies before publishing the event.
  t.ok(await a.server.app.store.removeRoom('r1'))
  const eve = await follow(await b.connect('eve'))
  t.equal(eve.first, 0)
  await bob.client.event('room:closed')
  t.equal(b.peek(), 0)
  t.equal(await b.count(), 1)
  await until(() => eve.known() === 1)
  t.same(bob.numbers(), [1], 'a member of the closed room receives no change of the new room')
})

t.test('a lost room that was created again has the store\'s state', async (t) => {
  const { a, b, ada, bob } = await pair(t)
  for (let i = 0; i < 3; i++) await a.count()
  await until(() => bob.known() === 3 && ada.known() === 3)
  const redis = a.server.app.redis
  // Delay both servers, so that neither server restores the room before the third server starts.
  const created = Promise.withResolvers<void>()
  for (const { server: { app: { store } } } of [a, b]) {
    const replaceNodeMembers = store.replaceNodeMembers.bind(store)
    store.replaceNodeMembers = async (...args) => {
      await created.promise
      return await replaceNodeMembers(...args)
    }
  }
  await redis.flushall()
  const outside = await buildTally(t, { REDIS_URL: `redis://127.0.0.1:${redis.options.port}/3`, NODE_ID: 'c' })
  const eve = await follow(await outside.connect('eve'))
  t.equal(eve.first, 0)
  created.resolve()
  await until(() => ada.known() === 0 && bob.known() === 0)
  for (const { peek } of [a, b]) t.equal(peek(), 0)
  t.equal(await a.count(), 1)
  await until(() => [ada, bob, eve].every(({ known }) => known() === 1))
})
