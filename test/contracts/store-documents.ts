import type { Test } from 'tap'
import type { RoomStore } from '../../plugins/store/store.ts'
import type { StoredDocument } from '../../plugins/store/types.ts'
import { codeOf, joining, recordOf } from './store.ts'

const document = (version: string, state: unknown) => ({ version, state: JSON.stringify(state) })

/**
 * What every room store guarantees for the shared state of rooms: documents and logs.
 *
 * @param make a store that is empty and ends with the test
 */
export function storeDocumentsContract (t: Test, make: (t: Test) => Promise<RoomStore>): void {
  t.test('members are found by their keys', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    await store.join(joining('r1', 'b'))
    await store.join(joining('r2', 3))
    const [ada, nobody, bob, stranger] = await store.getMembers('r1', ['1', '9', 'b', '3'])
    t.match(ada, { userId: 1, name: 'User 1' })
    t.match(bob, { userId: 'b' })
    t.same([nobody, stranger], [undefined, undefined], 'one answer for each')
    t.same(await store.getMembers('r1', []), [])
    t.same(await store.getMembers('nowhere', ['1']), [undefined])
    await store.leave('r1', 's-1', '1', 1)
    t.same(await store.getMembers('r1', ['1']), [undefined])
  })

  t.test('a document changes only from the version that is there', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    const swap = (expected: string, next?: ReturnType<typeof document>) => store.swapDocument({ roomId: 'r1', name: 'd', expected, next })
    const first = document('1000.1', { seats: 'ä "1" \n' })
    const second = document('1000.2', [2])

    t.same(await swap('1000.1', second), { swapped: false, createdAt: 1000, document: undefined }, 'there is none yet')
    t.same(await swap('', first), { swapped: true })
    t.same(await swap('', first), { swapped: false, createdAt: 1000, document: first }, 'there is one now')
    t.same(await swap('1000.1', second), { swapped: true })
    t.same(await swap('1000.1', second), { swapped: false, createdAt: 1000, document: second })
    t.same(await store.readDocuments(['r1'], 'd'), [second.state])

    // Without anything to put in its place the version is only looked at.
    t.same(await swap('1000.2'), { swapped: true })
    t.same(await swap('1000.1'), { swapped: false, createdAt: 1000, document: second })
    t.same(await swap('?'), { swapped: false, createdAt: 1000, document: second })
    t.same(await swap(''), { swapped: false, createdAt: 1000, document: second })
    t.same(await store.swapDocument({ roomId: 'r1', name: 'other', expected: '' }), { swapped: true }, 'documents of other names are others')
    t.same(await store.readDocuments(['r1'], 'd'), [second.state], 'and nothing has changed')
  })

  t.test('of many changes from one version one is made', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    for (let round = 1; round <= 5; round++) {
      const expected = round === 1 ? '' : `1000.${round - 1}`
      const results = await Promise.all(Array.from({ length: 20 }, (_, i) => store.swapDocument({ roomId: 'r1', name: 'd', expected, next: document(`1000.${round}`, i) })))
      const winner = results.findIndex(({ swapped }) => swapped)
      t.equal(results.filter(({ swapped }) => swapped).length, 1)
      t.same(await store.readDocuments(['r1'], 'd'), [String(winner)])
    }
  })

  t.test('a change that was meant for an earlier room of the same name is not made', async (t) => {
    const store = await make(t)
    const record = { ...recordOf('r1', 1), createdAt: 2000 }
    await store.join(joining('r1', 1))
    await store.swapDocument({ roomId: 'r1', name: 'd', expected: '', next: document('1000.1', 'old') })
    await store.removeRoom('r1')
    t.equal(await codeOf(store.swapDocument({ roomId: 'r1', name: 'd', expected: '1000.1', next: document('1000.2', 'old') })), 'ROOM_NOT_FOUND')
    t.equal(await codeOf(store.swapDocument({ roomId: 'r1', name: 'd', expected: '' })), 'ROOM_NOT_FOUND', 'nor is a version looked at without a room')
    t.same(await store.readDocuments(['r1'], 'd'), [undefined])

    t.same((await store.join(joining('r1', 1, { create: record }))).documents, new Map(), 'nothing is left of it')
    t.same(await store.swapDocument({ roomId: 'r1', name: 'd', expected: '', next: document('1000.1', 'old') }), { swapped: false, createdAt: 2000, document: undefined })
    t.same(await store.swapDocument({ roomId: 'r1', name: 'd', expected: '', next: document('2000.1', 'new') }), { swapped: true })
    t.same(await store.swapDocument({ roomId: 'r1', name: 'd', expected: '2000.1', next: document('200.2', 'old') }), { swapped: false, createdAt: 2000, document: document('2000.1', 'new') })
    t.same(await store.swapDocument({ roomId: 'r1', name: 'd', expected: '2000.1', next: document('20001.2', 'old') }), { swapped: false, createdAt: 2000, document: document('2000.1', 'new') })
  })

  t.test('who joins is given the documents', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    await store.join(joining('r2', 1, { sessionId: 'other' }))
    await store.swapDocument({ roomId: 'r1', name: 'd', expected: '', next: document('1000.1', 1) })
    await store.swapDocument({ roomId: 'r1', name: 'e', expected: '', next: document('1000.1', 'e') })
    const { documents } = await store.join(joining('r1', 2))
    t.same(documents, new Map([['d', document('1000.1', 1)], ['e', document('1000.1', 'e')]]))
    await store.swapDocument({ roomId: 'r1', name: 'd', expected: '1000.1', next: document('1000.2', 2) })
    t.same(documents.get('d'), document('1000.1', 1), 'as they were then')
    t.same(await store.readDocuments(['r2', 'r1', 'nowhere', 'r1'], 'd'), [undefined, '2', undefined, '2'], 'one answer for each room')
    t.same(await store.readDocuments([], 'd'), [])
  })

  t.test('documents that are as the store has them are not changed by putting them back', async (t) => {
    const store = await make(t)
    const { room } = await store.join(joining('r1', 1))
    const members = [{ sessionId: 's-1', userKey: '1', profile: { userId: 1, id: 1, name: 'User 1' } }]
    const write = async (documents: ReadonlyMap<string, StoredDocument>) => (await store.replaceNodeMembers('node-a', { room, members, documents })).documents
    t.same(await write(new Map()), new Map())
    await store.swapDocument({ roomId: 'r1', name: 'd', expected: '', next: document('1000.1', 1) })
    await store.swapDocument({ roomId: 'r1', name: 'd', expected: '1000.1', next: document('1000.2', 2) })
    const there = new Map([['d', document('1000.2', 2)]])
    t.same(await write(new Map([['d', document('1000.1', 1)]])), there, 'an older one neither')
    t.same(await write(there), there)
    t.same(await write(new Map([['d', document('999.7', 7)], ['e', document('10001.7', 7)]])), there, 'nor those of another room of that name')
    t.same(await store.swapDocument({ roomId: 'r1', name: 'd', expected: '1000.2', next: document('1000.3', 3) }), { swapped: true }, 'nothing was lost, and nobody waits')
  })

  t.test('a log keeps the newest entries, and ends with its room', async (t) => {
    const store = await make(t)
    await store.appendLog('r1', 'too early', 3, 1)
    t.same(await store.readLog('r1'), [], 'nothing is told where there is no room')
    await store.join(joining('r1', 1, { now: 1000 }))
    t.same(await store.readLog('r1'), [])
    for (let i = 1; i <= 5; i++) await store.appendLog('r1', `entry ${i} ä\n`, 3, 2000 + i)
    t.same(await store.readLog('r1'), ['entry 3 ä\n', 'entry 4 ä\n', 'entry 5 ä\n'], 'the oldest first')
    t.match(await store.getRoom('r1'), { lastActivityAt: 2005 })
    await store.appendLog('r1', 'last', 1, 3000)
    t.same(await store.readLog('r1'), ['last'])
    t.same(await store.readLog('r2'), [])
    await store.removeRoom('r1')
    t.same(await store.readLog('r1'), [])
    await store.appendLog('r1', 'too late', 3, 4000)
    t.equal(await store.getRoom('r1'), undefined)
    await store.join(joining('r1', 1))
    t.same(await store.readLog('r1'), [])
  })
}
