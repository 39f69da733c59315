import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { createFlusher } from '../../../features/gifts/flusher.ts'
import type { FlusherOptions } from '../../../features/gifts/flusher.ts'
import type { Gift, Outbox } from '../../../features/gifts/outbox.ts'
import { createSqliteOutbox } from '../../../features/gifts/outbox.sqlite.ts'
import type { GiftProcessor } from '../../../features/gifts/processor.ts'
import { createClock } from '../../../plugins/clock.ts'
import { unavailable } from '../../../plugins/errors/codes.ts'
import { createMetrics } from '../../../plugins/metrics.ts'
import { giftOf } from '../../contracts/gift-outbox.ts'
import { until } from '../../support/retry.ts'
import { clocksDifferMs, stopwatch } from '../../support/pace.ts'

// Most of these tests take several seconds, so they run in parallel.
t.jobs = 12
const slowly = { buffered: true }

type Answer = Awaited<ReturnType<GiftProcessor['processGifts']>>
type Processor = (gifts: readonly Gift[], call: number) => Answer | Promise<Answer>

const folder = t.testdir()
let files = 0
const booked: Answer = { failed: [] }
const ids = (gifts: readonly Gift[]) => gifts.map(({ transactionId }) => transactionId)

/** Starts a flusher with its own outbox. The `process` function acts as the backend. */
function start (t: Test, process: Processor, change: Partial<FlusherOptions> = {}) {
  const outbox = change.outbox ?? createSqliteOutbox(join(folder, `${++files}.sqlite`))
  const metrics = createMetrics()
  const calls: string[][] = []
  const times: number[] = []
  const refused: [id: string, code: number | string, reason: string][] = []
  const logged: string[] = []
  const log = (_object: unknown, text?: string) => { logged.push(text ?? '') }
  const flusher = createFlusher({
    outbox,
    processor: () => ({
      timeoutMs: 1000,
      async processGifts (gifts) {
        times.push(performance.now())
        return await process(gifts, calls.push(ids(gifts)))
      }
    }),
    onRejected: ({ transactionId }, code, reason) => refused.push([transactionId, code, reason]),
    metrics,
    clock: createClock(),
    log: { info: log, warn: log, error: log },
    ...change
  })
  t.teardown(async () => {
    await flusher.close()
    await outbox.close()
  })
  const add = async (count: number) => {
    const gifts = Array.from({ length: count }, () => giftOf())
    await Promise.all(gifts.map((gift) => outbox.add(gift)))
    for (let i = 0; i < count; i++) flusher.added()
    return gifts
  }
  const value = async (name: string, labels = '') => {
    const text = await metrics.registry.metrics()
    return Number(text.split('\n').find((line) => line.startsWith(`${name}${labels} `))?.split(' ')[1])
  }
  return { outbox, flusher, calls, times, refused, logged, add, value }
}

t.test('sends queued gifts in order, and removes them', async (t) => {
  const { outbox, calls, add, value } = start(t, () => booked)
  const gifts = await add(3)
  const passed = stopwatch()
  await until(() => calls.length === 1)
  t.ok(passed() < 1500)
  t.same(calls, [ids(gifts)])
  await until(async () => (await outbox.counts()).queued === 0)
  t.same(await outbox.counts(), { queued: 0, ledger: 0, failed: 0, deadLetters: 0 })
  await until(async () => await value('flylive_gifts_processed_total', '{status="success"}') === 3)
  t.equal(await value('flylive_gift_batch_size_sum'), 3)
  t.equal(await value('flylive_gift_flush_duration_seconds_count', '{result="ok"}'), 1)
  await until(async () => await value('flylive_gift_queue_size') === 0)
})

