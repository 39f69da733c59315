import t from 'tap'
import { v4, v7, version } from 'uuid'
import { maxKeyAgeMs, timeOf } from '../../../features/gifts/messages.ts'
import { createGifts } from '../../../features/gifts/service.ts'
import type { FeatureInstance } from '../../../plugins/features/feature.ts'
import type { LocalRoom } from '../../../plugins/rooms/node-rooms.ts'
import type { Session } from '../../../plugins/connections/session.ts'
import { startBackend } from '../../support/backend.ts'
import { build, onBothStores, onEveryStore } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const features = { FEATURES: 'auth,gifts' }
/** The backend is unreachable, so gifts stay queued. */
const waiting = { ...features, LARAVEL_API_URL: 'http://127.0.0.1:9', LARAVEL_INTERNAL_KEY: 'x'.repeat(32) }
const counts = async (server: TestServer) => (await server.admin('GET', '/admin/gifts')).body as Record<'queued' | 'deadLetters' | 'failed' | 'ledger', number>

async function enter (server: TestServer, userId: string | number, roomId = '5'): Promise<TestClient> {
  const client = await server.connect(userId)
  await client.ok('room:join', { roomId })
  return client
}

async function shownTo (client: TestClient): Promise<unknown[]> {
  await client.flush()
  return client.events.filter(({ type }) => type === 'gift:received').map(({ data }) => data.transactionId)
}

onBothStores(t, 'requests with the same key send only one gift', async (t, store) => {
  const server = await build(t, { env: { ...waiting, ...store } })
  const [ada, bob] = [await enter(server, 1), await enter(server, 2)]
  const key = v7({ msecs: Date.now() - 3_600_000 })
  const gift = { giftId: 7, recipientId: 2, quantity: 3, key }
  const { transactionId } = await ada.ok('gift:send', gift)
  t.equal(version(transactionId as string), 7)
  t.equal(timeOf(transactionId as string), timeOf(key), 'the id contains the time of the key')
  t.not(transactionId, key)
  for (const again of [gift, gift, { ...gift, key: key.toUpperCase() }, { ...gift, recipientId: '2' }]) t.same(await ada.ok('gift:send', again), { transactionId })
  const phone = await enter(server, 1)
  t.same(await phone.ok('gift:send', gift), { transactionId }, 'the key also applies on the user\'s other connections')
  t.same(await counts(server), { queued: 1, deadLetters: 0, failed: 0, ledger: 0 })

  const { transactionId: second } = await ada.ok('gift:send', { ...gift, key: v7() })
  const { transactionId: third } = await ada.ok('gift:send', { giftId: 7, recipientId: 2, quantity: 3 })
  t.equal(new Set([transactionId, second, third]).size, 3, 'a gift with a new key or without a key is a new gift')
  await bob.event('gift:received', (data) => data.transactionId === third)
  t.same(await shownTo(bob), [transactionId, second, third], 'each gift is announced once')
  t.same((await counts(server)).queued, 3)
})

t.test('concurrent requests with the same key send only one gift', async (t) => {
  const server = await build(t, { env: features })
  const [ada, phone] = [await enter(server, 1), await enter(server, 1)]
  const gift = { giftId: 7, recipientId: 2, key: v7() }
  const replies = await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? ada : phone).ok('gift:send', gift)))
  t.equal(new Set(replies.map(({ transactionId }) => transactionId)).size, 1)
  await until(async () => (await counts(server)).ledger === 1)
  t.same(await ada.ok('gift:send', gift), replies[0], 'the gift is already in the ledger')
  t.same(await counts(server), { queued: 0, deadLetters: 0, failed: 0, ledger: 1 })
  t.same(await shownTo(ada), [replies[0]?.transactionId])
})

t.test('keys of different senders are independent', async (t) => {
  const server = await build(t, { env: waiting })
  const [ada, bob, eve] = [await enter(server, 1), await enter(server, 2), await enter(server, '11')]
  const gift = { giftId: 7, recipientId: 3, key: v7() }
  const { transactionId } = await ada.ok('gift:send', gift)
  await bob.event('gift:received')
  const others = [
    await bob.ok('gift:send', gift),
    await eve.ok('gift:send', gift),
    // All members see the transaction id of a gift. If a member sends a gift with this id as the key, the reply must
    // not be about the earlier gift.
    await bob.ok('gift:send', { ...gift, key: transactionId }),
    await ada.ok('gift:send', { ...gift, key: transactionId })
  ]
  t.equal(new Set([transactionId, ...others.map((reply) => reply.transactionId)]).size, 5)
  t.equal((await counts(server)).queued, 5)
})

