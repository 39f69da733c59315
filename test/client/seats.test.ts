import t from 'tap'
import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import type { RoomOptions } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { until } from '../support/retry.ts'
import { backoff } from './watch.ts'
import { isSince } from '../support/pace.ts'

async function enter (t: Test, server: Pick<TestServer, 'url'>, id: string | number, options: Partial<RoomOptions> = {}) {
  const room = new RoomClient({ url: server.url, token: () => tokenFor(id), audio: false, backoff, ...options })
  t.teardown(() => room.close())
  await room.join('r1', { seatCount: 4 })
  return room
}

/** Returns the visible seats as one line, such as `0:1 1:2m 2:- 3:L>5`. */
const drawn = ({ seats }: RoomClient) => seats.list.map(({ seatIndex, userId, isMuted, isLocked, invitedUserId }) =>
  `${seatIndex}:${userId ?? (isLocked ? 'L' : '-')}${isMuted ? 'm' : ''}${invitedUserId === undefined ? '' : `>${invitedUserId}`}`).join(' ')

/** Waits until all clients see the seats in `what`, and then checks that a newly joined client sees the same seats. */
async function allSee (t: Test, server: TestServer, rooms: RoomClient[], what: string) {
  await until(() => {
    const seen = rooms.map(drawn)
    if (seen.some((line) => line !== what)) throw new Error(`Not ${what}, but ${seen.join(' | ')}`)
    return true
  })
  const late = await enter(t, server, 'late')
  t.equal(drawn(late), what)
  late.close()
}

t.test('tracks occupants from events and join replies', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats' } })
  const owner = await enter(t, server, 1)
  const bob = await enter(t, server, 'b')
  const rooms = [owner, bob]
  t.equal(owner.role, 'owner')
  t.equal(bob.role, 'member')
  t.equal(bob.seats.enabled, true)
  await allSee(t, server, rooms, '0:- 1:- 2:- 3:-')

  await owner.connection.request('seat:take', { seatIndex: 1 })
  await bob.connection.request('seat:take', { seatIndex: 2 })
  await allSee(t, server, rooms, '0:- 1:1 2:b 3:-')
  t.equal(bob.seats.own?.seatIndex, 2)
  t.equal(bob.seats.of('1')?.seatIndex, 1, 'ids match as numbers and strings')
  t.same(bob.seats.free.map(({ seatIndex }) => seatIndex), [0, 3])
  t.equal(bob.participants.find(({ userId }) => userId === 1)?.seat?.seatIndex, 1)

  const { sitting } = bob.seats
  await bob.connection.request('seat:take', { seatIndex: 0 })
  await allSee(t, server, rooms, '0:b 1:1 2:- 3:-')
  t.not(bob.seats.sitting, sitting, 'moving starts a new seat session')

  await owner.connection.request('seat:mute', { userId: 'b' })
  await allSee(t, server, rooms, '0:bm 1:1 2:- 3:-')
  t.equal(owner.participants.find(({ userId }) => userId === 'b')?.microphone, 'muted')
  await owner.connection.request('seat:unmute', { userId: 'b' })
  await allSee(t, server, rooms, '0:b 1:1 2:- 3:-')

  await owner.connection.request('seat:lock', { seatIndex: 0 })
  await allSee(t, server, rooms, '0:L 1:1 2:- 3:-')
  t.equal(bob.seats.own, undefined)
  t.equal(bob.seats.sitting, undefined)

  await owner.connection.request('seat:invite', { userId: 'b', seatIndex: 0 })
  await allSee(t, server, rooms, '0:L>b 1:1 2:- 3:-')
  t.equal(bob.seats.invitation?.seatIndex, 0)
  t.equal(owner.seats.invitation, undefined)
  await bob.connection.request('seat:invite:accept', {})
  await allSee(t, server, rooms, '0:b 1:1 2:- 3:-')
  t.equal(bob.seats.invitation, undefined)

  t.equal((await server.admin('PATCH', '/admin/rooms/r1/seats', { seatCount: 2 })).status, 200)
  await allSee(t, server, rooms, '0:b 1:1')
  await bob.leave()
  await allSee(t, server, [owner], '0:- 1:1')
  t.same([bob.seats.enabled, bob.seats.list, bob.seats.own, bob.role], [false, [], undefined, undefined])
})

t.test('a user who is removed and seated again has a new seat session', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats' } })
  const owner = await enter(t, server, 1)
  const bob = await enter(t, server, 'b')
  const sittings: (number | undefined)[] = []
  bob.seats.on('change', () => { if (bob.seats.sitting !== sittings.at(-1)) sittings.push(bob.seats.sitting) })
  for (let i = 0; i < 2; i++) {
    await owner.connection.request('seat:assign', { userId: 'b', seatIndex: 1 })
    await owner.connection.request('seat:remove', { userId: 'b' })
  }
  await until(() => sittings.length === 4)
  t.same(sittings.map((sitting) => typeof sitting), ['number', 'undefined', 'number', 'undefined'])
  t.not(sittings[0], sittings[2])
})

