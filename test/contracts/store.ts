import type { Test } from 'tap'
import { pinWindowMs, wrongPins } from '../../plugins/store/store.ts'
import type { RoomStore } from '../../plugins/store/store.ts'
import { accessDocument, maxListedParticipants } from '../../plugins/store/types.ts'
import type { JoinCommand, RoomAccess, RoomRecord } from '../../plugins/store/types.ts'
import type { Profile, UserId } from '../../plugins/connections/session.ts'
import { clocksDifferMs } from '../support/pace.ts'
import { until } from '../support/retry.ts'

const profileOf = (id: UserId): Profile => ({ userId: id, id, name: `User ${id}` })

/** Creates the record that the first join stores for a room. */
export const recordOf = (roomId: string, ownerId: UserId = 1, locked = false): RoomRecord => ({ roomId, ownerId, createdAt: 1000, options: { colour: 'red' }, locked })

/** Creates a join command that also creates the room if it does not exist. */
export function joining (roomId: string, id: UserId, change: Partial<JoinCommand> = {}): JoinCommand {
  return {
    roomId,
    sessionId: `s-${id}`,
    userKey: String(id),
    profile: profileOf(id),
    limit: 100,
    create: recordOf(roomId, id, change.pinHash !== undefined),
    now: Date.now(),
    ...change
  }
}

/** @returns the error code of the call, or `ok` if the call succeeds */
export async function codeOf (call: Promise<unknown>): Promise<string> {
  return await call.then(() => 'ok', (error: { code?: string }) => error.code ?? String(error))
}

/**
 * Runs the tests that every room store must pass.
 *
 * @param make creates an empty store that is closed after the test
 */