t.test('rejects invalid keys', async (t) => {
  const server = await build(t, { env: features })
  const ada = await enter(server, 1)
  const send = (key: unknown) => ada.request('gift:send', { giftId: 7, recipientId: 2, key })
  const far = maxKeyAgeMs + 60_000
  for (const key of ['', 'x', 7, null, {}, v4(), v7().slice(1), v7({ msecs: Date.now() - far }), v7({ msecs: Date.now() + far }), v7({ msecs: 0 })]) {
    t.match(await send(key), { ok: false, error: { code: 'VALIDATION_FAILED', details: [{ path: 'key', message: String }] } }, String(key))
  }
  t.same(await counts(server), { queued: 0, deadLetters: 0, failed: 0, ledger: 0 })
  const near = maxKeyAgeMs - 60_000
  for (const key of [v7({ msecs: Date.now() - near }), v7({ msecs: Date.now() + near }), undefined]) t.equal((await send(key)).ok, true)
})

onBothStores(t, 'rejects a key that was used for another gift', async (t, store, kind) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const server = await build(t, { env: { FEATURES: 'auth,gifts,laravel-bridge', ...backend.env, ...store } })
  const ada = await enter(server, 1)
  const gift = { giftId: 7, recipientId: 2, quantity: 3, key: v7() }
  const others = [{ giftId: 8 }, { recipientId: 3 }, { quantity: 4 }]
  const { transactionId } = await ada.ok('gift:send', gift)
  await until(() => backend.ledger.size === 1)
  await until(async () => (await counts(server)).queued === 0)
  for (const change of others) t.match((await ada.request('gift:send', { ...gift, ...change })).error, { code: 'KEY_REUSED', message: String }, 'the key is cached on this server')
  t.same(await ada.ok('gift:send', gift), { transactionId })
  await ada.ok('room:join', { roomId: '6' })
  t.equal(await ada.fails('gift:send', gift), 'KEY_REUSED', 'a gift in another room is a different gift')

  if (kind === 'redis') {
    const [one, two] = [await build(t, { env: { ...waiting, ...store } }), await build(t, { env: { ...waiting, ...store } })]
    const [here, there] = [await enter(one, 9), await enter(two, 9)]
    await backend.stop()
    const second = { ...gift, key: v7() }
    const { transactionId } = await here.ok('gift:send', second)
    for (const change of others) t.equal(await there.fails('gift:send', { ...second, ...change }), 'KEY_REUSED', 'the gift is in the outbox')
    t.same(await there.ok('gift:send', second), { transactionId })
    await backend.start()
    await until(() => backend.ledger.size === 2)
  }
  await until(async () => (await counts(server)).queued === 0)
  t.match(backend.ledger.get(transactionId as string), { applied: 1, transaction: { gift_id: 7, recipient_id: 2, quantity: 3 } })
})

onEveryStore(t, 'the backend charges once per key, even after the gift has left the outbox', async (t, store) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  backend.balances.set('1', 5)
  const server = await build(t, { env: { FEATURES: 'auth,gifts,laravel-bridge', ...backend.env, ...store } })
  const [ada, bob] = [await enter(server, 1), await enter(server, 2)]
  const gift = { giftId: 7, recipientId: 2, quantity: 3, key: v7() }
  const { transactionId } = await ada.ok('gift:send', gift)
  for (let received = 1; received <= 3; received++) {
    await until(() => backend.ledger.get(transactionId as string)?.received === received)
    await until(async () => (await counts(server)).queued === 0)
    if (received < 3) t.same(await ada.ok('gift:send', gift), { transactionId })
  }
  t.equal(backend.ledger.get(transactionId as string)?.applied, 1)
  t.equal(backend.balances.get('1'), 2)
  t.same((await bob.ok('room:join', { roomId: '5' })).giftTotals, [{ recipientId: 2, quantity: 3 }], 'the totals count the gift once')

  const dear = { ...gift, key: v7() }
  const { transactionId: refused } = await ada.ok('gift:send', dear)
  const error = { transactionId: refused, code: 4002, reason: 'Insufficient balance' }
  t.same(await ada.event('gift:error'), error)
  const calls = backend.calls('gifts')
  t.same(await ada.ok('gift:send', dear), { transactionId: refused })
  t.same(await ada.event('gift:error'), error, 'the error is sent again on a retry')
  t.same(await counts(server), { queued: 0, deadLetters: 0, failed: 1, ledger: 0 })
  t.equal(backend.calls('gifts'), calls, 'a rejection is final')
  t.same(await shownTo(bob), [transactionId, refused], 'each gift is announced once')
})

