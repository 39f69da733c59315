import fc from 'fast-check'
import type { Test } from 'tap'
import { v7 } from 'uuid'
import type { Batch, Gift, Outbox, Outcome, RecordKind } from '../../features/gifts/outbox.ts'
import { emptyArray } from '../support/empty-array.ts'

/** Two outboxes that share one storage and one clock. */
export interface OutboxUnderTest {
  a: Outbox
  b: Outbox
  clock: { now: number }
}

let made = 0

export function giftOf (change: Partial<Gift> = {}): Gift {
  made++
  return { transactionId: v7(), roomId: 'r1', senderId: made, recipientId: `user ${made}`, giftId: made, quantity: 1, timestamp: 1_700_000_000_000 + made, ...change }
}

const leaseMs = 1000
const sizes = [10, 4, 1]
const ids = (gifts: readonly Gift[]) => gifts.map(({ transactionId }) => transactionId)
const all = (batch: Batch, outcome: Outcome) => new Map(batch.gifts.map(({ transactionId }) => [transactionId, outcome] as const))
const processed: Outcome = { to: 'processed' }
const ledger: Outcome = { to: 'ledger', at: 1 }
const failed: Outcome = { to: 'failed', code: 4002, reason: 'Insufficient balance', at: 2 }
const dead: Outcome = { to: 'deadLetters', reason: 'HTTP 500', at: 3 }
const again = (delayMs: number, counted = true): Outcome => ({ to: 'queue', delayMs, counted })
const nothing = { queued: 0, deadLetters: 0, failed: 0, ledger: 0 }

/**
 * Runs the tests that every gift outbox must pass.
 *
 * @param make creates empty outboxes that are closed after the test and keep at most `kept` gifts in the ledger and at
 *   most `kept` failed gifts
 */
