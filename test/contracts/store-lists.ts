import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Test } from 'tap'
import type { RoomStore } from '../../plugins/store/store.ts'
import { maxListedParticipants } from '../../plugins/store/types.ts'
import { joining, recordOf } from './store.ts'

type Make = (t: Test) => Promise<RoomStore>

/** Loads all members of a room page by page. */
async function everybody (store: RoomStore, roomId: string, limit: number, between: () => Promise<unknown> = async () => {}): Promise<unknown[]> {
  const listed: unknown[] = []
  for (let after = 0; ;) {
    const { arrivals } = await store.listParticipants(roomId, after, limit)
    listed.push(...arrivals.map(({ profile }) => profile.userId))
    if (arrivals.length < limit) return listed
    after = arrivals.at(-1)?.place ?? after
    await between()
  }
}

/** Loads the ids of all rooms that have members, page by page. */
async function busy (store: RoomStore, limit: number): Promise<string[]> {
  const listed: string[] = []
  for (let after = ''; ;) {
    const { rooms, next } = await store.listBusyRooms(after, limit)
    if (rooms.length > limit) throw new Error(`${rooms.length} rooms on a page of ${limit}`)
    listed.push(...rooms.map(({ roomId }) => roomId))
    if (next === undefined) return listed
    if (next <= after) throw new Error(`the page behind ${after} ends at ${next}`)
    after = next
  }
}

/**
 * Runs the tests for paginated lists. Every room store must pass these tests.
 *
 * @param make creates an empty store that is closed after the test
 */
