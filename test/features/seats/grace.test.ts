import t from 'tap'
import { unavailable } from '../../../plugins/errors/codes.ts'
import { onBothStores, onEveryStore } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { clocksDifferMs, isSince } from '../../support/pace.ts'
import { until } from '../../support/retry.ts'
import { produce, scene, seatsOf, seatEvents } from './scene.ts'
import { follow } from './view.ts'

// With this long grace period, a test times out if the server does not clear a seat immediately.
const anHour = { SEAT_GRACE_SECONDS: '3600' }

/**
 * Waits until a disconnected user's seat is reserved.
 *
 * @returns when the grace period ends
 */
const away = (server: TestServer, userId: unknown) => until(async () => {
  const seat = (await seatsOf(server)).seats.find((seat) => seat.userId === userId)
  return seat?.awayUntil ?? false
})

onBothStores(t, 'reserves the seat of a user whose connection breaks', async (t, env) => {
  const { server, owner, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '60', ...env })
  await member.ok('seat:take', { seatIndex: 2 })
  await owner.ok('seat:mute', { userId: 3 })
  const producerId = await produce(member)
  await other.event('audio:newProducer')

  const before = Date.now()
  member.ws.terminate()
  await owner.event('room:userLeft')
  const end = await away(server, 3)
  t.ok(isSince(before, end - 60_000), 'the seat is reserved for the configured time')
  t.same(await other.event('audio:producerClosed'), { roomId: 'r1', producerId, userId: 3, source: 'voice' }, 'only the seat is kept, not the producer')
  t.equal(await other.fails('seat:take', { seatIndex: 2 }), 'SEAT_TAKEN', 'other users cannot take the seat')

  const again = await server.connect(3)
  t.match(await again.ok('room:join', { roomId: 'r1' }), { seats: [{ seatIndex: 2, userId: 3, isMuted: true }] }, 'the same seat with the same mutes')
  await until(async () => (await seatsOf(server)).seats[0]?.awayUntil === null)
  t.equal(server.app.sfu.producersOf('r1').length, 0)
  await produce(again)
  t.match(server.app.sfu.producersOf('r1'), [{ userId: 3, isPaused: true }])
  t.same(await again.ok('seat:leave'), { seatIndex: 2 })
  for (const client of [owner, other]) {
    await client.event('seat:cleared')
    t.same(seatEvents(client), ['updated 2 3 false', 'userMuted 3 true false', 'cleared 2 3 left'], 'no event is sent')
  }
})

onEveryStore(t, 'clears the seat after the grace period and notifies everyone', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '1', ...env })
  await member.ok('seat:take', { seatIndex: 0 })
  await other.ok('seat:take', { seatIndex: 1 })
  const before = Date.now()
  member.ws.terminate()
  for (const client of [owner, admin, other]) t.same(await client.event('seat:cleared'), { roomId: 'r1', seatIndex: 0, userId: 3, reason: 'disconnected' })
  t.ok(Date.now() - before >= 1000 - clocksDifferMs, 'the seat is not cleared before the end of the grace period')
  t.match((await seatsOf(server)).seats, [{ seatIndex: 1, userId: '4', awayUntil: null }], 'other seats are kept')

  const again = await server.connect(3)
  t.match(await again.ok('room:join', { roomId: 'r1' }), { seats: [{ seatIndex: 1, userId: '4', isMuted: false }] })
  t.equal(await again.fails('seat:leave'), 'NOT_SEATED')
  await other.ok('seat:take', { seatIndex: 0 })
  await owner.event('seat:updated', ({ seatIndex, userId }) => seatIndex === 0 && userId === '4')
  t.same(seatEvents(owner), ['updated 0 3 false', 'updated 1 4 false', 'cleared 0 3 disconnected', 'cleared 1 4 moved', 'updated 0 4 false'], 'once')
})

onEveryStore(t, 'each broken connection restarts the grace period', async (t, env) => {
  const { server, owner, member } = await scene(t, { ...anHour, ...env })
  await member.ok('seat:take', { seatIndex: 0 })
  member.ws.terminate()
  const first = await away(server, 3)
  const again = await server.connect(3)
  await again.ok('room:join', { roomId: 'r1' })
  again.ws.terminate()
  await until(async () => await away(server, 3) > first)
  await owner.flush()
  t.same(seatEvents(owner), ['updated 0 3 false'])
})