export function giftOutboxContract (t: Test, make: (t: Test, kept?: number) => Promise<OutboxUnderTest>): void {
  t.test('queues, takes and settles a gift', async (t) => {
    const { a, b } = await make(t)
    t.same(await a.counts(), nothing)
    t.match(await a.take(sizes, leaseMs), { gifts: emptyArray, more: false, queued: 0, deadLetters: 0 })
    const gift = giftOf({ senderId: 9_007_199_254_740_991, recipientId: 'x "y"\n{}\u0000💥', roomId: 'a:b' })
    await a.add(gift)
    t.same(await b.counts(), { ...nothing, queued: 1 })
    const batch = await b.take(sizes, leaseMs)
    t.same(batch, { token: batch.token, gifts: [gift], tries: 0, more: false, queued: 1, deadLetters: 0 }, 'the gift is unchanged, including the types of its ids')
    t.same(await b.settle(batch.token, all(batch, processed)), [gift.transactionId])
    t.same(await a.counts(), nothing)
    t.same(await b.settle(batch.token, all(batch, processed)), [], 'once')
  })

  t.test('a gift that is added twice is queued once', async (t) => {
    const { a, b } = await make(t)
    const gift = giftOf()
    const found = await Promise.all([a.add(gift), b.add(gift), a.add(gift)])
    t.same(found.filter((where) => where === undefined).length, 1, 'one call added the gift')
    t.same(await a.add({ ...gift, quantity: 5 }), { place: 'queue', gift }, 'the first version is kept')
    t.same((await a.take(sizes, leaseMs)).gifts, [gift])
    t.same(await b.add({ ...gift, quantity: 5 }), { place: 'queue', gift })
    t.same((await b.take(sizes, leaseMs)).gifts, [], 'the gift is not due again')
  })

  t.test('queues a gift again only if no record of it remains', async (t) => {
    const { a, b } = await make(t)
    const gifts = Array.from({ length: 4 }, () => giftOf()) as [Gift, Gift, Gift, Gift]
    for (const gift of gifts) t.equal(await a.add(gift), undefined)
    const batch = await a.take(sizes, leaseMs)
    await a.settle(batch.token, new Map(gifts.map(({ transactionId }, i) => [transactionId, [ledger, failed, dead, processed][i] as Outcome])))
    t.same(await b.add({ ...gifts[0], quantity: 5 }), { place: 'ledger', gift: { ...gifts[0], recordedAt: 1 } })
    t.same(await b.add(gifts[1]), { place: 'failed', gift: { ...gifts[1], code: 4002, reason: 'Insufficient balance', failedAt: 2 } })
    t.same(await b.add(gifts[2]), { place: 'deadLetters', gift: { ...gifts[2], tries: 1, reason: 'HTTP 500', deadAt: 3 } })
    t.same(await a.counts(), { queued: 0, ledger: 1, failed: 1, deadLetters: 1 })
    t.equal(await b.add(gifts[3]), undefined)
    t.same(await a.counts(), { queued: 1, ledger: 1, failed: 1, deadLetters: 1 })
  })

  t.test('a gift that its sender can repeat counts once', async (t) => {
    const { a, b } = await make(t)
    const gift = giftOf({ quantity: 3 })
    for (const outbox of [a, b, a]) {
      t.equal(await outbox.add(gift, 1, 60_000), undefined, 'the gift is queued again')
      const batch = await a.take(sizes, leaseMs)
      await a.settle(batch.token, all(batch, processed))
    }
    await a.add({ ...gift, transactionId: v7() }, 1)
    await a.add({ ...gift, transactionId: v7() }, 2, 60_000)
    t.same(await b.totals('r1', 1, 10), [{ recipientId: gift.recipientId, quantity: 6 }])
    t.same(await b.totals('r1', 2, 10), [{ recipientId: gift.recipientId, quantity: 3 }])
  })

  t.test('keeps the newest failed gifts, the newest ledger entries, and all dead letters', async (t) => {
    const { a, b } = await make(t, 5)
    const gifts = Array.from({ length: 36 }, () => giftOf())
    const kinds = [failed, dead, ledger]
    for (const gift of gifts) await a.add(gift)
    for (let i = 0, batch; (batch = await a.take([9], leaseMs)).gifts.length > 0;) {
      await (i % 2 ? a : b).settle(batch.token, new Map(batch.gifts.map(({ transactionId }) => [transactionId, kinds[i++ % 3] as Outcome])))
      const { failed, ledger } = await a.counts()
      t.ok(failed <= 5 && ledger <= 5)
    }
    const of = (kind: number) => ids(gifts).filter((_, i) => i % 3 === kind)
    t.same(await b.counts(), { queued: 0, failed: 5, deadLetters: 12, ledger: 5 })
    t.same(ids(await a.list('failed', '', 100)), of(0).slice(-5))
    t.same(ids(await a.list('deadLetters', '', 100)), of(1))
    t.same(ids(await a.list('ledger', '', 100)), of(2).slice(-5))
    t.match(await a.add(gifts[33] as Gift), { place: 'failed' })
    t.equal(await a.add(gifts[0] as Gift), undefined, 'no record of the older gifts is left')
  })

  t.test('takes gifts in the order of their due times, up to the limit', async (t) => {
    const { a, clock } = await make(t)
    const gifts: Gift[] = []
    for (let i = 0; i < 25; i++) {
      const gift = giftOf()
      gifts.push(gift)
      await a.add(gift)
      if (i % 3 === 0) clock.now++
    }
    const taken: Gift[] = []
    for (const [size, more] of [[10, true], [10, true], [5, false]] as const) {
      const batch = await a.take(sizes, leaseMs)
      t.equal(batch.gifts.length, size)
      t.equal(batch.more, more)
      t.equal(batch.queued, 25)
      taken.push(...batch.gifts)
    }
    t.same(ids(taken), ids(gifts))
    t.same((await a.take(sizes, leaseMs)).gifts, [])
  })

  t.test('a taken gift cannot be taken again until its lease expires', async (t) => {
    const { a, b, clock } = await make(t)
    const gifts = Array.from({ length: 3 }, () => giftOf())
    for (const gift of gifts) await a.add(gift)
    const first = await a.take(sizes, leaseMs)
    t.equal(first.gifts.length, 3)
    clock.now += leaseMs - 1
    t.same((await b.take(sizes, leaseMs)).gifts, [])
    clock.now += 1
    const second = await b.take(sizes, leaseMs)
    t.same(ids(second.gifts), ids(gifts), 'no gift is lost')
    t.equal(second.tries, 0, 'the attempt is not counted')
    for (const outcome of [processed, ledger, failed, dead, again(0)]) {
      t.same(await a.settle(first.token, all(first, outcome)), [], 'the expired lease can no longer settle the gifts')
    }
    t.same(await a.counts(), { ...nothing, queued: 3 })
    t.equal((await b.settle(second.token, all(second, processed))).length, 3)
    t.same(await a.counts(), nothing)
  })

  t.test('a batch whose lease has expired can still be settled if its gifts were not taken again', async (t) => {
    const { a, b, clock } = await make(t)
    await a.add(giftOf())
    const batch = await a.take(sizes, leaseMs)
    clock.now += leaseMs * 10
    t.equal((await a.settle(batch.token, all(batch, processed))).length, 1)
    t.same((await b.take(sizes, leaseMs)).gifts, [])
  })

  t.test('concurrent calls to take() return different gifts', async (t) => {
    const { a, b } = await make(t)
    const gifts = Array.from({ length: 60 }, () => giftOf())
    await Promise.all(gifts.map((gift, i) => (i % 2 ? a : b).add(gift)))
    const batches = await Promise.all(Array.from({ length: 12 }, (_, i) => (i % 2 ? a : b).take(sizes, leaseMs)))
    const taken = batches.flatMap((batch) => ids(batch.gifts))
    t.equal(taken.length, 60)
    t.same(new Set(taken), new Set(ids(gifts)))
    t.equal(new Set(batches.map(({ token }) => token)).size, 12)
  })

  t.test('settles each gift of a batch separately', async (t) => {
    const { a, b, clock } = await make(t)
    const gifts = Array.from({ length: 5 }, () => giftOf()) as [Gift, Gift, Gift, Gift, Gift]
    for (const gift of gifts) await a.add(gift)
    const batch = await a.take(sizes, leaseMs)
    const outcomes = [processed, ledger, failed, dead, again(500)]
    const map = new Map(gifts.map(({ transactionId }, i) => [transactionId, outcomes[i] as Outcome] as const))
    map.set('one that is not there', failed)
    t.same((await a.settle(batch.token, map)).sort(), ids(gifts).sort())
    t.same(await b.counts(), { queued: 1, ledger: 1, failed: 1, deadLetters: 1 })
    t.same(await b.list('ledger', '', 10), [{ ...gifts[1], recordedAt: 1 }])
    t.same(await b.list('failed', '', 10), [{ ...gifts[2], code: 4002, reason: 'Insufficient balance', failedAt: 2 }])
    t.same(await b.list('deadLetters', '', 10), [{ ...gifts[3], tries: 1, reason: 'HTTP 500', deadAt: 3 }])
    t.same((await b.take(sizes, leaseMs)).gifts, [])
    clock.now += 500
    t.match(await b.take(sizes, leaseMs), { gifts: [gifts[4]], tries: 1, queued: 1, deadLetters: 1 })
  })

  t.test('counts attempts only when requested', async (t) => {
    const { a, b } = await make(t)
    const gift = giftOf()
    await a.add(gift)
    for (const [i, counted] of [false, true, false, true, true].entries()) {
      const batch = await (i % 2 ? a : b).take(sizes, leaseMs)
      t.equal(batch.tries, [0, 0, 1, 1, 2][i])
      await a.settle(batch.token, all(batch, again(0, counted)))
    }
    const batch = await a.take(sizes, leaseMs)
    t.same([batch.gifts, batch.tries], [[gift], 3])
    await a.settle(batch.token, all(batch, dead))
    t.match(await a.list('deadLetters', '', 1), [{ ...gift, tries: 4 }])
  })

  t.test('a batch contains only gifts with the same number of attempts, and batches shrink after failures', async (t) => {
    const { a, clock } = await make(t)
    const fail = async (batch: Batch) => { await a.settle(batch.token, all(batch, again(0))) }
    for (let i = 0; i < 8; i++) await a.add(giftOf())
    await fail(await a.take(sizes, leaseMs))
    clock.now++
    await a.add(giftOf())
    const second = [await a.take(sizes, leaseMs), await a.take(sizes, leaseMs)]
    t.match(second, [{ tries: 1, more: true }, { tries: 1, more: true }])
    t.same(second.map(({ gifts }) => gifts.length), [4, 4])
    const fresh = await a.take(sizes, leaseMs)
    t.same([fresh.tries, fresh.gifts.length, fresh.more], [0, 1, false])
    for (const batch of second) await fail(batch)
    for (let i = 0; i < 8; i++) {
      const single = await a.take(sizes, leaseMs)
      t.same([single.tries, single.gifts.length, single.more], [2, 1, i < 7])
      await a.settle(single.token, all(single, again(500)))
    }
    clock.now += 500
    t.same((await a.take(sizes, leaseMs)).tries, 3)
    t.same((await a.take(sizes, leaseMs)).gifts.length, 1, 'the last size applies to all further attempts')
  })

  t.test('replays selected dead letters', async (t) => {
    const { a, b } = await make(t)
    const gifts = Array.from({ length: 4 }, () => giftOf()) as [Gift, Gift, Gift, Gift]
    for (const gift of gifts) await a.add(gift)
    for (const outcome of [again(0), again(0), dead]) {
      const batch = await a.take([10], leaseMs)
      await a.settle(batch.token, all(batch, outcome))
    }
    t.same((await a.list('deadLetters', '', 10)).map(({ tries }) => tries), [3, 3, 3, 3])
    t.equal(await a.replay([]), 0)
    t.equal(await a.replay(['nobody', gifts[2].transactionId, gifts[0].transactionId, gifts[0].transactionId]), 2)
    t.same(await b.counts(), { ...nothing, queued: 2, deadLetters: 2 })
    const batch = await b.take(sizes, leaseMs)
    t.same(batch, { token: batch.token, gifts: [gifts[0], gifts[2]], tries: 0, more: false, queued: 2, deadLetters: 2 })
    await b.settle(batch.token, all(batch, dead))
    t.same((await a.list('deadLetters', '', 10)).map(({ transactionId, tries }) => [transactionId, tries]), gifts.map(({ transactionId }, i) => [transactionId, i % 2 ? 3 : 1]))
    const replays = await Promise.all([a, b, a, b].map((outbox) => outbox.replay(ids(gifts))))
    t.equal(replays.reduce((sum, count) => sum + count), 4, 'each dead letter is replayed once, despite concurrent calls')
    t.same(await a.counts(), { ...nothing, queued: 4 })
  })

  t.test('lists records in pages, ordered by time', async (t) => {
    const { a } = await make(t)
    const gifts = Array.from({ length: 23 }, () => giftOf())
    for (const gift of [...gifts].reverse()) await a.add(gift)
    const kinds: RecordKind[] = ['ledger', 'failed', 'deadLetters']
    for (let batch; (batch = await a.take(sizes, leaseMs)).gifts.length > 0;) {
      await a.settle(batch.token, new Map(batch.gifts.map(({ transactionId }) => [transactionId, [ledger, failed, dead][ids(gifts).indexOf(transactionId) % 3] as Outcome])))
    }
    for (const [n, kind] of kinds.entries()) {
      const expected = ids(gifts).filter((_, i) => i % 3 === n)
      const paged: string[] = []
      for (;;) {
        const page = await a.list(kind, paged.at(-1) ?? '', 3)
        t.ok(page.length <= 3)
        paged.push(...ids(page))
        if (page.length < 3) break
      }
      t.same(paged, expected, kind)
      t.same(ids(await a.list(kind, '', 100)), expected)
      t.same(await a.list(kind, 'zzz', 100), [])
    }
  })

  t.test('any sequence of calls keeps each gift in exactly one state', async (t) => {
    const result = await fc.check(fc.asyncProperty(fc.commands(commands, { size: '+1', maxCommands: 60 }), async (run) => {
      const real = await make(t)
      const model: Model = { gifts: new Map(), batches: [] }
      await fc.asyncModelRun(() => ({ model, real }), run)
      await compare(model, real)
    }), { numRuns: Number(process.env.RUNS ?? 40) })
    t.notOk(result.failed, fc.defaultReportMessage(result) ?? '')
  })
}

