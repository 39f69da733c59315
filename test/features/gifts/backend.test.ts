import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { v7 } from 'uuid'
import { createSqliteOutbox } from '../../../features/gifts/outbox.sqlite.ts'
import { startBackend } from '../../support/backend.ts'
import { build, onBothStores, onEveryStore } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { featureFolder } from '../../support/features.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

t.jobs = 6
const features = { FEATURES: 'auth,gifts,laravel-bridge' }
type Counts = Record<'queued' | 'deadLetters' | 'failed' | 'ledger', number>
const counts = async (server: TestServer) => (await server.admin('GET', '/admin/gifts')).body as Counts
const nothing: Counts = { queued: 0, deadLetters: 0, failed: 0, ledger: 0 }

/**
 * Sends gifts.
 *
 * @returns the gifts' transaction ids
 */
async function send (clients: readonly TestClient[], count: number): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, async (_, i) => {
    const gift = { giftId: i + 1, recipientId: 99, quantity: i + 1, key: v7() }
    // On a slow machine, the outbox may time out. A retry with the same key does not create a second gift.
    const { data } = await until(async () => {
      const reply = await (clients[i % clients.length] as TestClient).request('gift:send', gift)
      if (!reply.ok && reply.error.code !== 'UNAVAILABLE') throw new Error(reply.error.code)
      return reply.ok && reply
    }, 30_000)
    return String(data.transactionId)
  }))
}

async function start (t: Test, env: Record<string, string> = {}) {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const server = await build(t, { env: { ...features, ...backend.env, LARAVEL_API_TIMEOUT_MS: '20000', ...env } })
  const enter = async (userId: number, to = server) => {
    const client = await to.connect(userId)
    // On a slow machine, the call to the backend may time out.
    await until(async () => (await client.request('room:join', { roomId: '5' })).ok)
    return client
  }
  return { backend, server, enter }
}

t.test('gifts stay queued while laravel-bridge is turned on but has failed', async (t) => {
  const folder = featureFolder(t)
  folder.write('laravel-bridge', { 'index.ts': "throw new Error('a fault')" })
  const server = await build(t, { env: { ...features, FEATURES_PATH: folder.path } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: '5' })
  await send([ada], 1)
  t.same(await counts(server), { ...nothing, queued: 1 })
  t.same([server.app.features.isEnabled('laravel-bridge'), server.app.features.isEnabled('gifts'), server.app.features.isEnabled('chat')], [true, true, false])
  t.equal((await server.admin('POST', '/admin/features/laravel-bridge/disable')).status, 200)
  await until(async () => (await counts(server)).ledger === 1)
  t.same(await counts(server), { ...nothing, ledger: 1 }, 'without a backend, gifts are recorded in the ledger')
})

onEveryStore(t, 'the backend charges gifts', async (t, env) => {
  const { backend, server, enter } = await start(t, env)
  const senders = [await enter(1), await enter(2), await enter(3), await enter(4), await enter(5)]
  const begin = performance.now()
  const sent = await send(senders, 120)
  await until(() => backend.ledger.size === 120)
  // The server sends gifts in batches: several while the gifts arrive, and then two per second.
  const most = 5 + (performance.now() - begin) / 500
  t.same(new Set(backend.ledger.keys()), new Set(sent))
  t.ok([...backend.ledger.values()].every(({ received }) => received === 1))
  t.match(backend.ledger.get(sent[6] as string)?.transaction, { room_id: '5', sender_id: 2, recipient_id: 99, gift_id: 7, quantity: 7, timestamp: Number })
  t.ok(backend.calls('gifts') <= most, `the backend receives ${backend.calls('gifts')} calls, at most ${most}`)
  await until(async () => (await counts(server)).queued === 0)
  t.same(await counts(server), nothing, 'charged gifts are not stored')
})