export function storeContract (t: Test, make: (t: Test) => Promise<RoomStore>): void {
  t.test('the first join creates the room', async (t) => {
    const store = await make(t)
    const first = await store.join(joining('r1', 1, { now: 5000 }))
    t.same(first, { room: recordOf('r1', 1), created: true, firstOfUser: true, count: 1, participants: [profileOf(1)], documents: new Map() })
    const second = await store.join(joining('r1', 'b', { now: 6000 }))
    t.same(second, { room: recordOf('r1', 1), created: false, firstOfUser: true, count: 2, participants: [profileOf(1), profileOf('b')], documents: new Map() }, 'the creator stays the owner')
    t.same(await store.getRoom('r1'), { ...recordOf('r1', 1), participantCount: 2, producers: 0, lastActivityAt: 6000 })
    t.equal(await store.getRoom('r2'), undefined)
    t.equal(await codeOf(store.join(joining('r2', 1, { create: undefined }))), 'ROOM_NOT_FOUND', 'a join that may not create rooms is rejected')
    t.equal(await store.getRoom('r2'), undefined)
  })

  t.test('one of many concurrent joins creates the room', async (t) => {
    const store = await make(t)
    const results = await Promise.all(Array.from({ length: 30 }, (_, i) => store.join(joining('r1', i))))
    t.equal(results.filter(({ created }) => created).length, 1)
    t.equal(new Set(results.map(({ room }) => room.ownerId)).size, 1)
    t.same(results.map(({ count }) => count).sort((a, b) => a - b), Array.from({ length: 30 }, (_, i) => i + 1))
  })

  t.test('a user with several sockets counts once', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    t.match(await store.join(joining('r1', 1, { sessionId: 'other' })), { firstOfUser: false, count: 1, created: false })
    t.match(await store.join(joining('r1', 1, { sessionId: 'other' })), { firstOfUser: false, count: 1 }, 'a repeated join of a socket changes nothing')
    t.same(await store.leave('r1', 's-1', '1', 2000), { lastOfUser: false, count: 1 })
    t.equal(await store.leave('r1', 's-1', '1', 2000), undefined, 'a socket leaves once')
    t.same(await store.leave('r1', 'other', '1', 3000), { lastOfUser: true, count: 0 })
    t.equal(await store.leave('r1', 'other', '1', 3000), undefined)
    t.equal(await store.leave('nowhere', 's-1', '1', 3000), undefined)
    t.match(await store.getRoom('r1'), { participantCount: 0, lastActivityAt: 3000 }, 'an empty room still exists')
    t.match(await store.join(joining('r1', 2)), { created: false, room: { ownerId: 1 } })
  })

  t.test('a user who rejoins has the newest profile', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    await store.join(joining('r1', 2))
    const profile = { ...profileOf(1), avatar: 'new.png' }
    await store.join(joining('r1', 1, { sessionId: 'other', profile }))
    t.same(await store.getParticipants('r1', 10), [profile, profileOf(2)], 'the user keeps the old position')
  })

  t.test('returns the first participants in order of arrival', async (t) => {
    const store = await make(t)
    const ids = Array.from({ length: maxListedParticipants + 5 }, (_, i) => 1000 - i)
    let last
    for (const [i, id] of ids.entries()) last = await store.join(joining('r1', id, { now: 10_000 + i, limit: 1000 }))
    t.equal(last?.count, ids.length)
    t.same(last?.participants.map(({ userId }) => userId), ids.slice(0, maxListedParticipants))
    t.same((await store.getParticipants('r1', 3)).map(({ userId }) => userId), ids.slice(0, 3))
    t.same((await store.getParticipants('r1', 1000)).map(({ userId }) => userId), ids)
    t.same(await store.getParticipants('nowhere', 10), [])
  })

  t.test('admits exactly the maximum number of users, and rejects others with ROOM_FULL', async (t) => {
    const store = await make(t)
    const outcomes = await Promise.all(Array.from({ length: 50 }, (_, i) => codeOf(store.join(joining('r1', i, { limit: 10 })))))
    t.equal(outcomes.filter((outcome) => outcome === 'ok').length, 10)
    t.equal(outcomes.filter((outcome) => outcome === 'ROOM_FULL').length, 40)
    t.equal((await store.getRoom('r1'))?.participantCount, 10)

    const inside = outcomes.indexOf('ok')
    t.match(await store.join(joining('r1', inside, { limit: 10, sessionId: 'second' })), { count: 10 }, 'a member may join again')
    await store.leave('r1', 'second', String(inside), 1)
    t.equal(await codeOf(store.join(joining('r1', 'late', { limit: 10 }))), 'ROOM_FULL')
    await store.leave('r1', `s-${inside}`, String(inside), 1)
    t.equal(await codeOf(store.join(joining('r1', 'late', { limit: 10 }))), 'ok', 'a leave frees the place')
    t.equal(await codeOf(store.join(joining('r1', 'later', { limit: 10 }))), 'ROOM_FULL')
  })

  t.test('a room is locked if the join that creates it contains a PIN', async (t) => {
    const store = await make(t)
    const pinHash = 'right'
    t.match(await store.join(joining('r1', 1, { pinHash })), { created: true, room: { locked: true }, pinHash })
    t.equal(await codeOf(store.join(joining('r1', 2))), 'PIN_REQUIRED')
    t.equal(await codeOf(store.join(joining('r1', 2, { pinHash: 'wrong' }))), 'PIN_WRONG')
    t.equal(await codeOf(store.join(joining('r1', 2, { pinHash }))), 'ok')
    t.match(await store.join(joining('r1', 1, { sessionId: 'phone' })), { firstOfUser: false, pinHash }, 'a user who is in the room needs no PIN')
    t.equal(await codeOf(store.join(joining('r1', 1, { sessionId: 'watch', pinHash: 'wrong' }))), 'PIN_WRONG', 'a wrong PIN is rejected even then')
    for (const sessionId of ['s-1', 'phone']) await store.leave('r1', sessionId, '1', Date.now())
    t.equal(await codeOf(store.join(joining('r1', 1))), 'PIN_REQUIRED', 'the owner needs the PIN, too')
    t.notMatch(await store.getRoom('r1'), { pin: pinHash }, 'the PIN is not returned')
    t.equal(JSON.stringify(await store.getRoom('r1')).includes(pinHash), false)

    t.match(await store.join(joining('open', 1)), { room: { locked: false } })
    t.match(await store.join(joining('open', 2, { pinHash })), { created: false, room: { locked: false } }, 'the PIN of a later join has no effect')
    t.equal(await codeOf(store.join(joining('open', 3))), 'ok')
  })

  t.test('limits wrong PINs', async (t) => {
    const store = await make(t)
    const now = Date.now()
    await store.join(joining('r1', 1, { pinHash: 'right' }))
    for (let i = 0; i < wrongPins.perUser; i++) t.equal(await codeOf(store.join(joining('r1', 2, { pinHash: `wrong${i}`, now }))), 'PIN_WRONG')
    const error = await store.join(joining('r1', 2, { pinHash: 'right', now })).catch((error: unknown) => error)
    t.match(error, { code: 'RATE_LIMITED', details: { retryAfterMs: Number } }, 'the right PIN is rejected, too')
    const { retryAfterMs } = (error as { details: { retryAfterMs: number } }).details
    t.ok(retryAfterMs > pinWindowMs / 2 && retryAfterMs <= pinWindowMs, `retryAfterMs is ${retryAfterMs}`)
    t.equal(await codeOf(store.join(joining('r1', 3, { pinHash: 'wrong' }))), 'PIN_WRONG', 'other users have separate limits')
    t.equal(await codeOf(store.join(joining('r1', 4, { pinHash: 'right' }))), 'ok')
    await store.join(joining('r2', 1, { pinHash: 'right' }))
    t.equal(await codeOf(store.join(joining('r2', 2, { pinHash: 'right' }))), 'ok', 'other rooms have separate limits')
    for (let i = 0; i < 10; i++) t.equal(await codeOf(store.join(joining('r2', 5))), 'PIN_REQUIRED', 'a missing PIN does not count')
  })

  t.test('limits wrong PINs per address and per room', async (t) => {
    const store = await make(t)
    const wrong = { pinHash: 'wrong' }
    for (const roomId of ['r1', 'r2']) await store.join(joining(roomId, 1, { pinHash: 'right' }))
    await store.join(joining('r1', 2, { pinHash: 'right' }))
    const guess = async (user: string, address: string | undefined, roomId = 'r1') => await codeOf(store.join(joining(roomId, user, { ...wrong, address })))
    for (let i = 0; i < wrongPins.perAddress - 1; i++) t.equal(await guess(`a${i}`, 'home', i % 2 === 0 ? 'r1' : 'r2'), 'PIN_WRONG')
    t.equal(await codeOf(store.countPin('r2', 'home', false)), 'PIN_WRONG', 'a wrong PIN without a join counts, too')
    for (const roomId of ['r1', 'r2']) t.equal(await guess('late', 'home', roomId), 'RATE_LIMITED', `the limit per address applies in ${roomId}`)
    const error = await store.countPin('r1', 'home', true).catch((error: unknown) => error)
    t.match(error, { code: 'RATE_LIMITED', details: { retryAfterMs: Number }, pinLimit: 'address' }, 'the right PIN is rejected, too')
    t.equal(await codeOf(store.join(joining('r1', 'asking', { address: 'home' }))), 'PIN_REQUIRED')
    t.equal(await codeOf(store.countPin('r1', 'office', true)), 'ok')

    const counted = wrongPins.perAddress / 2
    for (let i = 0; i < wrongPins.perRoom - counted; i++) await guess(`b${i}`, i % 2 === 0 ? undefined : `street ${i}`)
    t.match(await store.join(joining('r1', 'last', wrong)).catch((error: unknown) => error), { code: 'RATE_LIMITED', pinLimit: 'room' })
    t.equal(await codeOf(store.countPin('r1', undefined, true)), 'RATE_LIMITED')
    t.equal(await codeOf(store.countPin('r2', undefined, true)), 'ok')
    t.equal(await codeOf(store.join(joining('r1', 2, { pinHash: 'right', address: 'home', sessionId: 'phone' }))), 'ok', 'members are not affected')
  })

  t.test('wrong PINs do not lock out members and hosts', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1, { pinHash: 'right' }))
    for (let i = 0; i < wrongPins.perUser + 1; i++) t.equal(await codeOf(store.join(joining('r1', 1, { pinHash: 'wrong', address: 'home' }))), 'PIN_WRONG', 'a member is never rate limited')
    t.equal(await codeOf(store.join(joining('r1', 1, { pinHash: 'right', address: 'home' }))), 'ok')
    const access = JSON.stringify({ admits: 'pin', pinHash: 'new' } satisfies RoomAccess)
    t.match(await store.swapDocument({ roomId: 'r1', name: accessDocument, expected: '1000.0', state: access }), { swapped: true })
    await store.leave('r1', 's-1', '1', Date.now())
    const attempt = async () => await store.join(joining('r1', 1, { pinHash: 'right' })).catch((error: unknown) => error)
    for (let i = 0; i < wrongPins.perUser; i++) t.match(await attempt(), { code: 'PIN_WRONG', lockedByHost: true })
    t.match(await attempt(), { code: 'RATE_LIMITED', lockedByHost: true }, 'lockedByHost is set, because hosts may still join')
    t.equal(await codeOf(store.join(joining('r1', 1, { pinHash: 'right', isHost: true }))), 'ok')
  })

  t.test('limits attempts with wrong PINs, even when they are concurrent', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1, { pinHash: 'right' }))
    const outcomes = await Promise.all(Array.from({ length: 30 }, (_, i) => codeOf(store.join(joining('r1', 2, { pinHash: `wrong${i}` })))))
    t.equal(outcomes.filter((outcome) => outcome === 'PIN_WRONG').length, wrongPins.perUser)
    t.equal(outcomes.filter((outcome) => outcome === 'RATE_LIMITED').length, 30 - wrongPins.perUser)
  })

  t.test('returns the current PIN hash after a comparison with another hash, without counting a wrong PIN', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1, { pinHash: 'right' }))
    for (let i = 0; i <= wrongPins.perUser; i++) {
      const error = await store.join(joining('r1', 2, { pinHash: 'new', comparedHash: 'none' })).catch((error: unknown) => error)
      t.match(error, { name: 'PinNotCompared', pinHash: 'right' })
    }
    for (let i = 0; i < wrongPins.perUser; i++) t.equal(await codeOf(store.join(joining('r1', 2, { pinHash: 'wrong', comparedHash: 'right' }))), 'PIN_WRONG')
    t.equal(await codeOf(store.join(joining('r1', 2, { pinHash: 'new', comparedHash: 'none' }))), 'RATE_LIMITED', 'the limit also applies before a comparison')
    t.equal(await codeOf(store.join(joining('r1', 3, { pinHash: 'right', comparedHash: 'right' }))), 'ok')
    t.equal(await codeOf(store.join(joining('r2', 1, { pinHash: 'new', comparedHash: 'none' }))), 'ok', 'a join that creates the room needs no comparison')
    t.equal(await codeOf(store.join(joining('r2', 2, { pinHash: 'new', comparedHash: 'new' }))), 'ok')
  })

  t.test('bans a user', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    const end = Date.now() + 3_600_000
    await store.ban('r1', '2', end)
    await t.rejects(store.join(joining('r1', 2)), { code: 'BANNED', details: { until: end } })
    await t.rejects(store.join(joining('r1', '2')), { code: 'BANNED' }, 'the ban applies to the id as a number or a string')
    t.equal(await codeOf(store.join(joining('r1', 3))), 'ok')
    t.equal(await codeOf(store.join(joining('r2', 2))), 'ok', 'the ban applies to this room only')
    await store.ban('r1', '2', end + 1000)
    await t.rejects(store.join(joining('r1', 2)), { code: 'BANNED', details: { until: end + 1000 } }, 'a later ban applies')
    t.equal(await store.unban('r1', '2'), true)
    t.equal(await store.unban('r1', '2'), false)
    t.equal(await codeOf(store.join(joining('r1', 2))), 'ok')

    await store.ban('r1', '4', end)
    await store.removeRoom('r1')
    t.equal(await codeOf(store.join(joining('r1', 4))), 'BANNED', 'the ban outlives the room')
    t.equal(await store.getRoom('r1'), undefined, 'a banned user creates no room')
  })

  t.test('a ban expires', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    const end = Date.now() + 300
    await store.ban('r1', '2', end)
    const refused = new Set<string>()
    await until(async () => {
      const code = await codeOf(store.join(joining('r1', 2)))
      if (code !== 'ok') refused.add(code)
      return code === 'ok'
    })
    t.ok(Date.now() >= end - clocksDifferMs)
    t.same([...refused].filter((code) => code !== 'BANNED'), [])
    t.equal(await store.unban('r1', '2'), false)
    await store.ban('r1', '3', Date.now() - 1000)
    t.equal(await codeOf(store.join(joining('r1', 3))), 'ok', 'an expired ban has no effect')
  })

  t.test('lists and limits bans', async (t) => {
    const store = await make(t)
    const end = Date.now() + 3_600_000
    for (const id of ['b', 'a', 'c']) await store.ban('r1', id, end, { limit: 3, by: 1 })
    await store.ban('r1', '7', end, { userId: 7 })
    t.match(await store.ban('r1', 'd', end, { limit: 4 }).catch((error: unknown) => error), { code: 'BAN_LIMIT', details: { limit: 4 } })
    await store.ban('r1', 'a', end + 1, { limit: 4, by: 'x' })
    t.strictSame(await store.listBans('r1', '', 10), [
      { userId: 7, until: end, by: null }, { userId: 'a', until: end + 1, by: 'x' }, { userId: 'b', until: end, by: 1 }, { userId: 'c', until: end, by: 1 }
    ])
    t.match(await store.listBans('r1', 'a', 1), [{ userId: 'b' }])
    t.same(await store.listBans('r2', '', 10), [])
    await store.ban('r1', 'b', Date.now() + 200)
    await store.unban('r1', '7')
    await until(async () => (await store.listBans('r1', '', 10)).length === 2)
    await store.ban('r1', 'd', end, { limit: 3 })
    t.match(await store.listBans('r1', '', 10), [{ userId: 'a' }, { userId: 'c' }, { userId: 'd' }], 'a ban that has ended does not count')
  })

  t.test('a locked room admits only hosts, members and users who may return', async (t) => {
    const store = await make(t)
    const set = async (access: RoomAccess) => {
      const { version } = await store.swapDocument({ roomId: 'r1', name: accessDocument, expected: '?' })
      await store.swapDocument({ roomId: 'r1', name: accessDocument, expected: version, state: JSON.stringify(access), kept: JSON.stringify(access) })
    }
    for (const id of [1, 2, 3]) await store.join(joining('r1', id))
    await set({ admits: 'nobody' })
    t.equal(await codeOf(store.join(joining('r1', 4))), 'ROOM_LOCKED')
    t.equal(await codeOf(store.join(joining('r1', 4, { pinHash: 'x' }))), 'ROOM_LOCKED')
    t.equal(await codeOf(store.join(joining('r1', 4, { isHost: true }))), 'ok')
    t.equal(await codeOf(store.join(joining('r1', 1, { sessionId: 'phone' }))), 'ok', 'a member')
    await store.leave('r1', 's-2', '2', Date.now(), true)
    t.equal(await codeOf(store.join(joining('r1', 2))), 'ok', 'after a broken connection')
    await store.leave('r1', 's-2', '2', Date.now())
    t.equal(await codeOf(store.join(joining('r1', 2))), 'ROOM_LOCKED', 'after leaving')
    await store.leave('r1', 's-3', '3', Date.now(), true)
    await store.forbidReturn('r1', '3')
    t.equal(await codeOf(store.join(joining('r1', 3))), 'ROOM_LOCKED', 'after a kick')
    await set({ admits: 'pin', pinHash: 'right' })
    t.equal(await codeOf(store.join(joining('r1', 2))), 'PIN_REQUIRED')
    t.equal(await codeOf(store.join(joining('r1', 2, { pinHash: 'wrong' }))), 'PIN_WRONG')
    t.equal(await codeOf(store.join(joining('r1', 2, { pinHash: 'right' }))), 'ok')
    t.equal(await codeOf(store.join(joining('r1', 1))), 'ok', 'a member needs no PIN')
    await set({ admits: 'everyone' })
    t.equal(await codeOf(store.join(joining('r1', 3))), 'ok')
  })

  t.test('a user whose connection broke may not return to a later locked room with the same id', async (t) => {
    const store = await make(t)
    const open = async (createdAt: number, users: readonly number[]) => {
      for (const id of users) await store.join(joining('r1', id, { create: { ...recordOf('r1', 1), createdAt } }))
      const access = JSON.stringify({ admits: 'nobody' } satisfies RoomAccess)
      await store.swapDocument({ roomId: 'r1', name: accessDocument, expected: `${createdAt}.0`, state: access, kept: access })
    }
    await open(1000, [1, 2])
    await store.leave('r1', 's-2', '2', Date.now(), true)
    await store.removeRoom('r1')
    await open(2000, [1])
    t.equal(await codeOf(store.join(joining('r1', 2))), 'ROOM_LOCKED')
  })

  t.test('a locked room does not admit a kicked user whose session has not left yet', async (t) => {
    const store = await make(t)
    for (const id of [1, 2]) await store.join(joining('r1', id))
    const access = JSON.stringify({ admits: 'nobody' } satisfies RoomAccess)
    await store.swapDocument({ roomId: 'r1', name: accessDocument, expected: '1000.0', state: access, kept: access })
    await store.forbidReturn('r1', '2')
    t.equal(await codeOf(store.join(joining('r1', 2, { sessionId: 'phone' }))), 'ROOM_LOCKED')
    await store.leave('r1', 's-2', '2', Date.now(), true)
    t.equal(await codeOf(store.join(joining('r1', 2))), 'ROOM_LOCKED', 'the connection of the kicked user broke')
    await store.join(joining('r1', 2, { isHost: true }))
    await store.leave('r1', 's-2', '2', Date.now(), true)
    t.equal(await codeOf(store.join(joining('r1', 2))), 'ok', 'after joining again')
  })

  t.test('enforces a minimum interval between log entries, and removes entries', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1))
    const spacing = { key: 'u1', document: 'chat', field: 'ms' }
    const append = (entry: string, key = 'u1') => codeOf(store.appendLog('r1', 'chat', { entry, keep: 9, now: Date.now(), spacing: { ...spacing, key } }))
    t.same([await append('a'), await append('b')], ['ok', 'ok'], 'without the document')
    const { version } = await store.swapDocument({ roomId: 'r1', name: 'chat', expected: '?' })
    await store.swapDocument({ roomId: 'r1', name: 'chat', expected: version, state: '{"ms":300}' })
    const begin = Date.now()
    const outcomes = await Promise.all(['c', 'd', 'e'].map((entry) => append(entry)))
    t.same(outcomes.sort(), ['RATE_LIMITED', 'RATE_LIMITED', 'ok'])
    t.equal(await append('f', 'u2'), 'ok', 'another key')
    t.equal(await codeOf(store.appendLog('r1', 'other', { entry: 'x', keep: 9, now: Date.now(), spacing })), 'ok', 'another log')
    await until(async () => await append('g') === 'ok')
    t.ok(Date.now() - begin >= 300 - clocksDifferMs)
    t.equal(await store.removeFromLog('r1', 'chat', 'b'), 0)
    t.equal(await store.removeFromLog('r1', 'chat', 'b'), undefined, 'once')
    t.equal(await store.removeFromLog('nowhere', 'chat', 'b'), undefined)
    t.equal((await store.readLog('r1', 'chat')).join(''), `a${(await store.readLog('r1', 'chat'))[1]}fg`)
    t.same(await store.readLog('r1', 'chat', 2), ['f', 'g'])
  })

  t.test('distinguishes similar ids', async (t) => {
    const store = await make(t)
    const end = Date.now() + 3_600_000
    await store.ban('a:b', 'c', end)
    t.equal(await codeOf(store.join(joining('a', 'b:c'))), 'ok')
    t.equal(await codeOf(store.join(joining('a:b', 'c'))), 'BANNED')
    t.equal(await store.unban('a', 'b:c'), false)
    for (const roomId of ['__proto__', 'constructor', 'empty', 'r1:users', '.', '-']) {
      t.match(await store.join(joining(roomId, '__proto__')), { created: true, count: 1 }, roomId)
      t.match(await store.getRoom(roomId), { roomId, participantCount: 1 })
    }
    t.match(await store.join(joining('r1', 'x y}{"')), { created: true, count: 1, participants: [{ id: 'x y}{"' }] })
    t.same(await store.leave('r1', 's-x y}{"', 'x y}{"', 1), { lastOfUser: true, count: 0 })
  })

  t.test('removes a room once, even if several callers remove it', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1, { pinHash: 'right' }))
    await store.join(joining('r1', 2, { pinHash: 'right' }))
    t.equal(await store.removeRoom('r1', true), undefined, 'an occupied room is not removed')
    const removals = await Promise.all(Array.from({ length: 20 }, () => store.removeRoom('r1')))
    t.same(removals.filter((room) => room !== undefined), [recordOf('r1', 1, true)], 'exactly one caller receives the removed room')
    t.equal(await store.getRoom('r1'), undefined)
    t.same(await store.getParticipants('r1', 10), [])
    t.equal(await store.leave('r1', 's-1', '1', 1), undefined)
    t.equal(await store.removeRoom('r1'), undefined)
    t.match(await store.join(joining('r1', 3)), { created: true, count: 1, room: { ownerId: 3, locked: false } }, 'no data of the old room remains')
  })

  t.test('a join and the removal of an empty room never conflict', async (t) => {
    const store = await make(t)
    for (let round = 0; round < 20; round++) {
      const roomId = `r${round}`
      await store.join(joining(roomId, 1))
      await store.leave(roomId, 's-1', '1', 1)
      const [removed, joined] = await Promise.all([store.removeRoom(roomId, true), store.join(joining(roomId, 2))])
      t.equal(removed !== undefined, joined.created, 'the room was removed before the join or not at all')
      t.equal((await store.getRoom(roomId))?.participantCount, 1)
    }
  })

  t.test('lists rooms in pages, ordered by id', async (t) => {
    const store = await make(t)
    const ids = ['a', 'B', 'b', '_', '-', '.', ':', '10', '9', 'room.1', 'room-1', 'room:1', 'z'.repeat(128)]
    for (const id of ids) await store.join(joining(id, 1, { sessionId: id }))
    await store.join(joining('gone', 1, { sessionId: 'gone' }))
    await store.removeRoom('gone')
    const expected = [...ids].sort()
    t.same((await store.listRooms('', 100)).map(({ roomId }) => roomId), expected)
    const paged: string[] = []
    for (;;) {
      const page = await store.listRooms(paged.at(-1) ?? '', 3)
      t.ok(page.length <= 3)
      paged.push(...page.map(({ roomId }) => roomId))
      if (page.length < 3) break
    }
    t.same(paged, expected)
    t.match((await store.listRooms('a', 1))[0], { roomId: 'b', participantCount: 1, producers: 0 })
    t.same(await store.listRooms('zzzzz'.repeat(100), 10), [])
    t.same((await store.listRooms('c', 2)).map(({ roomId }) => roomId), ['room-1', 'room.1'], 'a page may start after an unknown id')
  })

  t.test('lists empty rooms in the order in which their last users left', async (t) => {
    const store = await make(t)
    for (const [i, roomId] of ['b', 'a', 'c', 'd'].entries()) {
      await store.join(joining(roomId, 1, { sessionId: roomId }))
      await store.leave(roomId, roomId, '1', 1000 * (i + 1))
    }
    await store.join(joining('busy', 1))
    t.same(await store.listEmptyRooms(0, 10), [])
    t.same(await store.listEmptyRooms(2000, 10), ['b', 'a'], 'oldest first')
    t.same(await store.listEmptyRooms(9000, 3), ['b', 'a', 'c'])

    await store.forgetEmptyRoom('b', 500)
    t.same(await store.listEmptyRooms(1000, 10), ['b'], 'a room that became empty later is kept')
    await store.forgetEmptyRoom('b', 1000)
    t.same(await store.listEmptyRooms(1000, 10), ['b'], 'a room that is still empty is kept')
    await store.join(joining('b', 1))
    await store.forgetEmptyRoom('b', 1000)
    await store.forgetEmptyRoom('nowhere', 1000)
    t.same(await store.listEmptyRooms(9000, 10), ['a', 'c', 'd'])
    t.match(await store.getRoom('b'), { participantCount: 1 }, 'removed from the index only')

    await store.removeRoom('a', true)
    t.same(await store.listEmptyRooms(9000, 10), ['c', 'd'])
    await store.join(joining('c', 2))
    t.equal(await store.removeRoom('c', true), undefined)
    await store.leave('c', 's-2', '2', 6000)
    t.same(await store.listEmptyRooms(5000, 10), ['d'], 'a later visit restarts the wait')
    t.same(await store.listEmptyRooms(6000, 10), ['d', 'c'])
  })

  t.test('stores the last activity and the number of producers', async (t) => {
    const store = await make(t)
    await store.join(joining('r1', 1, { now: 1000 }))
    await store.touchRoom('r1', 2000)
    t.match(await store.getRoom('r1'), { lastActivityAt: 2000, producers: 0 })
    await store.touchRoom('r1', 3000, 2)
    await store.touchRoom('r1', 4000)
    t.match(await store.getRoom('r1'), { lastActivityAt: 4000, producers: 2 }, 'a touch does not change the producers')
    await store.touchRoom('r1', 5000, 0)
    t.match(await store.getRoom('r1'), { lastActivityAt: 5000, producers: 0 })
    await store.touchRoom('nowhere', 1000, 1)
    t.equal(await store.getRoom('nowhere'), undefined, 'only a join creates a room')
    t.same((await store.listRooms('', 10)).map(({ roomId }) => roomId), ['r1'])
  })

  t.test('check() succeeds while the store is available', async (t) => {
    const store = await make(t)
    await store.check()
    t.match(store.kind, /^(memory|redis)$/)
    await store.releaseRoom('r1')
    await store.forgetNodeRooms('node-x')
  })
}