// The model records the expected state and lease of each gift.

interface ModelGift {
  gift: Gift
  place: 'queue' | 'gone' | RecordKind
  tries: number
  due: number
  token: string | undefined
}
interface Model {
  gifts: Map<string, ModelGift>
  batches: Batch[]
}
type Command = fc.AsyncCommand<Model, OutboxUnderTest>

const inPlace = (model: Model, place: ModelGift['place']) => [...model.gifts.values()].filter((item) => item.place === place)
const byDue = (x: ModelGift, y: ModelGift) => x.due - y.due || (x.gift.transactionId < y.gift.transactionId ? -1 : 1)

function equal (actual: unknown, expected: unknown, what: string): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) throw new Error(`${what}: ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`)
}

async function compare (model: Model, { a, b }: OutboxUnderTest): Promise<void> {
  const counts = await a.counts()
  for (const place of ['ledger', 'failed', 'deadLetters'] as const) {
    const expected = inPlace(model, place).map(({ gift }) => gift.transactionId).sort()
    equal(ids(await b.list(place, '', 1000)), expected, place)
    equal(counts[place], expected.length, `count of ${place}`)
  }
  equal(counts.queued, inPlace(model, 'queue').length, 'count of queued')
}

const outcomes = fc.oneof(
  fc.constantFrom(processed, ledger, failed, dead),
  fc.tuple(fc.nat(2000), fc.boolean()).map(([delayMs, counted]) => again(delayMs, counted))
)

