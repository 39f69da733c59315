import t from 'tap'
import { onEveryStore } from '../../support/build.ts'
import { scene, seatsOf, seatEvents } from './scene.ts'

onEveryStore(t, 'a locked seat cannot be taken', async (t, env) => {
  const { server, owner, admin, member, all } = await scene(t, env)
  t.same(await owner.ok('seat:lock', { seatIndex: 1 }), { seatIndex: 1 })
  for (const client of all) t.same(await client.event('seat:locked'), { roomId: 'r1', seatIndex: 1, isLocked: true })
  for (const client of all) t.equal(await client.fails('seat:take', { seatIndex: 1 }), 'SEAT_LOCKED', 'not even the owner can take a locked seat')
  t.equal(await owner.fails('seat:assign', { userId: 3, seatIndex: 1 }), 'SEAT_LOCKED')
  t.equal(await admin.fails('seat:lock', { seatIndex: 1 }), 'SEAT_ALREADY_LOCKED')
  t.same((await seatsOf(server)).lockedSeats, [1])

  t.same(await admin.ok('seat:unlock', { seatIndex: 1 }), { seatIndex: 1 })
  for (const client of all) t.same(await client.event('seat:locked'), { roomId: 'r1', seatIndex: 1, isLocked: false })
  t.equal(await owner.fails('seat:unlock', { seatIndex: 1 }), 'SEAT_NOT_LOCKED')
  await member.ok('seat:take', { seatIndex: 1 })
})

onEveryStore(t, 'locks the seat and removes its occupant', async (t, env) => {
  const { admin, member, other, all } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 2 })
  await other.ok('seat:take', { seatIndex: 3 })
  await admin.ok('seat:lock', { seatIndex: 2 })
  for (const client of all) {
    await client.event('seat:locked')
    t.same(seatEvents(client), ['updated 2 3 false', 'updated 3 4 false', 'cleared 2 3 locked', 'locked 2 true'])
  }
  t.equal(await member.fails('seat:leave'), 'NOT_SEATED')
  t.same(await other.ok('seat:leave'), { seatIndex: 3 })
})
