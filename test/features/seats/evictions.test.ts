import t from 'tap'
import { onEveryStore } from '../../support/build.ts'
import { isSince } from '../../support/pace.ts'
import { until } from '../../support/retry.ts'
import { hurry, scene, seatsOf, seatEvents } from './scene.ts'

onEveryStore(t, 'the owner assigns a seat', async (t, env) => {
  const { server, owner, member, all } = await scene(t, env)
  t.same(await owner.ok('seat:assign', { userId: '3', seatIndex: 2 }), { seatIndex: 2 })
  for (const client of all) t.same(await client.event('seat:updated'), { roomId: 'r1', seatIndex: 2, userId: 3, isMuted: false }, 'the event contains the id from the token')
  t.same(await owner.ok('seat:assign', { userId: 3, seatIndex: 2 }), { seatIndex: 2 }, 'repeating has no effect')
  await owner.ok('seat:assign', { userId: 3, seatIndex: 0 })
  for (const client of all) {
    await client.event('seat:updated')
    t.same(seatEvents(client), ['updated 2 3 false', 'cleared 2 3 moved', 'updated 0 3 false'], 'the previous seat is cleared')
  }
  await owner.ok('seat:assign', { userId: 1, seatIndex: 1 })
  t.match((await seatsOf(server)).seats, [{ seatIndex: 0, userId: 3 }, { seatIndex: 1, userId: 1 }])
  t.same(await member.ok('seat:leave'), { seatIndex: 0 })
})

onEveryStore(t, 'assigning a seat removes its current occupant', async (t, env) => {
  const { owner, member, other, all } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  await owner.ok('seat:assign', { userId: 4, seatIndex: 0 })
  for (const client of all) {
    await client.event('seat:updated', ({ userId }) => userId === '4')
    t.same(seatEvents(client), ['updated 0 3 false', 'cleared 0 3 removed', 'updated 0 4 false'])
  }
  t.equal(await member.fails('seat:leave'), 'NOT_SEATED')
  await other.ok('seat:leave')
})

onEveryStore(t, 'an assigned user must be in the room', async (t, env) => {
  const { server, owner, member, other } = await scene(t, env)
  t.equal(await owner.fails('seat:assign', { userId: 99, seatIndex: 0 }), 'NOT_IN_ROOM')
  const before = Date.now()
  await owner.ok('seat:assign', { userId: 3, seatIndex: 0 })
  const { seats: [seat] } = await seatsOf(server)
  t.ok(isSince(before, (seat?.awayUntil ?? 0) - 5000), 'the user may have left concurrently and is checked again')
  // The server checks 5 s after the assignment that the assigned user is present. Shorten this time.
  await hurry(server, 200)
  await until(async () => (await seatsOf(server)).seats[0]?.awayUntil === null)
  await other.flush()
  t.same(seatEvents(other), ['updated 0 3 false'], 'a present user keeps the seat')
  t.same(await member.ok('seat:leave'), { seatIndex: 0 })
})

onEveryStore(t, 'removes a user from a seat', async (t, env) => {
  const { owner, admin, member, other, all } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  await other.ok('seat:take', { seatIndex: 1 })
  t.same(await owner.ok('seat:remove', { userId: '3' }), { userId: 3 }, 'the reply contains the id from the token')
  for (const client of all) t.same(await client.event('seat:cleared'), { roomId: 'r1', seatIndex: 0, userId: 3, reason: 'removed' })
  t.equal(await owner.fails('seat:remove', { userId: 3 }), 'NOT_SEATED')
  t.same(await admin.ok('seat:remove', { userId: 4 }), { userId: '4' })
  for (const client of all) t.same(await client.event('seat:cleared'), { roomId: 'r1', seatIndex: 1, userId: '4', reason: 'removed' })
  await member.ok('seat:take', { seatIndex: 0 })
})