const commands: fc.Arbitrary<Command>[] = [
  fc.tuple(fc.nat(6), fc.boolean()).map(([count, second]): Command => ({
    check: () => true,
    async run (model, { a, b, clock }) {
      for (let i = 0; i < count; i++) {
        const gift = giftOf()
        await (second ? b : a).add(gift)
        model.gifts.set(gift.transactionId, { gift, place: 'queue', tries: 0, due: clock.now, token: undefined })
      }
    },
    toString: () => `add ${count}`
  })),
  fc.tuple(fc.nat(), fc.boolean()).map(([which, second]): Command => ({
    check: (model) => model.gifts.size > 0,
    async run (model, { a, b, clock }) {
      const item = [...model.gifts.values()][which % model.gifts.size] as ModelGift
      const found = await (second ? b : a).add(item.gift)
      equal(found?.place ?? 'gone', item.place, 'found')
      if (item.place === 'gone') Object.assign(item, { place: 'queue', tries: 0, due: clock.now, token: undefined })
    },
    toString: () => `add ${which} again`
  })),
  fc.nat(1500).map((ms): Command => ({
    check: () => true,
    async run (_model, { clock }) { clock.now += ms },
    toString: () => `wait ${ms}`
  })),
  fc.tuple(fc.integer({ min: 1, max: 5 }), fc.boolean(), fc.integer({ min: 1, max: 2000 })).map(([size, second, lease]): Command => ({
    check: () => true,
    async run (model, { a, b, clock }) {
      const batch = await (second ? b : a).take([size, 2, 1], lease)
      const dueNow = inPlace(model, 'queue').filter(({ due }) => due <= clock.now).sort(byDue).slice(0, Math.max(size, 2))
      const tries = dueNow[0]?.tries ?? 0
      const expected = dueNow.filter((item) => item.tries === tries).slice(0, [size, 2, 1][tries] ?? 1)
      equal(ids(batch.gifts), expected.map(({ gift }) => gift.transactionId), 'taken')
      equal([batch.tries, batch.queued, batch.deadLetters], [tries, inPlace(model, 'queue').length, inPlace(model, 'deadLetters').length], 'tries and sizes')
      for (const item of expected) Object.assign(item, { due: clock.now + lease, token: batch.token })
      model.batches.push(batch)
    },
    toString: () => `take ${size} for ${lease}`
  })),
  fc.tuple(fc.nat(), fc.array(outcomes, { minLength: 1, maxLength: 5 }), fc.boolean()).map(([which, list, second]): Command => ({
    // At this point, the batch may already be settled, or another worker may hold the lease of the batch.
    check: (model) => model.batches.length > 0,
    async run (model, { a, b, clock }) {
      const batch = model.batches[which % model.batches.length] as Batch
      const given = new Map(batch.gifts.map(({ transactionId }, i) => [transactionId, list[i % list.length] as Outcome]))
      const settled = await (second ? b : a).settle(batch.token, given)
      const mine = [...given].filter(([id]) => model.gifts.get(id)?.token === batch.token)
      equal(settled, mine.map(([id]) => id), 'settled')
      for (const [id, outcome] of mine) {
        const item = model.gifts.get(id) as ModelGift
        item.token = undefined
        if (outcome.to === 'queue') Object.assign(item, { due: clock.now + outcome.delayMs, tries: item.tries + (outcome.counted ? 1 : 0) })
        else item.place = outcome.to === 'processed' ? 'gone' : outcome.to
      }
    },
    toString: () => `settle ${which} as ${JSON.stringify(list)}`
  })),
  fc.tuple(fc.nat(4), fc.boolean()).map(([count, second]): Command => ({
    check: () => true,
    async run (model, { a, b, clock }) {
      const chosen = inPlace(model, 'deadLetters').slice(0, count)
      const others = [...inPlace(model, 'failed'), ...inPlace(model, 'queue')].slice(0, 2)
      equal(await (second ? b : a).replay([...others, ...chosen].map(({ gift }) => gift.transactionId)), chosen.length, 'replayed')
      for (const item of chosen) Object.assign(item, { place: 'queue', tries: 0, due: clock.now, token: undefined })
    },
    toString: () => `replay ${count}`
  })),
  fc.constant<Command>({ check: () => true, run: compare, toString: () => 'compare' })
]