t.test('sends 100 gifts immediately and more in several batches', async (t) => {
  const outbox = createSqliteOutbox(join(folder, `${++files}.sqlite`))
  let takes = 0
  const { flusher, calls, add } = start(t, () => booked, {
    outbox: {
      ...outbox,
      take (...args) {
        takes++
        return outbox.take(...args)
      }
    }
  })
  const gifts = Array.from({ length: 100 }, () => giftOf())
  await Promise.all(gifts.map((gift) => outbox.add(gift)))
  const before = takes
  for (let i = 0; i < 99; i++) flusher.added()
  t.equal(takes, before)
  flusher.added()
  t.equal(takes, before + 1, 'immediately')
  const more = await add(250)
  await until(async () => (await outbox.counts()).queued === 0)
  t.same(new Set(calls.flat()), new Set(ids([...gifts, ...more])))
  t.equal(calls.flat().length, 350, 'each gift is sent once')
  t.ok(calls.every((call) => call.length <= 100))
})

t.test('sends at most four batches concurrently', async (t) => {
  let running = 0
  let most = 0
  const { outbox, add } = start(t, async () => {
    most = Math.max(most, ++running)
    await delay(100)
    running--
    return booked
  })
  await add(1000)
  await until(async () => (await outbox.counts()).queued === 0)
  t.equal(most, 4)
})

t.test('a rejection by the backend is final', async (t) => {
  const { outbox, calls, refused, add, value } = start(t, (gifts) => ({
    failed: [
      { transactionId: ids(gifts)[1] as string, code: 4002, reason: 'Insufficient balance' },
      { transactionId: ids(gifts)[1] as string, code: 4003, reason: 'said twice' },
      { transactionId: 'not in the batch', code: 1, reason: 'whose?' }
    ]
  }))
  const gifts = await add(3)
  await until(() => refused.length > 0)
  t.same(refused, [[ids(gifts)[1], 4002, 'Insufficient balance']])
  t.same(await outbox.counts(), { queued: 0, ledger: 0, failed: 1, deadLetters: 0 })
  t.match(await outbox.list('failed', '', 10), [{ ...gifts[1], code: 4002, reason: 'Insufficient balance', failedAt: Number }])
  await until(async () => await value('flylive_gifts_processed_total', '{status="failed"}') === 1)
  t.equal(await value('flylive_gifts_processed_total', '{status="success"}'), 2)
  t.equal(calls.length, 1)
})

t.test('retries a failed batch in smaller batches, with delays of 1 s and 2 s, before it gives up', slowly, async (t) => {
  const { outbox, calls, times, refused, add, value } = start(t, () => { throw new Error('HTTP 500') })
  const gifts = await add(12)
  await until(() => refused.length === 12)
  t.same(calls.map((call) => call.length), [12, 10, 2, ...Array<number>(12).fill(1)])
  const [first, second, , third] = times as [number, number, number, number]
  t.ok(second - first > 900, `${second - first} ms`)
  t.ok(third - second > 1900, `${third - second} ms`)
  t.same(new Set(refused.map(([id]) => id)), new Set(ids(gifts)))
  t.ok(refused.every(([, code, reason]) => code === 'PROCESSING_FAILED' && !reason.includes('500')))
  t.same(await outbox.counts(), { queued: 0, ledger: 0, failed: 0, deadLetters: 12 })
  t.match(await outbox.list('deadLetters', '', 1), [{ ...gifts[0], tries: 3, reason: 'HTTP 500', deadAt: Number }])
  await until(async () => await value('flylive_gifts_processed_total', '{status="dead"}') === 12)
  t.equal(await value('flylive_gift_flush_duration_seconds_count', '{result="error"}'), 15)
  await until(async () => await value('flylive_gift_dead_letter_size') === 12)

  t.equal(await outbox.replay(ids(gifts)), 12)
  await until(() => calls.length > 15)
  t.equal(calls[15]?.length, 12, 'a replayed gift starts with the full batch size')
})

t.test('a gift that crashes the backend does not affect other gifts', slowly, async (t) => {
  let poison = ''
  const { outbox, calls, refused, add } = start(t, (gifts) => {
    if (ids(gifts).includes(poison)) throw new Error('HTTP 422')
    return booked
  })
  const adding = add(95)
  poison = await adding.then((gifts) => ids(gifts)[42] as string)
  await until(() => refused.length > 0)
  t.same(refused, [[poison, 'PROCESSING_FAILED', 'Processing the gift failed']])
  await until(async () => (await outbox.counts()).queued === 0)
  t.same(await outbox.counts(), { queued: 0, ledger: 0, failed: 0, deadLetters: 1 })
  t.equal(calls.length, 1 + 10 + 10)
})

