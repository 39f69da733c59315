import t from 'tap'
import { onBothStores, onEveryStore } from '../../support/build.ts'
import { scene, seatsOf, seatEvents } from './scene.ts'
import { follow } from './view.ts'
import { emptyArray } from '../../support/empty-array.ts'

onBothStores(t, 'takes and leaves a seat and notifies everyone', async (t, env) => {
  const { server, member, other, all } = await scene(t, env)
  t.same(await member.ok('seat:take', { seatIndex: 2 }), { seatIndex: 2 })
  for (const client of all) t.same(await client.event('seat:updated'), { roomId: 'r1', seatIndex: 2, userId: 3, isMuted: false })
  t.same((await seatsOf(server)).seats, [{ seatIndex: 2, userId: 3, isMuted: false, selfMuted: false, awayUntil: null }])

  t.equal(await other.fails('seat:take', { seatIndex: 2 }), 'SEAT_TAKEN')
  t.same(await other.ok('seat:take', { seatIndex: 0 }), { seatIndex: 0 })
  for (const client of all) t.same(await client.event('seat:updated'), { roomId: 'r1', seatIndex: 0, userId: '4', isMuted: false })

  t.same(await member.ok('seat:leave'), { seatIndex: 2 })
  for (const client of all) t.same(await client.event('seat:cleared'), { roomId: 'r1', seatIndex: 2, userId: 3, reason: 'left' })
  t.equal(await member.fails('seat:leave'), 'NOT_SEATED')
  t.same(await other.ok('seat:take', { seatIndex: 2 }), { seatIndex: 2 })
})

onEveryStore(t, 'taking another seat leaves the previous one', async (t, env) => {
  const { member, all } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  await member.ok('seat:take', { seatIndex: 3 })
  await member.flush()
  for (const client of all) {
    await client.event('seat:updated', ({ seatIndex }) => seatIndex === 3)
    t.same(seatEvents(client), ['updated 0 3 false', 'cleared 0 3 moved', 'updated 3 3 false'], 'the old seat is cleared first')
  }
  t.same(await member.ok('seat:take', { seatIndex: 3 }), { seatIndex: 3 }, "taking one's own seat succeeds")
  await member.flush()
  t.equal(seatEvents(member).length, 3, 'no event is repeated')
})

onEveryStore(t, 'a join returns the occupants', async (t, env) => {
  const { server, owner, member, other } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 3 })
  await other.ok('seat:take', { seatIndex: 1 })
  await owner.ok('seat:mute', { userId: 3 })
  await owner.ok('seat:lock', { seatIndex: 0 })
  await owner.ok('seat:invite', { userId: '4', seatIndex: 2 })
  const eve = await server.connect(5)
  t.match(await eve.ok('room:join', { roomId: 'r1', seatCount: 9 }), {
    seatCount: 4,
    seats: [{ seatIndex: 1, userId: '4', isMuted: false }, { seatIndex: 3, userId: 3, isMuted: true }],
    lockedSeats: [0],
    pendingInvites: [{ seatIndex: 2, invitedUserId: '4' }]
  })
  t.match(await eve.ok('room:join', { roomId: 'r2' }), { seatCount: 15, seats: emptyArray, lockedSeats: emptyArray, pendingInvites: emptyArray })
})

onEveryStore(t, 'leaving the room releases the seat', async (t, env) => {
  const { owner, member, other } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  await other.ok('seat:take', { seatIndex: 1 })
  await member.ok('room:leave')
  t.same(await owner.event('seat:cleared'), { roomId: 'r1', seatIndex: 0, userId: 3, reason: 'left' })
  await other.ok('room:join', { roomId: 'r2' })
  t.same(await owner.event('seat:cleared'), { roomId: 'r1', seatIndex: 1, userId: '4', reason: 'left' })
  t.match(await member.ok('room:join', { roomId: 'r1' }), { seats: emptyArray })
})

onBothStores(t, 'a user who disconnects while taking a seat does not keep the seat', async (t, env) => {
  const { server, owner, other } = await scene(t, { SEAT_GRACE_SECONDS: '0', ...env })
  for (let round = 0; round < 10; round++) {
    const eve = await server.connect(`eve${round}`)
    await eve.ok('room:join', { roomId: 'r1' })
    // Concurrent changes force the command to retry its write.
    const noise = Promise.all([other.ok('seat:take', { seatIndex: 1 }), owner.ok('seat:take', { seatIndex: 2 })])
    eve.send({ type: 'seat:take', data: { seatIndex: 0 } })
    if (round % 2) eve.ws.terminate()
    else eve.send({ type: 'room:leave' })
    await noise
    await owner.event('room:userLeft', ({ userId }) => userId === `eve${round}`)
    await Promise.all([other.ok('seat:leave'), owner.ok('seat:leave')])
  }
  const eve = await server.connect('eve')
  const { view } = await follow(eve)
  // The seat is released when the grace period ends, even if no user sends a request.
  while (view().seats.length > 0) await eve.event('seat:cleared')
  t.same((await seatsOf(server)).seats, [])
})

onEveryStore(t, 'a user with two sockets has one seat', async (t, env) => {
  const { server, owner, member } = await scene(t, env)
  const phone = await server.connect('3')
  await phone.ok('room:join', { roomId: 'r1' })
  await member.ok('seat:take', { seatIndex: 0 })
  t.same(await phone.ok('seat:take', { seatIndex: 0 }), { seatIndex: 0 }, 'the seat belongs to the user')
  await phone.ok('seat:take', { seatIndex: 1 })
  t.match(await owner.event('seat:cleared'), { seatIndex: 0, reason: 'moved' })
  await member.ok('room:leave')
  t.match((await seatsOf(server)).seats, [{ seatIndex: 1 }], 'the seat is kept while one socket remains')
  t.same(await phone.ok('seat:leave'), { seatIndex: 1 })
  await phone.ok('seat:take', { seatIndex: 1 })
  await phone.ok('room:leave')
  t.match(await owner.event('seat:cleared', ({ reason }) => reason === 'left'), { seatIndex: 1 })
})