onEveryStore(t, 'reports insufficient balance to all sockets of the sender', async (t, env) => {
  const { backend, server, enter } = await start(t, env)
  const [ada, adasPhone, bob] = [await enter(1), await server.connect(1), await enter(2)]
  backend.balances.set('1', 10)
  const { transactionId: cheap } = await ada.ok('gift:send', { giftId: 1, recipientId: 2, quantity: 10 })
  const { transactionId: dear } = await ada.ok('gift:send', { giftId: 1, recipientId: 2, quantity: 5 })
  const { transactionId: bobs } = await bob.ok('gift:send', { giftId: 1, recipientId: 2, quantity: 5 })
  for (const client of [ada, adasPhone]) t.same(await client.event('gift:error'), { transactionId: dear, code: 4002, reason: 'Insufficient balance' })
  await until(() => backend.ledger.size === 2)
  t.same(new Set(backend.ledger.keys()), new Set([cheap, bobs]))
  await until(async () => (await counts(server)).queued === 0)
  t.same(await counts(server), { ...nothing, failed: 1 })
  t.match((await server.admin('GET', '/admin/gifts/failed')).body, {
    failed: [{ transactionId: dear, roomId: '5', senderId: 1, recipientId: 2, giftId: 1, quantity: 5, code: 4002, reason: 'Insufficient balance', failedAt: Number }],
    nextCursor: null,
    total: 1
  })
  await bob.flush()
  t.same(bob.events.filter(({ type }) => type === 'gift:error'), [])
  t.equal(backend.requests.filter(({ call }) => call === 'gifts').flatMap(({ body }) => (body as { transactions: { transaction_id: string }[] }).transactions).filter(({ transaction_id: id }) => id === dear).length, 1, 'a rejected gift is not retried')
})

onEveryStore(t, 'reports insufficient balance to a sender on another server', async (t, env, kind) => {
  if (kind === 'memory') return
  const { backend, server, enter } = await start(t, env)
  const other = await build(t, { env: { ...features, ...backend.env, ...env } })
  const [here, there] = [await enter(1, server), await enter(1, other)]
  backend.balances.set('1', 0)
  const { transactionId } = await here.ok('gift:send', { giftId: 1, recipientId: 2 })
  for (const client of [here, there]) t.match(await client.event('gift:error'), { transactionId, code: 4002 })
})

onBothStores(t, 'moves a gift to the dead letters after three failures, and an admin can replay it', async (t, env) => {
  const { backend, server, enter } = await start(t, env)
  const [ada, bob] = [await enter(1), await enter(2)]
  const mend = backend.fault({ call: 'gifts', kind: 'status', status: 500 })
  const sent = [...await send([ada], 1), ...await send([bob], 1)]
  t.same(await ada.event('gift:error'), { transactionId: sent[0], code: 'PROCESSING_FAILED', reason: 'Processing the gift failed' })
  t.match(await bob.event('gift:error'), { transactionId: sent[1] })
  await until(async () => (await counts(server)).queued === 0)
  t.same(await counts(server), { ...nothing, deadLetters: 2 })
  const { body } = await server.admin('GET', '/admin/gifts/dead-letters')
  t.match(body, {
    deadLetters: [
      { transactionId: sent[0], roomId: '5', senderId: 1, recipientId: 99, giftId: 1, quantity: 1, timestamp: Number, tries: 3, reason: /500/, deadAt: Number },
      { transactionId: sent[1], senderId: 2, tries: 3 }
    ],
    nextCursor: null,
    total: 2
  })
  await until(async () => /^flylive_gift_dead_letter_size 2$/m.test(await (await fetch(`${server.url}/metrics`)).text()))
  t.match(await (await fetch(`${server.url}/metrics`)).text(), 'flylive_gifts_processed_total{status="dead"} 2')

  mend()
  t.same(await server.admin('POST', '/admin/gifts/dead-letters/replay', { transactionIds: [sent[1]] }), { status: 200, body: { replayed: 1 } })
  await until(() => backend.ledger.has(sent[1] as string))
  t.same(await counts(server), { ...nothing, deadLetters: 1 })
  t.same(await server.admin('POST', '/admin/gifts/dead-letters/replay'), { status: 200, body: { replayed: 1 } })
  await until(() => backend.ledger.size === 2)
  t.same(await server.admin('POST', '/admin/gifts/dead-letters/replay'), { status: 200, body: { replayed: 0 } })
  await until(async () => (await counts(server)).queued === 0)
  t.same(await counts(server), nothing)
})