t.test('treats an invalid response as a failure', slowly, async (t) => {
  const { outbox, calls, add } = start(t, (_gifts, call) => call === 1 ? undefined as never : call === 2 ? { failed: null } as never : booked)
  await add(2)
  await until(() => calls.length === 4)
  await until(async () => (await outbox.counts()).queued === 0)
  t.same(await outbox.counts(), { queued: 0, ledger: 0, failed: 0, deadLetters: 0 })
})

t.test('keeps gifts while the backend is unreachable', slowly, async (t) => {
  const recovered = Promise.withResolvers<void>()
  const { outbox, calls, times, add, value } = start(t, async (_gifts, call) => {
    if (call <= 5) throw unavailable('The backend is unavailable')
    await recovered.promise
    return booked
  })
  await add(150)
  await until(() => calls.length >= 5)
  const gaps = times.map((time, i) => Math.round(time - (times[i - 1] ?? 0))).slice(1)
  t.ok((gaps[2] as number) > 900 && (gaps[3] as number) > 1900, `polled again after ${gaps.join(', ')} ms`)
  t.same(await outbox.counts(), { queued: 150, ledger: 0, failed: 0, deadLetters: 0 })
  recovered.resolve()
  await until(async () => (await outbox.counts()).queued === 0)
  t.same(await outbox.counts(), { queued: 0, ledger: 0, failed: 0, deadLetters: 0 })
  await until(async () => await value('flylive_gifts_processed_total', '{status="success"}') === 150)
  t.equal(await value('flylive_gift_flush_duration_seconds_count', '{result="unavailable"}'), 5)
})

t.test('looks up the gift processor for each batch', slowly, async (t) => {
  let to: GiftProcessor | 'ledger' | undefined
  const sent: string[] = []
  const { outbox, add, value } = start(t, () => booked, { processor: () => to })
  const first = await add(3)
  await until(async () => await value('flylive_gift_queue_size') === 3)
  t.same(await outbox.counts(), { queued: 3, ledger: 0, failed: 0, deadLetters: 0 }, 'gifts wait while there is no bridge')
  to = { timeoutMs: 1000, async processGifts (gifts) { sent.push(...ids(gifts)); return booked } }
  await until(async () => (await outbox.counts()).queued === 0)
  t.same(sent, ids(first))

  to = 'ledger'
  const second = await add(250)
  await until(async () => (await outbox.counts()).queued === 0)
  t.same(await outbox.counts(), { queued: 0, ledger: 250, failed: 0, deadLetters: 0 })
  t.same(ids(await outbox.list('ledger', '', 1000)), ids(second).sort())
  await until(async () => await value('flylive_gifts_processed_total', '{status="success"}') === 253)
})

t.test('close() waits for in-flight batches and takes no more gifts', slowly, async (t) => {
  const answer = Promise.withResolvers<Answer>()
  const { outbox, flusher, calls, add } = start(t, () => answer.promise)
  await add(100)
  await until(() => calls.length === 1)
  await add(1)
  let closed = false
  const closing = flusher.close().then(() => { closed = true })
  flusher.wake()
  await outbox.counts()
  t.equal(closed, false)
  answer.resolve(booked)
  await closing
  t.equal(calls.length, 1)
  t.match(await outbox.counts(), { queued: 1 })
})

