import t from 'tap'
import type { Test } from 'tap'
import { z } from 'zod'
import { maxRequests } from '../../../features/seats/decide.ts'
import { noSeats, seatState } from '../../../features/seats/state.ts'
import { startBackend } from '../../support/backend.ts'
import { build, onBothStores, onEveryStore } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { deafen } from '../../support/deaf.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { connectAdmin, hurry, scene, seatsOf } from './scene.ts'
import { isSince, stopwatch } from '../../support/pace.ts'

type Requests = readonly { userId: unknown, requestedAt: number, position: number }[]

const users = (requests: unknown) => (requests as Requests).map(({ userId }) => String(userId)).join(' ')
/** Returns the users listed in each seat:requests event that a client received. */
const requestsSeenBy = ({ events }: TestClient) => events.filter(({ type }) => type === 'seat:requests').map(({ data }) => users(data.requests))
/** Waits until every client's last seat:requests event lists exactly the given users. */
const expectRequests = async (t: Test, clients: readonly TestClient[], last: string) => {
  for (const client of clients) await until(() => requestsSeenBy(client).at(-1) === last).catch(() => t.equal(requestsSeenBy(client).join(', '), last))
}
/** Waits until all pending events have arrived, by sending another event to all clients. */
async function quiet (server: TestServer, clients: readonly TestClient[], roomId = 'r1'): Promise<void> {
  const text = `${Math.random()}`
  server.app.rooms.emit(roomId, 'test:quiet', { text })
  for (const client of clients) await client.event('test:quiet', (data) => data.text === text)
}
const join = async (client: TestClient, roomId = 'r1') => await client.ok('room:join', { roomId })
const askers = async (client: TestClient) => users((await join(client)).seatRequests)

/**
 * Starts two servers that share one Redis. The owner (1), a member (3) and an observer (5) are on one server. An
 * admin (2) and a member ('4') are on the other server.
 */
async function pair (t: Test, env: Record<string, string> = {}) {
  const both = { FEATURES: 'auth,seats', REDIS_URL: await redisDatabase(), ...env }
  const [a, b] = [await build(t, { env: { ...both, NODE_ID: 'a' } }), await build(t, { env: { ...both, NODE_ID: 'b' } })]
  const [owner, member, watcher] = [await a.connect(1), await a.connect(3), await a.connect(5)]
  const [admin, other] = [await connectAdmin(b, 2), await b.connect('4')]
  await owner.ok('room:join', { roomId: 'r1', seatCount: 4 })
  for (const client of [member, watcher, admin, other]) await join(client)
  return { a, b, owner, admin, member, other, watcher, hosts: [owner, admin] }
}

onBothStores(t, 'only permitted users receive raised and lowered hands', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, env)
  const hosts = [owner, admin]
  const phone = await server.connect('3')
  const elsewhere = await server.connect(3)
  const watcher = await server.connect(5)
  for (const client of [phone, watcher]) await join(client)
  await join(elsewhere, 'r2')

  const before = Date.now()
  t.same(await member.ok('seat:request'), {})
  t.same(await other.ok('seat:request'), {})
  await expectRequests(t, hosts, '3 4')
  const { requests } = owner.events.findLast(({ type }) => type === 'seat:requests')?.data as { requests: Requests }
  const [first, second] = requests
  t.same(requests, [{ userId: 3, requestedAt: first?.requestedAt, position: 1 }, { userId: '4', requestedAt: second?.requestedAt, position: 2 }], 'ids have the types that they have in the tokens')
  t.ok(isSince(before, first?.requestedAt) && Number(first?.requestedAt) <= Number(second?.requestedAt) && isSince(before, second?.requestedAt))
  for (const client of hosts) t.same(await client.event('seat:requests'), { roomId: 'r1', requests: [first] })
  for (const client of [member, phone]) t.same(await client.event('seat:requests'), { roomId: 'r1', requests: [first] }, 'all sockets that the user has in the room receive the event')
  t.same(await other.event('seat:requests'), { roomId: 'r1', requests: [second] }, 'members receive only their own request')

  t.same(await phone.ok('seat:request'), {})
  t.equal(await member.fails('seat:request:cancel', { userId: '4' }), 'FORBIDDEN')
  t.equal(await watcher.fails('seat:request:cancel', { userId: 3 }), 'FORBIDDEN')
  t.equal(await watcher.fails('seat:request:cancel'), 'SEAT_REQUEST_NOT_FOUND')
  t.equal(await owner.fails('seat:request:cancel', { userId: 5 }), 'SEAT_REQUEST_NOT_FOUND')
  t.same((await seatsOf(server)).requests, [first, second].map((request) => ({ ...request, awayUntil: null })))

  t.same(await phone.ok('seat:request:cancel', { userId: 3 }), {})
  await expectRequests(t, hosts, '4')
  t.same(await admin.ok('seat:request:cancel', { userId: 4 }), {})
  await expectRequests(t, [...hosts, member, phone, other], '')
  await member.ok('seat:request')
  await expectRequests(t, hosts, '3')
  await owner.ok('seat:request:cancel', { userId: '3' })
  await owner.ok('seat:request')
  await owner.ok('seat:request:cancel', { userId: '1' })
  await expectRequests(t, hosts, '')
  await quiet(server, [...hosts, member, phone, other, watcher])
  for (const client of hosts) t.same(requestsSeenBy(client), ['3', '3 4', '4', '', '3', '', '1', ''])
  for (const client of [member, phone]) t.same(requestsSeenBy(client), ['3', '', '3', ''])
  t.same(requestsSeenBy(other), ['4', '4', ''], 'members also receive their new position')
  for (const client of [watcher, elsewhere]) t.same(requestsSeenBy(client), [], 'other members receive no event')
})

