import t from 'tap'
import { onBothStores, onEveryStore, build } from '../support/build.ts'
import { emptyArray } from '../support/empty-array.ts'
import { until } from '../support/retry.ts'

onBothStores(t, 'creates a room, announces its members and closes the room', async (t, env) => {
  const server = await build(t, { env: { EMPTY_ROOM_SECONDS: '0', ...env } })
  const ada = await server.connect(1)
  const bob = await server.connect('b-2')

  const joined = await ada.ok('room:join', { roomId: 'r1', seatCount: 4 })
  t.match(joined, {
    roomId: 'r1',
    self: { userId: 1, role: 'owner' },
    ownerId: 1,
    participantCount: 1,
    participants: [{ userId: 1, name: 'User 1' }],
    rtpCapabilities: { codecs: [{ mimeType: 'audio/opus' }] },
    existingProducers: emptyArray
  })
  const second = await bob.ok('room:join', { roomId: 'r1' })
  t.match(second, { self: { userId: 'b-2', role: 'member' }, ownerId: 1, participantCount: 2 })
  t.match(await ada.event('room:userJoined'), { roomId: 'r1', user: { id: 'b-2', name: 'User b-2' } })
  // Count only the events about Bob's join, because the event about Ada's join may also reach Bob.
  t.equal(bob.events.filter(({ type, data }) => type === 'room:userJoined' && data.userId === 'b-2').length, 0, 'users do not receive their own join')

  t.same(await ada.ok('user:getRoom', { userId: 'b-2' }), { roomId: 'r1' })
  t.same(await ada.ok('user:getRoom', { userId: 99 }), { roomId: null })

  t.same(await bob.ok('room:leave'), {})
  t.same(await ada.event('room:userLeft'), { roomId: 'r1', userId: 'b-2' })
  t.equal(await bob.fails('room:leave'), 'NOT_IN_ROOM')

  await bob.ok('room:join', { roomId: 'r1' })
  await bob.close()
  t.same(await ada.event('room:userLeft'), { roomId: 'r1', userId: 'b-2' }, 'a lost connection counts as a leave')

  await ada.ok('room:leave', { roomId: 'r1' })
  await until(async () => (await server.admin('GET', '/admin/rooms/r1')).status === 404)
})

onEveryStore(t, 'joining a second room leaves the first', async (t, env) => {
  const server = await build(t, { env })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  await ada.ok('room:join', { roomId: 'r1' })
  await bob.ok('room:join', { roomId: 'r1' })
  await bob.ok('room:join', { roomId: 'r2' })
  t.same(await ada.event('room:userLeft'), { roomId: 'r1', userId: 2 })
  t.equal(await bob.fails('transport:create', { roomId: 'r1', type: 'producer' }), 'NOT_IN_ROOM')

  await ada.ok('room:join', { roomId: 'locked', pin: '1234' })
  t.equal(await bob.fails('room:join', { roomId: 'locked' }), 'PIN_REQUIRED')
  t.same(await ada.ok('user:getRoom', { userId: 2 }), { roomId: 'r2' }, 'a rejected user stays in the current room')
  await bob.ok('room:leave', { roomId: 'r2' })
})

onEveryStore(t, 'a user with two sockets is one participant', async (t, env) => {
  const server = await build(t, { env })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const [phone, laptop] = [await server.connect(2), await server.connect('2')]
  await phone.ok('room:join', { roomId: 'r1' })
  t.match(await laptop.ok('room:join', { roomId: 'r1' }), { participantCount: 2 })
  await phone.close()
  await laptop.flush()
  t.match(await server.admin('GET', '/admin/rooms/r1'), { status: 200, body: { participantCount: 2 } })
  await laptop.close()
  await ada.event('room:userLeft')
  t.equal(ada.events.filter((event) => event.type === 'room:userJoined').length, 1)
})