t.test('another server reports a rejected gift only to the sender', async (t) => {
  const redis = await startRedis(t)
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  backend.balances.set('1', 0)
  const env = { FEATURES: 'auth,gifts,laravel-bridge', ...backend.env, REDIS_URL: redis.url }
  const [one, two] = [await build(t, { env }), await build(t, { env })]
  const [here, there] = [await enter(one, 1), await enter(two, 1)]
  const gift = { giftId: 7, recipientId: 2, key: v7() }
  const { transactionId } = await here.ok('gift:send', gift)
  await there.event('gift:error')
  t.same(await there.ok('gift:send', gift), { transactionId })
  t.match(await there.event('gift:error'), { transactionId, code: 4002 })
  t.same(await shownTo(there), [transactionId], 'only the accepting server announces the gift')
})

t.test('a retry after UNAVAILABLE announces the gift, but does not queue a second one', async (t) => {
  const redis = await startRedis(t)
  const server = await build(t, { env: { ...waiting, REDIS_URL: redis.url } })
  const [ada, bob] = [await enter(server, 1), await enter(server, 2)]
  const gift = { giftId: 7, recipientId: 2, key: v7() }
  // Load the script into Redis, so that the next call is EVALSHA.
  const { transactionId: first } = await ada.ok('gift:send', { ...gift, giftId: 1, key: v7() })
  // Suspend Redis right before the server sends the gift to Redis.
  const { redis: client } = server.app
  const evalsha = client.evalsha.bind(client) as (...args: unknown[]) => Promise<unknown>
  client.evalsha = ((...args: unknown[]) => {
    if (args.some((arg) => String(arg).includes('"giftId":7'))) redis.process.kill('SIGSTOP')
    return evalsha(...args)
  }) as typeof client.evalsha
  t.match((await ada.request('gift:send', gift)).error, { code: 'UNAVAILABLE', details: { retryable: true } })
  client.evalsha = evalsha as typeof client.evalsha
  redis.process.kill('SIGCONT')
  await until(async () => (await counts(server)).queued === 2)
  t.same(await shownTo(bob), [first], 'the gift has not been announced')
  t.equal(await ada.fails('gift:send', { ...gift, quantity: 9 }), 'KEY_REUSED')

  const { transactionId } = await ada.ok('gift:send', gift)
  t.match(await bob.event('gift:received', ({ giftId }) => giftId === 7), { transactionId, senderId: 1, recipientId: 2, quantity: 1 })
  await ada.ok('gift:send', gift)
  t.equal((await counts(server)).queued, 2)
  t.same(await shownTo(bob), [first, transactionId])
})

t.test('a retry after a lost connection does not queue a second gift', async (t) => {
  const server = await build(t, { env: waiting })
  const [ada, bob] = [await enter(server, 1), await enter(server, 2)]
  const gift = { giftId: 7, recipientId: 2, key: v7() }
  ada.send({ id: 1, type: 'gift:send', data: gift })
  const { transactionId } = await bob.event('gift:received')
  await ada.close()
  const again = await enter(server, 1)
  t.same(await again.ok('gift:send', gift), { transactionId })
  t.equal((await counts(server)).queued, 1)
  t.same(await shownTo(bob), [transactionId])
})

t.test('a retry after a reload does not send the gift again', async (t) => {
  const server = await build(t, { env: waiting })
  const [ada, bob] = [await enter(server, 1), await enter(server, 2)]
  const gift = { giftId: 7, recipientId: 2, quantity: 1, key: v7() }
  const { transactionId } = await ada.ok('gift:send', gift)
  const running = server.app.features.generations().find(({ name }) => name === 'gifts')?.app as unknown as FeatureInstance
  const next = createGifts(running, 1000)
  t.teardown(() => next.close())
  const [session] = server.app.sockets.ofUser('1') as Iterable<Session>
  const accepted = await next.accept(session as Session, server.app.rooms.get('5') as LocalRoom, gift)
  t.equal(accepted.gift.transactionId, transactionId)
  next.announce(accepted, session as Session)
  await t.rejects(next.accept(session as Session, server.app.rooms.get('5') as LocalRoom, { ...gift, quantity: 2 }), { code: 'KEY_REUSED', statusCode: 409 })
  t.same(await shownTo(bob), [transactionId])
})