onEveryStore(t, 'a join returns the visible requests', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, env)
  for (const client of [owner, admin, member]) t.equal(await askers(client), '', 'before the first request')
  await other.ok('seat:request')
  await member.ok('seat:request')
  await expectRequests(t, [owner, admin], '4 3')
  for (const client of [owner, admin, await server.connect('1'), await connectAdmin(server, 2)]) t.equal(await askers(client), '4 3', 'users are in the order of their requests')
  for (const client of [member, await server.connect(3)]) t.equal(await askers(client), '3')
  t.equal(await askers(await server.connect(5)), '')
  const { seatRequests } = await join(owner)
  t.same((seatRequests as object[]).map((request) => Object.keys(request).sort()), [['position', 'requestedAt', 'userId'], ['position', 'requestedAt', 'userId']])

  const visitor = await server.connect(9)
  t.match(await join(visitor, 'own'), { self: { role: 'owner' }, seatRequests: emptyArray })
  t.equal(await askers(visitor), '')
  await join(owner, 'own')
  await owner.ok('seat:request')
  await other.ok('seat:request:cancel')
  await quiet(server, [admin, visitor])
  await owner.flush()
  t.equal(requestsSeenBy(admin).at(-1), '3')
  t.equal(requestsSeenBy(owner).at(-1), '1', 'a user who left receives no more events')
  t.same(requestsSeenBy(visitor), [])
})

onEveryStore(t, 'a request ends when its user takes a seat', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, env)
  const again = async () => {
    await member.ok('seat:request')
    await expectRequests(t, [owner, admin, member], '3')
  }
  const over = async (what: string) => {
    await expectRequests(t, [owner, admin, member], '')
    t.same((await seatsOf(server)).requests, [], what)
  }
  await again()
  await member.ok('seat:take', { seatIndex: 0 })
  await over('taken')
  t.equal(await member.fails('seat:request'), 'ALREADY_SEATED')
  await member.ok('seat:leave')
  await again()
  await owner.ok('seat:assign', { userId: '3', seatIndex: 1 })
  await over('assigned')
  await owner.ok('seat:remove', { userId: 3 })

  // A pending invite does not remove the seat request.
  await again()
  await admin.ok('seat:invite', { userId: 3, seatIndex: 2 })
  t.match((await seatsOf(server)).requests, [{ userId: 3 }])
  await member.ok('seat:invite:accept')
  await over('accepted')
  await member.ok('seat:leave')
  await again()
  await admin.ok('seat:invite', { userId: 3, seatIndex: 2 })
  await member.ok('seat:invite:decline')
  await over('declined')

  await again()
  await admin.ok('seat:invite', { userId: 3, seatIndex: 2 })
  // Shorten the invite's lifetime of 30 s.
  await hurry(server, 200)
  await other.event('seat:invite:pending', ({ isPending, seatIndex }) => isPending === false && seatIndex === 2)
  await until(async () => (await seatsOf(server)).invites.length === 0)
  t.match((await seatsOf(server)).requests, [{ userId: 3, awayUntil: null }], 'the request outlives the invite')
  t.same(requestsSeenBy(other), [])
})

