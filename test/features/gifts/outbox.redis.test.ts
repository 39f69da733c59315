import t from 'tap'
import type { Outbox } from '../../../features/gifts/outbox.ts'
import { createRedisOutbox } from '../../../features/gifts/outbox.redis.ts'
import { giftOf, giftOutboxContract } from '../../contracts/gift-outbox.ts'
import { redisClient, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { stopwatch } from '../../support/pace.ts'

// The tests share one Redis; each test uses its own database.
const shared = await startRedis(t)
const [one, two] = [await redisClient(t, shared), await redisClient(t, shared)]

giftOutboxContract(t, async (_t, kept) => {
  await one.flushdb()
  const clock = { now: 1_000_000 }
  const now = () => clock.now
  const options = { now, ...(kept === undefined ? {} : { keptLedger: kept, keptFailed: kept }) }
  return { a: createRedisOutbox(one, options), b: createRedisOutbox(two, options), clock }
})

t.test('leases use the clock of the Redis server', async (t) => {
  await one.flushdb()
  const [a, b] = [createRedisOutbox(one), createRedisOutbox(two)]
  const gift = giftOf()
  await a.add(gift)
  const first = await a.take([10], 400)
  const begin = performance.now()
  t.equal(first.gifts.length, 1)
  await until(async () => (await b.take([10], 60_000)).gifts.length === 1)
  const after = performance.now() - begin
  t.ok(after > 300, `${after} ms`)
  t.equal((await a.settle(first.token, new Map([[gift.transactionId, { to: 'processed' }]]))).length, 0)
})

t.test('all keys share a cluster slot, and settled gifts leave no keys behind', async (t) => {
  await one.flushdb()
  const outbox = createRedisOutbox(one)
  const gifts = Array.from({ length: 4 }, () => giftOf())
  for (const gift of gifts) await outbox.add(gift)
  let batch = await outbox.take([10], 1000)
  await outbox.settle(batch.token, new Map(gifts.map(({ transactionId }, i) => [transactionId, ([
    { to: 'ledger', at: 1 }, { to: 'failed', code: 1, reason: '', at: 1 }, { to: 'deadLetters', reason: '', at: 1 }, { to: 'queue', delayMs: 0, counted: true }
  ] as const)[i] ?? { to: 'processed' }])))
  batch = await outbox.take([10], 1000)
  const keys = await one.keys('*')
  t.same(keys.sort(), ['dead', 'dead:ids', 'due', 'failed', 'failed:ids', 'items', 'leases', 'ledger', 'ledger:ids'].map((name) => `msab:{gifts}:${name}`))
  await outbox.settle(batch.token, new Map(gifts.map(({ transactionId }) => [transactionId, { to: 'processed' }])))
  t.same(await one.exists('msab:{gifts}:due', 'msab:{gifts}:items', 'msab:{gifts}:leases'), 0)
})

t.test('forgets counted gifts that can no longer be repeated', async (t) => {
  await one.flushdb()
  const outbox = createRedisOutbox(one)
  const [gift, other] = [giftOf(), giftOf()]
  await outbox.add(gift, 1, 60_000)
  await outbox.add(other, 1)
  const [key, ...others] = await one.keys('msab:{gifts}:counted:*')
  t.same(others, [])
  const remainingMs = await one.pttl(key as string)
  t.ok(remainingMs > 0 && remainingMs <= 60_000, `${remainingMs} ms`)
})

t.test('limits the number of failed gifts that are kept', async (t) => {
  await one.flushdb()
  const [before, outbox] = [createRedisOutbox(one), createRedisOutbox(two, { keptFailed: 10 })]
  const fail = async (outbox: Outbox, count: number) => {
    await Promise.all(Array.from({ length: count }, () => outbox.add(giftOf())))
    const batch = await outbox.take([count], 1000)
    await outbox.settle(batch.token, new Map(batch.gifts.map(({ transactionId }) => [transactionId, { to: 'failed', code: 1, reason: '', at: 1 }])))
  }
  await fail(before, 1500)
  t.match(await before.counts(), { failed: 1500 })
  const sizes = () => Promise.all([one.hlen('msab:{gifts}:failed'), one.zcard('msab:{gifts}:failed:ids')])
  await fail(outbox, 10)
  t.same(await sizes(), [510, 510], 'a thousand in one batch')
  await fail(outbox, 1)
  t.same(await sizes(), [10, 10])
})

t.test('a manually deleted gift does not block other gifts', async (t) => {
  await one.flushdb()
  const outbox = createRedisOutbox(one)
  const gifts = [giftOf(), giftOf()] as const
  for (const gift of gifts) await outbox.add(gift)
  await one.hdel('msab:{gifts}:items', gifts[0].transactionId)
  t.match(await outbox.take([10], 1000), { gifts: [gifts[1]] })
  t.match(await outbox.counts(), { queued: 1 })
})

t.test('rejects calls while Redis is down', async (t) => {
  const redis = await startRedis(t)
  const outbox = createRedisOutbox(await redisClient(t, redis))
  await outbox.add(giftOf())
  await redis.kill()
  const calls: Record<Exclude<keyof Outbox, 'close'>, () => Promise<unknown>> = {
    add: () => outbox.add(giftOf()),
    take: () => outbox.take([1], 1),
    settle: () => outbox.settle('x', new Map([['a', { to: 'processed' }]])),
    counts: () => outbox.counts(),
    list: () => outbox.list('failed', '', 1),
    replay: () => outbox.replay(['a']),
    totals: () => outbox.totals('r1', 1, 1),
    forgetTotals: () => outbox.forgetTotals('r1', 1)
  }
  for (const [name, call] of Object.entries(calls)) {
    const passed = stopwatch()
    await t.rejects(call(), { code: 'UNAVAILABLE', statusCode: 503, details: { retryable: true } }, name)
    t.ok(passed() < 3000, `${name} rejects without waiting`)
  }
  t.same(Object.keys(calls).sort(), Object.keys(outbox).filter((name) => name !== 'close').sort(), 'every method is covered')
  await redis.start()
  await until(async () => await outbox.add(giftOf()).then(() => true, () => false))
  t.match(await outbox.counts(), { queued: 1 })
})

t.test('rejects calls while Redis hangs', async (t) => {
  const redis = await startRedis(t)
  const outbox = createRedisOutbox(await redisClient(t, redis, 0, 2000))
  await outbox.add(giftOf())
  redis.process.kill('SIGSTOP')
  await t.rejects(outbox.add(giftOf()), { code: 'UNAVAILABLE' }, 'a write with an unknown result is not acknowledged')
  redis.process.kill('SIGCONT')
  await until(async () => await outbox.counts().then(() => true, () => false))
})

t.test('keeps gifts when Redis is out of memory', async (t) => {
  const redis = await startRedis(t)
  const client = await redisClient(t, redis)
  const outbox = createRedisOutbox(client)
  const gifts = [giftOf(), giftOf()] as const
  for (const gift of gifts) await outbox.add(gift)
  const batch = await outbox.take([10], 60_000)
  await client.config('SET', 'maxmemory', '1')
  await t.rejects(outbox.add(giftOf()), { code: 'UNAVAILABLE' })
  await t.rejects(outbox.settle(batch.token, new Map(gifts.map(({ transactionId }) => [transactionId, { to: 'failed', code: 1, reason: '', at: 1 }]))), { code: 'UNAVAILABLE' })
  t.same(await outbox.counts(), { queued: 2, failed: 0, deadLetters: 0, ledger: 0 })
  t.equal((await outbox.settle(batch.token, new Map([[gifts[0].transactionId, { to: 'processed' }]]))).length, 1, 'calls that need no memory still work')
  await client.config('SET', 'maxmemory', '0')
  t.equal((await outbox.settle(batch.token, new Map([[gifts[1].transactionId, { to: 'failed', code: 1, reason: '', at: 1 }]]))).length, 1)
  t.same(await outbox.counts(), { queued: 0, failed: 1, deadLetters: 0, ledger: 0 })
})
