import type { Test } from 'tap'
import type { RoomStore } from '../../plugins/store/store.ts'
import type { StoredDocument } from '../../plugins/store/types.ts'
import { codeOf, joining, recordOf } from './store.ts'

const document = (version: string, state: unknown) => ({ version, state: JSON.stringify(state) })

/**
 * Runs the tests for shared room state (documents and logs). Every room store must pass these
 * tests.
 *
 * @param make creates an empty store that is closed after the test
 */
export function storeDocumentsContract (t: Test, make: (t: Test) => Promise<RoomStore>): void {
  t.test('finds members by their keys', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    await store.join(joining('r1', 'b'))
    await store.join(joining('r2', 3))
    const [ada, nobody, bob, stranger] = await store.getMembers('r1', ['1', '9', 'b', '3'])
    t.match(ada, { userId: 1, name: 'User 1' })
    t.match(bob, { userId: 'b' })
    t.same([nobody, stranger], [undefined, undefined], 'one result per key')
    t.same(await store.getMembers('r1', []), [])
    t.same(await store.getMembers('nowhere', ['1']), [undefined])
    await store.leave('r1', 's-1', '1', 1)
    t.same(await store.getMembers('r1', ['1']), [undefined])
  })

  /** Returns a function that replaces the document `d` of room r1 by compare-and-swap. */
  const swapping = (store: RoomStore) => (expected: string, state?: unknown) =>
    store.swapDocument({ roomId: 'r1', name: 'd', expected, state: state === undefined ? undefined : JSON.stringify(state) })

  /** Returns a function that changes the document `d` of room r1 and returns the document's new version. */
  const changing = (store: RoomStore) => async (expected: string, state: unknown): Promise<string> => {
    const result = await swapping(store)(expected, state)
    if (!result.swapped) throw new Error(`The version is ${result.version}`)
    return result.version
  }

  const numberOf = (version: string) => Number(version.replace(/^1000\./, ''))

  t.test('changes a document only from its current version', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    const swap = swapping(store)
    const first = { seats: 'ä "1" \n' }

    t.same(await swap('1000.1', [2]), { swapped: false, version: '1000.0', state: undefined }, 'no state exists yet')
    const one = await changing(store)('1000.0', first)
    t.ok(numberOf(one) > 0, one)
    t.same(await swap('1000.0', first), { swapped: false, version: one, state: JSON.stringify(first) }, 'the state exists now')
    const two = await changing(store)(one, [2])
    t.ok(numberOf(two) > numberOf(one), two)
    t.same(await swap(one, [2]), { swapped: false, version: two, state: '[2]' })
    t.same(await store.readDocuments(['r1'], 'd'), ['[2]'])

    // A swap without a new state only compares the versions.
    t.same(await swap(two), { swapped: true, version: two })
    for (const expected of [one, '?', '', '1000.0']) t.same(await swap(expected), { swapped: false, version: two, state: '[2]' }, expected)
    t.same(await store.swapDocument({ roomId: 'r1', name: 'other', expected: '1000.0' }), { swapped: true, version: '1000.0' }, 'each name identifies a separate document')
    t.same(await store.readDocuments(['r1'], 'd'), ['[2]'], 'the document is unchanged')
  })

  t.test('applies only one of many changes to the same version', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    let expected = '1000.0'
    for (let round = 1; round <= 5; round++) {
      const results = await Promise.all(Array.from({ length: 20 }, (_, i) => swapping(store)(expected, i)))
      const winner = results.findIndex(({ swapped }) => swapped)
      t.equal(results.filter(({ swapped }) => swapped).length, 1)
      t.equal(new Set(results.map(({ version }) => version)).size, 1, "the other callers receive the winner's version")
      t.same(await store.readDocuments(['r1'], 'd'), [String(winner)])
      expected = results[winner]?.version ?? ''
    }
  })

  t.test('rejects a change based on the state of an earlier room with the same id', async (t) => {
    const store = await make(t)
    const record = { ...recordOf('r1', 1), createdAt: 2000 }
    await store.join(joining('r1', 1))
    const swap = swapping(store)
    const old = await changing(store)('1000.0', 'old')
    await store.removeRoom('r1')
    t.equal(await codeOf(swap(old, 'old')), 'ROOM_NOT_FOUND')
    t.equal(await codeOf(swap('1000.0')), 'ROOM_NOT_FOUND', 'without a room, no version is checked')
    t.same(await store.readDocuments(['r1'], 'd'), [undefined])

    t.same((await store.join(joining('r1', 1, { create: record }))).documents, new Map(), 'no state remains')
    for (const expected of [old, '1000.0', '200.0', '20001.0']) t.same(await swap(expected, 'old'), { swapped: false, version: '2000.0', state: undefined }, expected)
    const first = await swap('2000.0', 'new')
    t.match(first, { swapped: true, version: /^2000\.\d+$/ })
    t.same(await swap(first.version.replace('2000', '1000'), 'old'), { swapped: false, version: first.version, state: '"new"' })
  })

  t.test('returns all documents with a join', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    await store.join(joining('r2', 1, { sessionId: 'other' }))
    const version = await changing(store)('1000.0', 1)
    const other = await store.swapDocument({ roomId: 'r1', name: 'e', expected: '1000.0', state: '"e"' })
    const { documents } = await store.join(joining('r1', 2))
    t.same(documents, new Map([['d', document(version, 1)], ['e', document(other.version, 'e')]]))
    await changing(store)(version, 2)
    t.same(documents.get('d'), document(version, 1), 'the document is the version at the time of the join')
    t.same(await store.readDocuments(['r2', 'r1', 'nowhere', 'r1'], 'd'), [undefined, '2', undefined, '2'], 'one result per room')
    t.same(await store.readDocuments([], 'd'), [])
  })

  t.test('restoring documents neither overwrites newer versions nor affects a later room with the same id', async (t) => {
    const store = await make(t)
    const { room } = await store.join(joining('r1', 1))
    const members = [{ sessionId: 's-1', userKey: '1', profile: { userId: 1, id: 1, name: 'User 1' } }]
    const write = async (documents: ReadonlyMap<string, StoredDocument>) => (await store.replaceNodeMembers('node-a', { room, members, documents })).documents
    t.same(await write(new Map()), new Map())
    const older = await changing(store)('1000.0', 1)
    const version = await changing(store)(older, 2)
    const there = new Map([['d', document(version, 2)]])
    t.same(await write(new Map([['d', document(older, 1)]])), there, 'an older version does not replace it')
    t.same(await write(there), there)
    t.same(await write(new Map([['d', document('999.7', 7)], ['e', document('10001.7', 7)]])), there, 'documents of an earlier room with the same id do not replace it, either')
    t.match(await swapping(store)(version, 3), { swapped: true }, 'no data was lost, and changes are accepted')
  })

  t.test('a log keeps the newest entries, and is removed with its room', async (t) => {
    const store = await make(t)
    const append = (entry: string, keep: number, now: number, log = 'chat') => store.appendLog('r1', log, { entry, keep, now })
    const read = (log = 'chat') => store.readLog('r1', log)
    await append('too early', 3, 1)
    t.same(await read(), [], 'a missing room has no log')
    await store.join(joining('r1', 1, { now: 1000 }))
    t.same(await read(), [])
    for (let i = 1; i <= 5; i++) await append(`entry ${i} ä\n`, 3, 2000 + i)
    t.same(await read(), ['entry 3 ä\n', 'entry 4 ä\n', 'entry 5 ä\n'], 'oldest first')
    t.match(await store.getRoom('r1'), { lastActivityAt: 2005 })
    for (const entry of ['a', 'b']) await append(entry, 1, 2006, 'polls')
    t.same(await read('polls'), ['b'], 'each log has its own length')
    t.equal((await read()).length, 3, 'the other log is unchanged')
    await append('last', 1, 3000)
    t.same(await read(), ['last'])
    t.same(await store.readLog('r2', 'chat'), [])
    await store.removeRoom('r1')
    for (const log of ['chat', 'polls']) t.same(await read(log), [])
    await append('too late', 3, 4000)
    t.equal(await store.getRoom('r1'), undefined)
    await store.join(joining('r1', 1))
    for (const log of ['chat', 'polls']) t.same(await read(log), [])
  })
}