onEveryStore(t, 'a request ends when its user leaves or is kicked', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '3600', ...env })
  for (const client of [member, other]) await client.ok('seat:request')
  await expectRequests(t, [owner, admin], '3 4')
  await member.ok('room:leave')
  await expectRequests(t, [owner, admin], '4')
  t.equal((await server.admin('POST', '/admin/rooms/r1/kick', { userId: '4' })).status, 204)
  await expectRequests(t, [owner, admin], '')
  t.equal(await askers(member), '')

  // A kick also removes the request of a disconnected user.
  await member.ok('seat:request')
  await expectRequests(t, [owner], '3')
  member.ws.terminate()
  await until(async () => (await seatsOf(server)).requests[0]?.awayUntil != null)
  t.equal((await server.admin('POST', '/admin/rooms/r1/kick', { userId: 3 })).status, 204)
  await expectRequests(t, [owner, admin], '')
})

onEveryStore(t, 'a request is kept for the grace period', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '60', ...env })
  for (const client of [member, other]) await client.ok('seat:request')
  const before = Date.now()
  for (const client of [member, other]) client.ws.terminate()
  const ends = await until(async () => {
    const { requests } = await seatsOf(server)
    return requests.every(({ awayUntil }) => awayUntil !== null) && requests.map(({ awayUntil }) => Number(awayUntil))
  })
  t.ok(ends.length === 2 && ends.every((end) => isSince(before, end - 60_000)), 'the request is kept as long as a seat')
  const back = await server.connect(3)
  t.equal(await askers(back), '3')
  // End the grace period early.
  await hurry(server, 200)
  await expectRequests(t, [owner, admin], '3')
  t.match((await seatsOf(server)).requests, [{ userId: 3, awayUntil: null }])
  await quiet(server, [owner, admin, back])
  t.same(requestsSeenBy(owner), ['3', '3 4', '3'], 'no event is sent during the grace period')
  t.same(requestsSeenBy(back), [])
})

onEveryStore(t, 'requests end with their room', async (t, env) => {
  const { server, owner, admin, member } = await scene(t, env)
  await member.ok('seat:request')
  await expectRequests(t, [owner, admin], '3')
  t.equal((await server.admin('POST', '/admin/rooms/r1/close')).status, 204)
  for (const client of [owner, admin, member]) await client.event('room:closed')
  t.match(await join(member), { self: { role: 'owner' }, seatRequests: emptyArray })
  t.match(await join(owner), { self: { role: 'member' }, seatRequests: emptyArray })
  await join(admin)
  await admin.ok('seat:request')
  await expectRequests(t, [member, admin], '2')
  await quiet(server, [owner])
  t.same(requestsSeenBy(owner), ['3'], 'a former owner receives no events')
})

onEveryStore(t, 'limits the number of requests', async (t, env) => {
  const { server, owner, member, other } = await scene(t, env)
  await other.ok('seat:request')
  await server.app.rooms.roomState.define('seats', seatState).change('r1', (state = noSeats(4)) => {
    const more = Array.from({ length: maxRequests - 1 }, (_, i) => ({ userId: 1000 + i, requestedAt: Date.now() }))
    return { state: { ...state, requests: [...state.requests, ...more] }, result: undefined }
  })
  t.match((await member.request('seat:request')).error, { code: 'SEAT_REQUESTS_FULL', message: /200/ })
  t.same(await other.ok('seat:request'), {}, 'a user with a request may repeat it')
  t.same(requestsSeenBy(member), [])
  await owner.ok('seat:request:cancel', { userId: 1000 })
  await member.ok('seat:request')
  await until(() => requestsSeenBy(owner).at(-1)?.split(' ').length === maxRequests)
})