export function storeListsContract (t: Test, make: Make): void {
  t.test('lists all members in pages', async (t) => {
    const store = await make(t)
    const ids = Array.from({ length: 25 }, (_, i) => 100 - i)
    for (const id of ids) await store.join(joining('r1', id, { now: 5000 }))
    const first = await store.listParticipants('r1', 0, 10)
    t.same(first.arrivals.map(({ profile }) => profile), ids.slice(0, 10).map((id) => ({ userId: id, id, name: `User ${id}` })), 'members are in order of arrival, although all joined concurrently')
    t.equal(first.count, 25)
    const places = first.arrivals.map(({ place }) => place)
    t.same(places, [...new Set(places)].sort((a, b) => a - b), 'positions are unique')
    t.same(await everybody(store, 'r1', 10), ids)
    t.same(await everybody(store, 'r1', 25), ids)
    t.same(await everybody(store, 'r1', 1), ids)
    t.same(await store.listParticipants('nowhere', 0, 10), { arrivals: [], count: 0 })
    t.same(await store.listParticipants('r1', Number.MAX_SAFE_INTEGER, 10), { arrivals: [], count: 25 })
  })

  t.test('lists later arrivals last, even with clock skew', async (t) => {
    const store = await make(t)
    for (const [i, now] of [9000, 1000, 9000, 9_000_000, 5].entries()) await store.join(joining('r1', i, { now }))
    t.same(await everybody(store, 'r1', 2), [0, 1, 2, 3, 4])
    await store.join(joining('r1', 0, { sessionId: 'another', now: 1 }))
    t.same(await everybody(store, 'r1', 2), [0, 1, 2, 3, 4], 'a second socket does not change the order')
    await store.leave('r1', 's-0', '0', 1)
    await store.leave('r1', 'another', '0', 1)
    await store.join(joining('r1', 0, { now: 1 }))
    t.same(await everybody(store, 'r1', 2), [1, 2, 3, 4, 0], 'a rejoin changes the order')
  })

  t.test('neither skips nor repeats members when users join or leave between pages', async (t) => {
    const store = await make(t)
    let room = 0
    await fc.assert(fc.asyncProperty(
      fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 5 }), fc.array(fc.array(fc.nat(30), { maxLength: 6 }), { maxLength: 8 }),
      async (size, limit, turns) => {
        const roomId = `r${room++}`
        const there = new Set<number>()
        const touched = new Set<number>()
        const toggle = async (id: number) => {
          touched.add(id)
          if (there.delete(id)) return await store.leave(roomId, `s-${id}`, String(id), 1)
          there.add(id)
          await store.join(joining(roomId, id, { now: 1000 + id % 3 }))
        }
        for (let id = 0; id < size; id++) await toggle(id)
        touched.clear()
        const before = await everybody(store, roomId, 100)
        const listed = await everybody(store, roomId, limit, async () => { for (const id of turns.shift() ?? []) await toggle(id) })
        const stayed = (id: unknown) => !touched.has(Number(id))
        return JSON.stringify(listed.filter(stayed)) === JSON.stringify(before.filter(stayed))
      }
    ), { numRuns: 40, seed: 1 })
    t.pass('regardless of concurrent changes')
  })

  t.test('a join returns the first members after any sequence of joins and leaves', async (t) => {
    const store = await make(t)
    const user = fc.integer({ min: 0, max: maxListedParticipants + 10 })
    const sessionId = fc.constantFrom('phone', 'laptop')
    const action = fc.oneof(
      { weight: 6, arbitrary: fc.record({ kind: fc.constant('join' as const), user, sessionId, name: fc.constantFrom('Ada', 'Bob') }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('leave' as const), user, sessionId }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('replace' as const), users: fc.uniqueArray(user, { maxLength: 5 }) }) },
      { weight: 1, arbitrary: fc.constant({ kind: 'remove' as const }) }
    )
    let room = 0
    const profileOf = (id: number, name = 'Ada') => ({ userId: id, id, name })
    await fc.assert(fc.asyncProperty(fc.integer({ min: 0, max: maxListedParticipants }), fc.array(action, { minLength: 10, maxLength: 60 }), async (size, actions) => {
      const roomId = `r${room++}`
      const join = async (id: number, sessionId = 'phone', name = 'Ada') =>
        await store.join(joining(roomId, id, { sessionId: `${id} ${sessionId}`, profile: profileOf(id, name), limit: 1000 }))
      for (let id = 0; id < size; id++) await join(id)
      for (const action of actions) {
        if (action.kind === 'leave') await store.leave(roomId, `${action.user} ${action.sessionId}`, String(action.user), 1)
        else if (action.kind === 'remove') await store.removeRoom(roomId)
        else if (action.kind === 'replace') {
          const members = action.users.map((id) => ({ sessionId: `${id} elsewhere`, userKey: String(id), profile: profileOf(id) }))
          await store.replaceNodeMembers('node-b', { room: recordOf(roomId), members, documents: new Map() })
        } else {
          const { participants } = await join(action.user, action.sessionId, action.name)
          assert.deepEqual(participants, await store.getParticipants(roomId, maxListedParticipants))
        }
      }
    }), { numRuns: 25 })
    t.pass()
  })

  t.test('returns a few members per room: the requested ones first, then others in order of arrival', async (t) => {
    const store = await make(t)
    for (const id of ['a', 'b', 'c', 'd', 'e']) await store.join(joining('r1', id))
    await store.join(joining('r2', 'f'))
    const some = async (limit: number, ...asked: [roomId: string, ...first: string[]][]) =>
      (await store.getSomeMembers(asked.map(([roomId, ...first]) => ({ roomId, first })), limit)).map((profiles) => profiles.map(({ userId }) => userId).join(''))
    t.same(await some(3, ['r1', 'd', 'x', 'b'], ['r2'], ['nowhere', 'a'], ['r1']), ['dba', 'f', '', 'abc'], 'one result per room')
    t.same(await some(2, ['r1', 'e', 'd', 'c']), ['ed'], 'beyond the limit, the first members are returned')
    t.same(await some(4, ['r1', 'b', 'b']), ['bacd'], 'each member is returned once')
    t.same(await some(100, ['r1', 'c', 'f']), ['cabde'], 'only members of the room are returned')
    t.same(await some(100), [])
    t.same((await store.getSomeMembers([{ roomId: 'r2', first: [] }], 1)), [[{ userId: 'f', id: 'f', name: 'User f' }]])
  })

  t.test('lists occupied rooms in pages', async (t) => {
    const store = await make(t)
    t.same(await store.listBusyRooms('', 5), { rooms: [], next: undefined })
    const ids = Array.from({ length: 40 }, (_, i) => `r${String(i).padStart(2, '0')}`)
    const isBusy = (id: string) => !/[147]$/.test(id) && id < 'r35'
    for (const id of ids) await store.join(joining(id, 1, { sessionId: id, now: 1000 }))
    for (const id of ids) if (!isBusy(id)) await store.leave(id, id, '1', 2000)
    await store.removeRoom('r07')
    await store.removeRoom('r08')
    const expected = ids.filter((id) => isBusy(id) && id !== 'r08')
    for (const limit of [1, 3, 10, expected.length - 1, expected.length, expected.length + 1, 100]) t.same(await busy(store, limit), expected, `pages of ${limit}`)
    t.match(await store.listBusyRooms('', 2), { rooms: [{ roomId: 'r00', ownerId: 1, locked: false, createdAt: 1000, participantCount: 1 }, { roomId: 'r02' }], next: 'r02' })
    t.equal((await store.listBusyRooms('', expected.length)).next, undefined, 'trailing empty rooms do not cause another page')
    t.match((await store.listBusyRooms('r06zzz', 1)).rooms, [{ roomId: 'r09' }], 'a page may start after an unknown id')
    t.same(await store.listBusyRooms('zzz', 5), { rooms: [], next: undefined })
  })
}