onEveryStore(t, 'a user who returns before the grace period is stored keeps the seat', async (t, env) => {
  const { server, member } = await scene(t, { ...anHour, ...env })
  await member.ok('seat:take', { seatIndex: 0 })
  const { store } = server.app
  const [held, returned, stored] = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const swap = store.swapDocument.bind(store)
  store.swapDocument = async (request) => {
    if (request.name !== 'seats') return await swap(request)
    store.swapDocument = swap
    held.resolve()
    await returned.promise
    return await swap(request).finally(stored.resolve)
  }
  member.ws.terminate()
  await held.promise
  await (await server.connect(3)).ok('room:join', { roomId: 'r1' })
  returned.resolve()
  await stored.promise
  await until(async () => (await seatsOf(server)).seats[0]?.awayUntil === null)
  t.match((await seatsOf(server)).seats, [{ seatIndex: 0, userId: 3 }])
})

onEveryStore(t, 'leaving releases the seat immediately', async (t, env) => {
  const { server, owner, member, other } = await scene(t, { ...anHour, ...env })
  await member.ok('seat:take', { seatIndex: 0 })
  await other.ok('seat:take', { seatIndex: 1 })
  await member.ok('room:leave')
  t.same(await owner.event('seat:cleared'), { roomId: 'r1', seatIndex: 0, userId: 3, reason: 'left' })

  // If a user reconnects and then leaves, the reserved seat is also released.
  other.ws.terminate()
  await away(server, '4')
  const again = await server.connect('4')
  await again.ok('room:join', { roomId: 'r1' })
  await again.ok('room:join', { roomId: 'r2' })
  t.same(await owner.event('seat:cleared'), { roomId: 'r1', seatIndex: 1, userId: '4', reason: 'left' })
  t.same((await seatsOf(server)).seats, [])
})

onEveryStore(t, 'a kicked or banned user has no reserved seat', async (t, env) => {
  const { server, owner, member, other } = await scene(t, { ...anHour, ...env })
  const kick = (userId: unknown, banSeconds?: number) => server.admin('POST', '/admin/rooms/r1/kick', { userId, banSeconds })
  await member.ok('seat:take', { seatIndex: 0 })
  await other.ok('seat:take', { seatIndex: 1 })
  t.equal((await kick(3)).status, 204)
  t.same(await owner.event('seat:cleared'), { roomId: 'r1', seatIndex: 0, userId: 3, reason: 'removed' })
  const again = await server.connect(3)
  t.match(await again.ok('room:join', { roomId: 'r1' }), { seats: [{ seatIndex: 1, userId: '4' }] })

  // A kick also removes the reserved seat of a user who is disconnected.
  await again.ok('seat:take', { seatIndex: 2 })
  again.ws.terminate()
  await away(server, 3)
  t.equal((await kick(3)).status, 204)
  t.same(await owner.event('seat:cleared'), { roomId: 'r1', seatIndex: 2, userId: 3, reason: 'removed' })

  t.equal((await kick('4', 3600)).status, 204)
  t.same(await owner.event('seat:cleared'), { roomId: 'r1', seatIndex: 1, userId: '4', reason: 'removed' })
  t.equal(await (await server.connect('4')).fails('room:join', { roomId: 'r1' }), 'BANNED')
  t.same((await seatsOf(server)).seats, [])
})

onEveryStore(t, 'a reserved seat can be assigned to another user', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, { ...anHour, ...env })
  await member.ok('seat:take', { seatIndex: 0 })
  await admin.ok('seat:take', { seatIndex: 1 })
  member.ws.terminate()
  admin.ws.terminate()
  await away(server, 3)
  await away(server, 2)
  await owner.ok('seat:assign', { userId: 4, seatIndex: 0 })
  await owner.ok('seat:remove', { userId: 2 })
  await other.event('seat:cleared', ({ userId }) => userId === 2)
  t.same(seatEvents(other).slice(2), ['cleared 0 3 removed', 'updated 0 4 false', 'cleared 1 2 removed'])
  const again = await server.connect(3)
  t.match(await again.ok('room:join', { roomId: 'r1' }), { seats: [{ seatIndex: 0, userId: '4', isMuted: false }] })
  t.equal(await again.fails('seat:take', { seatIndex: 0 }), 'SEAT_TAKEN')
})