onEveryStore(t, 'if the requests do not fit into the reply to a join, an event with all requests follows', async (t, env) => {
  const { server, owner } = await scene(t, env)
  const ids = Array.from({ length: maxRequests }, (_, i) => `${i}`.padEnd(100, 'x'))
  await server.app.rooms.roomState.define('seats', seatState).change('r1', (state = noSeats(4)) => ({ state: { ...state, requests: ids.map((userId) => ({ userId, requestedAt: 1 })) }, result: undefined }))
  await expectRequests(t, [owner], ids.join(' '))
  await owner.ok('room:leave')
  const before = requestsSeenBy(owner).length
  const { seatRequests } = await join(owner)
  t.ok((seatRequests as Requests).length < maxRequests)
  await until(() => requestsSeenBy(owner).length > before)
  t.equal(requestsSeenBy(owner).at(-1), ids.join(' '))
})

onEveryStore(t, 'reads seats that were stored before seat requests existed', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, env)
  await server.app.rooms.roomState.define('seats', z.unknown()).change('r1', () => {
    const { requests, ...state } = noSeats(4)
    return { state: { ...state, seats: [{ seatIndex: 1, userId: '4', sitting: 1, selfMuted: false }], sittings: 1 }, result: undefined }
  })
  t.same((await seatsOf(server)).requests, [])
  t.match(await join(owner), { seats: [{ seatIndex: 1 }], seatRequests: emptyArray })
  t.equal(await member.fails('seat:request:cancel'), 'SEAT_REQUEST_NOT_FOUND')
  await other.ok('seat:leave')
  await member.ok('seat:request')
  await expectRequests(t, [owner, admin, member], '3')
})

t.test('each of two servers notifies its own sockets', async (t) => {
  const { a, b, owner, admin, member, other, watcher, hosts } = await pair(t)
  const phone = await b.connect(3)
  await join(phone)
  await member.ok('seat:request')
  await expectRequests(t, [...hosts, member, phone], '3')
  await other.ok('seat:request')
  await expectRequests(t, hosts, '3 4')
  await until(() => a.app.rooms.roomState.define('seats', seatState).peek('r1')?.requests.length === 2)
  for (const server of [a, b]) {
    t.equal(await askers(await server.connect('1')), '3 4')
    t.equal(await askers(await server.connect(4)), '4')
    t.equal(await askers(await server.connect(6)), '')
  }
  t.same(await seatsOf(a), await seatsOf(b))
  await admin.ok('seat:request:cancel', { userId: 3 })
  await expectRequests(t, [...hosts], '4')
  await other.ok('seat:take', { seatIndex: 0 })
  await expectRequests(t, [...hosts, member, other, phone], '')
  await quiet(a, [owner, admin, member, other, watcher, phone])
  for (const client of hosts) t.same(requestsSeenBy(client), ['3', '3 4', '4', ''])
  for (const client of [member, phone]) t.same(requestsSeenBy(client), ['3', ''])
  t.same(requestsSeenBy(other), ['4', '4', ''], 'members also receive their new position')
  t.same(requestsSeenBy(watcher), [])
})

t.test('both servers keep the request of a user who reconnects, and end the request of a user who does not', async (t) => {
  const { a, b, member, other, hosts } = await pair(t, { SEAT_GRACE_SECONDS: '60' })
  for (const client of [member, other]) await client.ok('seat:request')
  await expectRequests(t, hosts, '3 4')
  other.ws.terminate()
  await until(async () => (await seatsOf(a)).requests[1]?.awayUntil != null)
  member.ws.terminate()
  await until(async () => (await seatsOf(b)).requests[0]?.awayUntil != null)
  t.equal(await askers(await b.connect(3)), '3')
  await hurry(b, 200)
  await expectRequests(t, hosts, '3')
})

t.test('after a partition, a server sends the missed changes to its clients', async (t) => {
  const { a, b, admin, member, other, watcher } = await pair(t)
  await other.ok('seat:request')
  await expectRequests(t, [admin], '4')
  const heal = deafen(b)
  await Promise.all([member.ok('seat:request'), a.admin('PATCH', '/admin/rooms/r1/seats', { seatCount: 5 })])
  await heal()
  await expectRequests(t, [admin], '4 3')
  t.same(requestsSeenBy(other), ['4'])
  t.same(requestsSeenBy(watcher), [])
})