t.test('keeps the seat after a lost connection', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats' } })
  const bob = await enter(t, server, 'b')
  const other = await enter(t, server, 2)
  await bob.connection.request('seat:take', { seatIndex: 3 })
  await until(() => bob.seats.own !== undefined)
  const { sitting } = bob.seats
  const again = new Promise((resolve) => bob.on('entered', resolve))
  for (const session of server.app.sockets.ofUser('b')) session.terminate()
  await other.connection.request('seat:take', { seatIndex: 0 })
  await again
  await allSee(t, server, [bob, other], '0:2 1:- 2:- 3:b')
  t.not(bob.seats.sitting, sitting, 'the audio restarts')
})

t.test('concurrent takeFree() calls take one seat each', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats' } })
  const rooms = await Promise.all([1, 2, 3, 4, 5, 6].map((id) => enter(t, server, id)))
  const [first] = rooms as [RoomClient]
  await first.connection.request('seat:invite', { userId: 2, seatIndex: 1 })
  await until(() => rooms.every(({ seats }) => seats.list[1]?.invitedUserId === 2))
  const got = await Promise.all(rooms.map(({ seats }) => seats.takeFree()))
  t.same(got.filter((index) => index !== undefined).sort(), [0, 2, 3], 'the invited seat stays free')
  t.same(rooms.map(({ seats }) => seats.own?.seatIndex), got, 'the views show the seats')
  const lucky = rooms[got.indexOf(3)] as RoomClient
  t.equal(await lucky.seats.takeFree(), 3, 'a seated user keeps the seat')
})

t.test('shows each user the seat requests that they may see', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats' } })
  const owner = await enter(t, server, 1)
  const bob = await enter(t, server, 'b')
  const eve = await enter(t, server, 'e')
  const rooms = [owner, bob, eve]
  const seen = () => rooms.map(({ seats }) => `${seats.requests.map(({ userId }) => userId).join()}${seats.requesting ? '!' : ''}`)
  const shows = async (...wanted: string[]) => {
    await until(() => seen().join(' | ') === wanted.join(' | ')).catch(() => t.same(seen(), wanted))
  }
  let changes = 0
  eve.seats.on('change', () => { changes++ })
  await shows('', '', '')
  const before = Date.now()
  await bob.connection.request('seat:request', {})
  await shows('b', 'b!', '')
  const [request] = owner.seats.requests
  t.ok(isSince(before, request?.requestedAt))
  t.same(bob.seats.requests, [request])
  t.equal(changes, 0)
  await eve.connection.request('seat:request', {})
  await shows('b,e', 'b!', 'e!')
  t.ok(changes > 0)

  // After a reconnect, the join reply contains the same seat requests.
  const again = new Promise((resolve) => eve.on('entered', resolve))
  for (const session of server.app.sockets.ofUser('e')) session.terminate()
  await again
  await shows('b,e', 'b!', 'e!')
  const laptop = await enter(t, server, 1)
  t.same(laptop.seats.requests.map(({ userId }) => userId), ['b', 'e'])
  t.equal(laptop.seats.requesting, false)

  await owner.connection.request('seat:request:cancel', { userId: 'b' })
  await shows('e', '', 'e!')
  await eve.connection.request('seat:take', { seatIndex: 0 })
  await shows('', '', '')
  await bob.connection.request('seat:request', {})
  await shows('b', 'b!', '')
  await bob.leave()
  await owner.connection.request('seat:request', {})
  await shows('1!', '', '')
  await owner.leave()
  await shows('', '', '')
})

t.test('requests disappear when the feature is disabled, and return when it is enabled', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats' } })
  const owner = await enter(t, server, 1)
  const bob = await enter(t, server, 'b')
  await bob.connection.request('seat:request', {})
  await until(() => owner.seats.requests.length === 1)
  await server.app.features.disable('seats')
  await until(() => owner.seats.requests.length === 0 && !bob.seats.requesting)
  await server.app.features.enable('seats')
  await until(() => owner.seats.requests.length === 1 && bob.seats.requesting)
})

t.test('has no seats without the feature', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const bob = await enter(t, server, 'b')
  t.same([bob.seats.enabled, bob.seats.count, bob.seats.list, bob.seats.own, bob.seats.requests, bob.seats.requesting], [false, 0, [], undefined, [], false])
  t.equal(await bob.seats.takeFree(), undefined)
  await t.rejects(bob.connection.request('seat:take', { seatIndex: 0 }), { code: 'FEATURE_DISABLED' })
})