t.test('two flushers on one outbox never send the same gift', slowly, async (t) => {
  const file = join(folder, 'shared.sqlite')
  const onTheWay = new Set<string>()
  const twice: string[] = []
  const done = new Map<string, number>()
  const process: Processor = async (gifts, call) => {
    for (const id of ids(gifts)) {
      if (onTheWay.has(id)) twice.push(id)
      onTheWay.add(id)
    }
    await delay(Math.random() * 30)
    for (const id of ids(gifts)) onTheWay.delete(id)
    if (call % 5 === 0) throw new Error('HTTP 500')
    for (const id of ids(gifts)) done.set(id, (done.get(id) ?? 0) + 1)
    return booked
  }
  const [one, two] = [start(t, process, { outbox: createSqliteOutbox(file) }), start(t, process, { outbox: createSqliteOutbox(file) })]
  const gifts = (await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? one : two).add(100)))).flat()
  await until(async () => (await one.outbox.counts()).queued === 0, 30_000)
  t.same(twice, [])
  const dead = ids(await one.outbox.list('deadLetters', '', 5000))
  t.equal(done.size + dead.length, gifts.length)
  t.ok([...done.values()].every((count) => count === 1))
})

t.test('takes over a batch when its lease expires', slowly, async (t) => {
  const file = join(folder, 'takeover.sqlite')
  const killed = createSqliteOutbox(file)
  const gift = giftOf()
  await killed.add(gift)
  // Simulate a server that was killed while holding the lease of a batch.
  const begin = performance.now()
  t.equal((await killed.take([100], 1500)).gifts.length, 1)
  await killed.close()
  const { calls, times } = start(t, () => booked, { outbox: createSqliteOutbox(file) })
  await until(() => calls.length === 1)
  t.same(calls, [[gift.transactionId]])
  t.ok(times[0] as number - begin >= 1500 - clocksDifferMs)
})

t.test('a process that was suspended while taking a batch does not send it', slowly, async (t) => {
  let late = true
  const outbox = createSqliteOutbox(join(folder, 'late.sqlite'))
  const slow: Outbox = {
    ...outbox,
    async take (...args) {
      const batch = await outbox.take(...args)
      if (late && batch.gifts.length > 0) {
        late = false
        await delay(3200)
      }
      return batch
    }
  }
  const { calls, add } = start(t, () => booked, { outbox: slow })
  await add(1)
  await until(() => calls.length === 1)
  t.equal(late, false)
  t.match(await until(async () => (await outbox.counts()).queued === 0), true)
  t.equal(calls.length, 1)
})

t.test('handles an outbox that fails after the backend responds', slowly, async (t) => {
  const outbox = createSqliteOutbox(join(folder, 'away.sqlite'))
  let failures = 0
  let lost = false
  const flaky: Outbox = {
    ...outbox,
    async settle (...args) {
      if (++failures <= 3) throw unavailable('The gift outbox is unreachable')
      if (!lost) {
        lost = true
        await outbox.settle(...args)
        throw unavailable('It was done, and the answer lost')
      }
      return await outbox.settle(...args)
    }
  }
  const { calls, refused, add, value } = start(t, (gifts) => ({ failed: [{ transactionId: ids(gifts)[0] as string, code: 4002, reason: 'Insufficient balance' }] }), { outbox: flaky })
  const gifts = await add(2)
  await until(() => refused.length > 0)
  t.same(refused, [[gifts[0]?.transactionId, 4002, 'Insufficient balance']], 'the sender is notified once')
  t.same(await outbox.counts(), { queued: 0, ledger: 0, failed: 1, deadLetters: 0 })
  t.equal(calls.length, 1, 'no gift is sent again')
  await until(async () => await value('flylive_gifts_processed_total', '{status="success"}') === 1)
})

t.test('handles an unavailable outbox', slowly, async (t) => {
  const outbox = createSqliteOutbox(join(folder, 'gone.sqlite'))
  let away = true
  const flaky: Outbox = { ...outbox, take: (...args) => away ? Promise.reject(unavailable('gone')) : outbox.take(...args) }
  const { calls, logged, add } = start(t, () => booked, { outbox: flaky })
  await add(100)
  await add(100)
  await until(() => logged.length === 1)
  await add(100)
  away = false
  await until(() => calls.flat().length === 300)
  t.same(logged, ['failed to flush gifts'], 'logged once, not twice per second')
})