t.test('restores seat requests after Redis loses its data', async (t) => {
  const redis = await startRedis(t)
  const { server, owner, member, other } = await scene(t, { REDIS_URL: redis.url })
  await member.ok('seat:request')
  await expectRequests(t, [owner], '3')
  await redis.kill()
  await redis.start()
  await until(async () => (await server.app.store.readDocuments(['r1'], 'seats'))[0]?.includes('"requests":[{"userId":3,') === true)
  // Retry, because a server rejects changes for some time after a loss of data, so that other servers can publish newer
  // state first.
  await until(() => other.ok('seat:request'))
  await expectRequests(t, [owner], '3 4')
  t.equal(await askers(await server.connect('1')), '3 4')
})

onEveryStore(t, 'keeps requests while the feature is disabled', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '0', ...env })
  for (const client of [member, other]) await client.ok('seat:request')
  await expectRequests(t, [owner, admin], '3 4')
  await server.app.features.disable('seats')
  t.match((await other.request('seat:request')).error, { code: 'FEATURE_DISABLED' })
  await other.ok('room:leave')
  await server.app.features.enable('seats')
  await expectRequests(t, [owner, admin], '3')
  t.equal(await askers(member), '3')
  t.equal(await askers(other), '', 'except for the user who has left')
  await other.ok('seat:request')
  await expectRequests(t, [owner, admin], '3 4')
  t.equal(requestsSeenBy(member).length, 1)
})

t.test('after a reload, the same users receive seat requests, without new role lookups', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  backend.roles.set('r1/2', 'admin')
  const { server, owner, admin, member, other } = await scene(t, { ...backend.env, FEATURES: 'auth,seats,laravel-bridge' })
  await member.ok('seat:request')
  await expectRequests(t, [owner, admin], '3')
  const { status } = await server.admin('POST', '/admin/features/seats/reload')
  t.equal(status, 200)
  const calls = backend.calls('role')
  await other.ok('seat:request')
  await expectRequests(t, [owner, admin], '3 4')
  await quiet(server, [member])
  t.same(requestsSeenBy(member), ['3'])
  t.equal(backend.calls('role'), calls)
})

t.test('a change in a big room is sent only to the affected users', async (t) => {
  const { server, owner, admin, member } = await scene(t, {})
  const crowd = await Promise.all(Array.from({ length: 20 }, (_, i) => server.connect(100 + i)))
  for (const client of crowd) await join(client)
  const { rooms } = server.app
  const { roleOf } = rooms
  const asked: string[] = []
  rooms.roleOf = (room, session) => {
    asked.push(session.userKey)
    return roleOf(room, session)
  }
  await member.ok('seat:request')
  await expectRequests(t, [owner, admin], '3')
  rooms.roleOf = roleOf
  t.same(asked.sort(), ['1', '2'])
  await quiet(server, crowd)
  for (const client of crowd) t.same(requestsSeenBy(client), [])
})

/**
 * Creates a room whose roles come from the backend: 1 is the owner, 2 is an admin, 3 and 4 are members.
 * Member 3 has a pending seat request.
 */
async function backendRoom (t: Test) {
  const redis = await startRedis(t)
  const backend = await startBackend(t, { redisUrl: redis.url })
  backend.everyRoom = () => 1
  backend.roles.set('7/2', 'admin')
  const server = await build(t, { env: { ...backend.env, FEATURES: 'auth,seats,laravel-bridge', REDIS_URL: redis.url } })
  const [owner, admin, member, other] = [await server.connect(1), await server.connect(2), await server.connect(3), await server.connect(4)]
  for (const client of [owner, admin, member, other]) await join(client, '7')
  await member.ok('seat:request')
  await expectRequests(t, [owner, admin], '3')
  const change = async (userId: number, role: string) => {
    backend.roles.set(`7/${userId}`, role)
    await backend.publish('room.member_role_changed', { user_id: userId, room_id: 7, payload: { role } })
    await (userId === 2 ? admin : other).event('room.member_role_changed')
  }
  return { backend, server, owner, admin, member, other, change }
}