for (const kind of ['hang', 'reset', 'reset-after', 'malformed'] as const) {
  t.test(`retries a call that fails with ${kind}`, { buffered: true }, async (t) => {
    // Set a short timeout only for `hang`. With the other faults, a slow call could exceed the short timeout.
    const { backend, server, enter } = await start(t, kind === 'hang' ? { LARAVEL_API_TIMEOUT_MS: '2000' } : {})
    const ada = await enter(1)
    backend.fault({ call: 'gifts', kind, times: 1 })
    const sent = await send([ada], 3)
    await until(async () => (await counts(server)).queued === 0)
    t.same(new Set(backend.ledger.keys()), new Set(sent))
    t.ok([...backend.ledger.values()].every(({ applied }) => applied === 1))
    t.same(await counts(server), nothing)
  })
}

onEveryStore(t, 'keeps gifts while the backend is down', async (t, env) => {
  const { backend, server, enter } = await start(t, env)
  const clients = [await enter(1), await enter(2)]
  await backend.stop()
  const sent = await send(clients, 40)
  await until(async () => /^flylive_gift_flush_duration_seconds_count\{result="unavailable"\} [3-9]/m.test(await (await fetch(`${server.url}/metrics`)).text()))
  t.same(await counts(server), { ...nothing, queued: 40 }, 'attempts are not counted')
  await backend.start()
  await until(() => backend.ledger.size === 40, 60_000)
  t.same(new Set(backend.ledger.keys()), new Set(sent))
  for (const client of clients) t.same(client.events.filter(({ type }) => type === 'gift:error'), [])
})

onEveryStore(t, 'keeps gifts while the bridge is disabled', async (t, env) => {
  const { backend, server, enter } = await start(t, { ...env, FEATURES: 'auth,gifts' })
  await send([await enter(1)], 3)
  await until(async () => /^flylive_gift_queue_size 3$/m.test(await (await fetch(`${server.url}/metrics`)).text()))
  t.same(await counts(server), { ...nothing, queued: 3 }, 'gifts stay queued and are not recorded as processed')
  t.equal(backend.calls('gifts'), 0)
})

t.test('accepted gifts survive a restart', async (t) => {
  const folder = t.testdir()
  const { backend, server, enter } = await start(t, { DATA_DIR: folder })
  const ada = await enter(1)
  await backend.stop()
  const sent = await send([ada], 5)
  await server.close()
  await backend.start()
  await build(t, { env: { ...features, ...backend.env, DATA_DIR: folder } })
  await until(() => backend.ledger.size === 5)
  t.same(new Set(backend.ledger.keys()), new Set(sent))
})

t.test('a stopping server finishes its batch', async (t) => {
  const folder = t.testdir()
  const { backend, server, enter } = await start(t, { DATA_DIR: folder })
  backend.fault({ call: 'gifts', kind: 'slow', ms: 500 })
  const call = backend.nextCall('gifts')
  await send([await enter(1)], 1)
  await call
  await server.close()
  const outbox = createSqliteOutbox(join(folder, 'gifts.sqlite'))
  t.teardown(() => outbox.close())
  t.same(await outbox.counts(), nothing)
  t.equal(backend.ledger.size, 1)
})

t.test('two servers share the work without duplicates', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const { backend, server, enter } = await start(t, env)
  const other = await build(t, { env: { ...features, ...backend.env, ...env } })
  backend.fault({ call: 'gifts', kind: 'slow', ms: 300 })
  // Each user sends 20 gifts, which is less than the limit of 30 per minute, so that a gift can be repeated.
  const clients = await Promise.all(Array.from({ length: 60 }, (_, i) => enter(i + 1, i % 2 ? server : other)))
  const sent = await send(clients, 1200)
  await until(() => backend.ledger.size === 1200, 60_000)
  t.same(new Set(backend.ledger.keys()), new Set(sent))
  t.ok([...backend.ledger.values()].every(({ received }) => received === 1))
  await until(async () => (await counts(server)).queued === 0)
  const booked = await Promise.all([server, other].map(async ({ url }) => Number(/^flylive_gifts_processed_total\{status="success"\} (\d+)$/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1])))
  t.equal(booked.reduce((sum, count) => sum + count), 1200, `shared ${booked.join(' and ')}`)
})