onEveryStore(t, 'seats end with their room', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '1', ...env })
  await member.ok('seat:take', { seatIndex: 0 })
  await other.ok('seat:take', { seatIndex: 1 })
  await owner.ok('seat:lock', { seatIndex: 3 })
  member.ws.terminate()
  await away(server, 3)
  t.equal((await server.admin('POST', '/admin/rooms/r1/close')).status, 204)
  for (const client of [owner, admin, other]) await client.event('room:closed')

  const again = await server.connect(3)
  for (const client of [owner, again]) t.match(await client.ok('room:join', { roomId: 'r1', seatCount: 4 }), { seatCount: 4, seats: emptyArray, lockedSeats: emptyArray })
  t.equal(await other.fails('seat:leave'), 'NOT_IN_ROOM')
  t.equal(await again.fails('seat:leave'), 'NOT_SEATED')
  await again.ok('seat:take', { seatIndex: 0 })
  await admin.ok('room:join', { roomId: 'r1' })
  await admin.ok('seat:take', { seatIndex: 1 })
  admin.ws.terminate()
  t.match(await owner.event('seat:cleared', ({ userId }) => userId === 2), { seatIndex: 1, reason: 'disconnected' })
  t.match((await seatsOf(server)).seats, [{ seatIndex: 0, userId: 3, awayUntil: null }])
})

onEveryStore(t, 'a user with two sockets keeps the seat until both are closed', async (t, env) => {
  const { server, owner, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '0', ...env })
  await member.ok('seat:take', { seatIndex: 0 })
  await other.ok('seat:take', { seatIndex: 1 })
  const phone = await server.connect('3')
  const { view } = await follow(phone)
  member.ws.terminate()
  await until(async () => ((await server.admin('GET', '/admin/users/3')).body?.sockets as object[]).length === 1)
  // If the server wrongly cleared seat 0, it would do so before it clears seat 1.
  other.ws.terminate()
  t.same(await phone.event('seat:cleared'), { roomId: 'r1', seatIndex: 1, userId: '4', reason: 'disconnected' })
  t.same(view().seats, ['0: 3'])
  t.match((await seatsOf(server)).seats, [{ seatIndex: 0, awayUntil: null }])
  t.same(await phone.ok('seat:leave'), { seatIndex: 0 })

  // The seat is cleared although the user has another connection, because that connection has not joined the room.
  await server.connect(3)
  await phone.ok('seat:take', { seatIndex: 2 })
  phone.ws.terminate()
  t.same(await owner.event('seat:cleared', ({ seatIndex }) => seatIndex === 2), { roomId: 'r1', seatIndex: 2, userId: 3, reason: 'disconnected' })
})

onEveryStore(t, 'a newer login takes over the seat', async (t, env) => {
  const { server, owner, member } = await scene(t, { ...anHour, SINGLE_SESSION: 'true', ...env })
  await member.ok('seat:take', { seatIndex: 1 })
  const newer = await server.connect(3)
  t.match(await member.closed, { code: 4409 })
  t.match(await newer.ok('room:join', { roomId: 'r1' }), { seats: [{ seatIndex: 1, userId: 3 }] })
  await until(async () => (await seatsOf(server)).seats[0]?.awayUntil === null)
  t.same(await newer.ok('seat:leave'), { seatIndex: 1 })
  await owner.event('seat:cleared')
  t.same(seatEvents(owner), ['updated 1 3 false', 'cleared 1 3 left'])
})

/**
 * Makes the next job that would end a grace period fail. The server stores such a job and the grace period at the same
 * time, but only one of them may reach the store.
 *
 * @param fail called instead of storing the job
 */
function loseWakeUp ({ app: { jobs } }: TestServer, fail: () => void): void {
  const schedule = jobs.schedule.bind(jobs)
  jobs.schedule = async (name, ...job) => {
    if (name !== 'document:seats') return await schedule(name, ...job)
    jobs.schedule = schedule
    fail()
  }
}

onEveryStore(t, 'clears the seat even if the connection to the store breaks when the grace period starts', async (t, env) => {
  const { server, owner, member } = await scene(t, { SEAT_GRACE_SECONDS: '0', ...env })
  await member.ok('seat:take', { seatIndex: 0 })
  loseWakeUp(server, () => { throw unavailable('The connection broke') })
  member.ws.terminate()
  t.match(await owner.event('seat:cleared'), { seatIndex: 0, userId: 3, reason: 'disconnected' })
})

onEveryStore(t, 'clears the seat when a user joins, even if the server was killed when the grace period started', async (t, env) => {
  const { server, all, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '0', ...env })
  await member.ok('seat:take', { seatIndex: 0 })
  for (const client of all) if (client !== member) await client.ok('room:leave')
  const lost = Promise.withResolvers<void>()
  loseWakeUp(server, lost.resolve)
  member.ws.terminate()
  await lost.promise
  await other.ok('room:join', { roomId: 'r1' })
  t.match(await other.event('seat:cleared'), { seatIndex: 0, userId: 3, reason: 'disconnected' })
})