t.test('uses roles from the backend without a lookup per listener', async (t) => {
  const { backend, server, owner, admin, member, other, change } = await backendRoom(t)
  const callsFor = (userId: number) => backend.requests.filter(({ call, path }) => call === 'role' && path.endsWith(`/members/${userId}/role`)).length
  t.same([callsFor(3), callsFor(4)], [1, 1], 'each role is looked up once, at the join')

  await change(2, 'member')
  await other.ok('seat:request')
  await expectRequests(t, [owner], '3 4')
  await expectRequests(t, [admin], '')
  await member.ok('seat:request:cancel')
  await expectRequests(t, [owner], '4')
  await quiet(server, [admin, other], '7')
  t.same(requestsSeenBy(admin), ['3', ''], 'a former admin receives no events')
  t.same(requestsSeenBy(other), ['4', '4'], 'members also receive their new position')

  // A new admin receives the seat requests only after sending a command that requires the role, or after rejoining.
  await change(4, 'admin')
  await member.ok('seat:request')
  await other.ok('seat:mute', { userId: 3 }).catch(() => { /* The request fails because no user is seated, but the server has checked the sender's role. */ })
  await expectRequests(t, [other], '4 3')
  await change(2, 'admin')
  t.equal(users((await join(admin, '7')).seatRequests), '4 3')
  await member.ok('seat:request:cancel')
  await expectRequests(t, [owner, admin, other], '4')
  t.equal(callsFor(3), 1, 'the role of an ordinary member is not looked up again')
})

t.test('a slow backend does not delay joins', async (t) => {
  const { backend, server, owner, member } = await backendRoom(t)
  let lastId = 7
  const late = await until(async () => {
    const id = ++lastId
    backend.roles.set(`7/${id}`, 'admin')
    backend.fault({ call: 'role', path: `/${id}/`, kind: 'slow', ms: 1500 })
    const client = await server.connect(id)
    const { self, seatRequests } = await join(client, '7')
    // If the machine pauses, the server may reply before it knows the role, or after it has read the requests.
    return (self as { role: string }).role === 'admin' && (seatRequests as Requests).length === 0 && client
  })
  t.pass('the reply contains the confirmed state')
  await expectRequests(t, [late], '3')
  backend.mend()

  // An owner or admin whose role is already known receives the seat requests even if the backend cannot confirm the
  // role.
  await backend.stop()
  await member.ok('seat:request:cancel')
  await expectRequests(t, [owner, late], '')
  const again = await server.connect(3)
  const passed = stopwatch()
  await join(again, '7')
  t.ok(passed() < 4000)
})

t.test('a demoted admin sees only their own request once a slow backend confirms the new role', async (t) => {
  const { backend, owner, admin, other, change } = await backendRoom(t)
  await change(2, 'member')
  backend.fault({ call: 'role', path: '/2/', kind: 'slow', ms: 1500 })
  await other.ok('seat:request')
  await expectRequests(t, [owner], '3 4')
  await expectRequests(t, [admin], '')
})

onEveryStore(t, 'hands that are raised at the same time are sent together', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats', ...env } })
  const owner = await server.connect('owner')
  await join(owner)
  const members = await Promise.all(Array.from({ length: 30 }, (_, i) => server.connect(i)))
  for (const member of members) await join(member)
  for (const member of members) await member.ok('seat:request')
  const all = members.map((_, i) => String(i)).join(' ')
  await expectRequests(t, [owner], all)
  const count = requestsSeenBy(owner).length
  t.ok(count < 30, `${count} events for 30 changes`)
  await members[0]?.ok('seat:request:cancel')
  await expectRequests(t, [owner], all.slice(2))
  const positionOf = ({ events }: TestClient) => (events.findLast(({ type }) => type === 'seat:requests')?.data.requests as Requests)[0]?.position
  for (const [i, member] of members.entries()) await until(() => positionOf(member) === (i === 0 ? undefined : i))
})

onEveryStore(t, 'after a reload, members receive the changes that the previous generation had not sent yet', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats', ...env } })
  const owner = await server.connect('owner')
  await join(owner)
  const members = await Promise.all(Array.from({ length: 20 }, (_, i) => server.connect(i)))
  for (const member of members) await join(member)
  for (const member of members) await member.ok('seat:request')
  t.equal((await server.admin('POST', '/admin/features/seats/reload')).status, 200)
  await expectRequests(t, [owner], members.map((_, i) => String(i)).join(' '))
})
