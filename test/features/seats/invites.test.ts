import t from 'tap'
import { build, onEveryStore } from '../../support/build.ts'
import { isSince } from '../../support/pace.ts'
import { redisDatabase } from '../../support/redis.ts'
import { hurry, scene, seatsOf, seatEvents } from './scene.ts'
import { follow } from './view.ts'

onEveryStore(t, 'announces and accepts an invite', async (t, env) => {
  const { server, admin, member, all } = await scene(t, env)
  const phone = await server.connect('3')
  const before = Date.now()
  t.same(await admin.ok('seat:invite', { userId: '3', seatIndex: 1 }), { seatIndex: 1 })
  for (const client of all) t.same(await client.event('seat:invite:pending'), { roomId: 'r1', seatIndex: 1, isPending: true, invitedUserId: 3 })
  for (const client of [member, phone]) {
    const received = await client.event('seat:invite:received')
    t.match(received, { roomId: 'r1', seatIndex: 1, invitedById: 2 })
    const end = Number(received.expiresAt)
    t.ok(isSince(before, end - 30_000))
  }
  t.match((await seatsOf(server)).invites, [{ seatIndex: 1, userId: 3, invitedById: 2, expiresAt: Number }])

  t.same(await member.ok('seat:invite:accept', { seatIndex: 1 }), { seatIndex: 1 })
  for (const client of all) {
    await client.event('seat:updated')
    t.same(seatEvents(client).filter((text) => !text.startsWith('invite:received')), ['invite:pending 1 true 3', 'invite:pending 1 false 3', 'updated 1 3 false'])
  }
  t.equal(await member.fails('seat:invite:accept'), 'INVITE_NOT_FOUND')
  for (const client of all.filter((client) => client !== member)) t.equal(client.events.some(({ type }) => type === 'seat:invite:received'), false, 'only the invited user receives the invite')
})

onEveryStore(t, 'accepting an invite unlocks the seat and releases the previous one', async (t, env) => {
  const { owner, member, other } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  await owner.ok('seat:lock', { seatIndex: 2 })
  await owner.ok('seat:invite', { userId: 3, seatIndex: 2 })
  t.same(await member.ok('seat:invite:accept'), { seatIndex: 2 })
  await other.event('seat:updated', ({ seatIndex }) => seatIndex === 2)
  t.same(seatEvents(other), ['updated 0 3 false', 'locked 2 true', 'invite:pending 2 true 3', 'invite:pending 2 false 3', 'locked 2 false', 'cleared 0 3 moved', 'updated 2 3 false'])
})

onEveryStore(t, 'declines an invite', async (t, env) => {
  const { owner, member, other, all } = await scene(t, env)
  await owner.ok('seat:invite', { userId: 3, seatIndex: 2 })
  t.equal(await other.fails('seat:invite:decline', { seatIndex: 2 }), 'INVITE_NOT_FOUND', 'the invite belongs to another user')
  t.equal(await other.fails('seat:invite:accept', { seatIndex: 2 }), 'INVITE_NOT_FOUND')
  t.equal(await member.fails('seat:invite:decline', { seatIndex: 1 }), 'INVITE_NOT_FOUND')
  t.same(await member.ok('seat:invite:decline'), { seatIndex: 2 })
  for (const client of all) t.same(await client.event('seat:invite:pending', ({ isPending }) => isPending === false), { roomId: 'r1', seatIndex: 2, isPending: false, invitedUserId: 3 })
  t.equal(await member.fails('seat:invite:accept'), 'INVITE_NOT_FOUND')
  await owner.ok('seat:invite', { userId: 3, seatIndex: 2 })
})

onEveryStore(t, 'allows only one invite per free seat, and only for users in the room', async (t, env) => {
  const { server, owner, admin, other } = await scene(t, env)
  await other.ok('seat:take', { seatIndex: 0 })
  t.equal(await owner.fails('seat:invite', { userId: 3, seatIndex: 0 }), 'SEAT_TAKEN')
  t.equal(await owner.fails('seat:invite', { userId: 1, seatIndex: 1 }), 'CANNOT_TARGET_SELF')
  t.equal(await owner.fails('seat:invite', { userId: 99, seatIndex: 1 }), 'NOT_IN_ROOM')
  await server.connect(5)
  t.equal(await owner.fails('seat:invite', { userId: 5, seatIndex: 1 }), 'NOT_IN_ROOM')
  await owner.ok('seat:invite', { userId: 3, seatIndex: 1 })
  t.equal(await admin.fails('seat:invite', { userId: '4', seatIndex: 1 }), 'INVITE_PENDING')
  t.equal(await admin.fails('seat:invite', { userId: 3, seatIndex: 1 }), 'INVITE_PENDING')
  await admin.ok('seat:invite', { userId: 3, seatIndex: 2 })
})

onEveryStore(t, 'an invite ends when the seat is taken or the invited user leaves', async (t, env) => {
  const { server, owner, member, other } = await scene(t, env)
  await owner.ok('seat:invite', { userId: 3, seatIndex: 1 })
  await owner.ok('seat:invite', { userId: 3, seatIndex: 2 })
  await other.ok('seat:take', { seatIndex: 1 })
  t.match(await owner.event('seat:invite:pending', ({ isPending }) => isPending === false), { seatIndex: 1, invitedUserId: 3 })
  t.equal(await member.fails('seat:invite:accept', { seatIndex: 1 }), 'INVITE_NOT_FOUND')
  await member.ok('room:leave')
  t.match(await owner.event('seat:invite:pending', ({ isPending }) => isPending === false), { seatIndex: 2, invitedUserId: 3 })
  t.same((await seatsOf(server)).invites, [])
})

onEveryStore(t, 'announces expired invites', async (t, env) => {
  const { server, owner, member, other, all } = await scene(t, env)
  await owner.ok('seat:invite', { userId: 3, seatIndex: 1 })
  await owner.ok('seat:invite', { userId: 4, seatIndex: 2 })
  // Shorten the invite's lifetime of 30 s.
  await hurry(server, 300)
  for (const client of all) {
    for (const [seatIndex, invitedUserId] of [[1, 3], [2, '4']]) {
      t.same(await client.event('seat:invite:pending', (data) => data.isPending === false && data.seatIndex === seatIndex), { roomId: 'r1', seatIndex, isPending: false, invitedUserId })
    }
  }
  for (const client of [member, other]) t.equal(await client.fails('seat:invite:accept'), 'INVITE_NOT_FOUND')
  await owner.ok('seat:invite', { userId: 4, seatIndex: 1 })
})

t.test('an invite reaches the user on another server and in another room', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const [owner, member, laptop] = [await a.connect(1), await b.connect(3), await b.connect('3')]
  await owner.ok('room:join', { roomId: 'r1' })
  const { view } = await follow(member)
  await laptop.ok('room:join', { roomId: 'r2' })
  await owner.ok('seat:invite', { userId: '3', seatIndex: 1 })
  for (const client of [member, laptop]) t.match(await client.event('seat:invite:received'), { roomId: 'r1', seatIndex: 1, invitedById: 1 })
  t.same(view().invites, ['1: 3'])
  t.equal(await laptop.fails('seat:invite:accept'), 'INVITE_NOT_FOUND', 'no invite in that room')
  await member.ok('seat:invite:accept')
  t.match(await owner.event('seat:updated'), { seatIndex: 1, userId: 3 })
})
