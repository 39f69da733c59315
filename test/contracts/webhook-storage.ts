import type { Test } from 'tap'
import { v7 } from 'uuid'
import type { QueuedEvent } from '../../features/webhooks/events.ts'
import type { Delivery, WebhookStorage } from '../../features/webhooks/queue.ts'

/** Two `WebhookStorage` objects that share their data and one clock. */
export interface StoragesUnderTest {
  a: WebhookStorage
  b: WebhookStorage
  clock: { now: number }
}

export const storageLimits = { queueLimit: 5, deadLetterLimit: 3 }

let made = 0
const eventAt = (queuedAt: number): QueuedEvent => ({ id: v7({ seq: ++made }), queuedAt, body: JSON.stringify({ id: made, text: 'x "y"\\n💥' }) })
const texts = (events: readonly QueuedEvent[]) => events.map(({ body }) => body)
const bodies = (deliveries: readonly Delivery[]) => deliveries.map(({ event }) => event.body)

/**
 * @param make creates empty `WebhookStorage` objects that have the limits in {@link storageLimits} and are closed after
 *   the test
 */
export function webhookStorageContract (t: Test, make: (t: Test) => Promise<StoragesUnderTest>): void {
  /** Commits events of a room, based on the room's current version. */
  async function add (storage: WebhookStorage, roomId: string, events: readonly QueuedEvent[], targets = ['one']) {
    const { version } = await storage.readRoom(roomId, [])
    return await storage.commitRoom({ roomId, version, set: new Map([['room', '{}']]), remove: new Set(), events }, targets)
  }

  t.test('stores rooms by compare-and-set, and lists the open ones', async (t) => {
    const { a, b } = await make(t)
    t.strictSame(await a.readRoom('r1'), { version: 0, fields: new Map() })
    const commit = { roomId: 'r1', version: 0, set: new Map([['room', '{"x":1}'], ['member 5', 'é\n"']]), remove: new Set<string>(), events: [] }
    t.ok(await a.commitRoom(commit, []))
    t.equal(await b.commitRoom(commit, []), undefined, 'a commit with an outdated version is rejected')
    t.strictSame(await b.readRoom('r1'), { version: 1, fields: commit.set })
    t.strictSame(await b.readRoom('r1', ['member 5', 'other']), { version: 1, fields: new Map([['member 5', 'é\n"']]) })
    for (const roomId of ['r3', 'r2']) await b.commitRoom({ ...commit, roomId }, [])
    t.strictSame(await a.listRooms('', 2), [{ roomId: 'r1', room: '{"x":1}' }, { roomId: 'r2', room: '{"x":1}' }])
    await a.commitRoom({ ...commit, version: 1, set: new Map(), remove: new Set(['member 5']), ttlMs: 60_000 }, [])
    t.strictSame(await a.listRooms('', 9), [{ roomId: 'r2', room: '{"x":1}' }, { roomId: 'r3', room: '{"x":1}' }])
    t.strictSame(await a.readRoom('r1'), { version: 2, fields: new Map([['room', '{"x":1}']]) })
  })

  t.test("delivers a room's events one after another, and alternates between rooms", async (t) => {
    const { a, b, clock } = await make(t)
    await a.register([{ id: 'one', shownUrl: 'https://one' }, { id: 'two', shownUrl: 'https://two' }])
    const [r1, r2] = [[eventAt(1000), eventAt(1001)], [eventAt(1002)]] as const
    await add(a, 'r1', r1, ['one', 'two'])
    await add(b, 'r2', r2)
    const first = await b.take('one', 5, 500)
    t.strictSame(bodies(first.deliveries), [texts(r1)[0], texts(r2)[0]])
    t.match(first, { pending: 3, oldestAt: 1000, deadLetters: 0, deliveries: [{ roomId: 'r1', tries: 0, event: { id: r1[0]?.id, queuedAt: 1000 } }, {}] })
    t.strictSame((await a.take('one', 5, 500)).deliveries, [], 'leased')
    t.equal((await a.take('two', 0, 500)).pending, 2, 'a limit of 0 only counts the webhooks')
    const [one, two] = first.deliveries as [Delivery, Delivery]
    t.ok(await a.settle('one', one, { to: 'sent' }))
    t.equal(await a.settle('one', one, { to: 'sent' }), undefined, 'once')
    await a.settle('one', two, { to: 'retry', delayMs: 300, reason: 'HTTP 500' })
    const next = await a.take('one', 1, 500)
    t.strictSame(bodies(next.deliveries), [texts(r1)[1]])
    await a.settle('one', next.deliveries[0] as Delivery, { to: 'retry', delayMs: 0 })
    clock.now += 300
    t.strictSame((await b.take('one', 5, 500)).deliveries.map(({ roomId, tries }) => [roomId, tries]), [['r1', 0], ['r2', 1]])
    clock.now += 500
    t.equal((await a.take('one', 5, 500)).deliveries.length, 2, 'the webhooks are due again after the lease')
    t.strictSame(await b.queues(), [
      { queue: 'one', shownUrl: 'https://one', pending: 2, oldestAt: 1001, lastError: { at: clock.now - 800, reason: 'HTTP 500' } },
      { queue: 'two', shownUrl: 'https://two', pending: 2, oldestAt: 1000, lastError: undefined }
    ])
    t.equal(await a.deleteQueue('two'), 2)
    t.strictSame((await a.queues()).map(({ queue }) => queue), ['one'])
    t.strictSame((await a.take('two', 5, 500)).deliveries, [])
  })

  t.test('keeps a limited number of events and dead letters', async (t) => {
    const { a, b, clock } = await make(t)
    await a.register([{ id: 'one', shownUrl: 'https://one' }])
    const events = Array.from({ length: 5 }, (_, i) => eventAt(1000 + i))
    for (const [i, event] of events.entries()) await add(a, `r${i}`, [event])
    const [leased] = (await a.take('one', 1, 500)).deliveries
    t.equal(leased?.roomId, 'r0')
    t.strictSame(await add(b, 'r9', [eventAt(1009)]), { moved: 1, deleted: 0 })
    t.match(await a.listDeadLetters('', 9), [{ id: `${events[1]?.id}.one`, queue: 'one', roomId: 'r1', body: events[1]?.body, tries: 0, reason: 'The queue was full', deadAt: clock.now }], 'the oldest event that is not in flight becomes a dead letter')
    const { deliveries } = await b.take('one', 3, 500)
    for (const [i, delivery] of deliveries.entries()) t.strictSame(await a.settle('one', delivery, { to: 'dead', reason: 'HTTP 400' }), { moved: 0, deleted: i === 2 ? 1 : 0 })
    t.equal(await a.countDeadLetters(), 3)
    const [first, second] = await b.listDeadLetters('', 2)
    t.match(await b.listDeadLetters(second?.id ?? '', 2), [{ tries: 1, reason: 'HTTP 400' }])
    clock.now += 1
    t.equal(await a.retryDeadLetters([first?.id ?? '', 'unknown']), 1)
    t.equal(bodies((await b.take('one', 5, 500)).deliveries).at(-1), events[2]?.body, 'a retried dead letter is queued after the webhooks that are already waiting')
    t.equal(await a.deleteDeadLetters([second?.id ?? '', first?.id ?? '']), 1)
    t.equal(await a.countDeadLetters(), 1)
  })
}
