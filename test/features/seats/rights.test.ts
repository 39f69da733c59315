import t from 'tap'
import type { Test } from 'tap'
import { onEveryStore } from '../../support/build.ts'
import { scene, seatsOf, seatEvents } from './scene.ts'

/** Requests that only an owner or an admin is allowed to send, with valid data. */
const privileged = {
  'seat:assign': { userId: 3, seatIndex: 3 },
  'seat:lock': { seatIndex: 3 },
  'seat:unlock': { seatIndex: 2 },
  'seat:mute': { userId: 3 },
  'seat:unmute': { userId: 3 },
  'seat:invite': { userId: 3, seatIndex: 3 },
  'seat:remove': { userId: 3 }
}

/** Creates a room in which the owner has seat 0, a member has seat 1, and seat 2 is locked. */
async function seated (t: Test, env: Record<string, string>) {
  const room = await scene(t, env)
  await room.owner.ok('seat:take', { seatIndex: 0 })
  await room.member.ok('seat:take', { seatIndex: 1 })
  await room.owner.ok('seat:lock', { seatIndex: 2 })
  return room
}

onEveryStore(t, 'a member cannot send privileged commands', async (t, env) => {
  const { server, owner, other } = await seated(t, env)
  const before = await seatsOf(server)
  await owner.flush()
  const events = seatEvents(owner).length
  for (const [type, data] of Object.entries(privileged)) t.equal(await other.fails(type, data), 'FORBIDDEN', type)
  for (const type of ['seat:remove', 'seat:mute', 'seat:unmute']) t.equal(await other.fails(type, { userId: '4' }), 'FORBIDDEN', `${type} on oneself`)
  t.same(await seatsOf(server), before)
  await owner.flush()
  t.equal(seatEvents(owner).length, events, 'no event is sent')
})

onEveryStore(t, 'an admin may send every privileged command except seat:assign', async (t, env) => {
  const { admin } = await seated(t, env)
  for (const [type, data] of Object.entries(privileged)) {
    const { ok, error } = await admin.request(type, data)
    t.equal(ok ? 'ok' : error.code, type === 'seat:assign' ? 'FORBIDDEN' : 'ok', type)
  }
})

onEveryStore(t, 'an admin cannot remove the owner', async (t, env) => {
  const { server, owner, admin } = await seated(t, env)
  t.equal(await admin.fails('seat:remove', { userId: 1 }), 'FORBIDDEN')
  t.equal(await admin.fails('seat:remove', { userId: '1' }), 'FORBIDDEN')
  t.equal(await admin.fails('seat:lock', { seatIndex: 0 }), 'FORBIDDEN')
  t.match((await seatsOf(server)).seats, [{ seatIndex: 0, userId: 1 }, {}])
  t.same(await owner.ok('seat:lock', { seatIndex: 0 }), { seatIndex: 0 }, 'the owner may lock their own seat')
  await admin.ok('seat:take', { seatIndex: 3 })
  t.same(await owner.ok('seat:remove', { userId: 2 }), { userId: 2 }, 'the owner may remove an admin')
})

onEveryStore(t, 'the owner may send every privileged command', async (t, env) => {
  const { owner, member } = await seated(t, env)
  for (const [type, data] of Object.entries(privileged)) {
    if (type === 'seat:invite') await owner.ok('seat:unlock', { seatIndex: 3 })
    t.ok((await owner.request(type, data)).ok, type)
    if (type === 'seat:assign') await member.ok('seat:take', { seatIndex: 1 })
  }
})

onEveryStore(t, 'rights apply only to the room the user is in', async (t, env) => {
  const { server, owner, member } = await seated(t, env)
  t.match(await member.ok('room:join', { roomId: 'own' }), { self: { role: 'owner' } })
  await member.ok('seat:lock', { seatIndex: 5 })
  t.equal(await member.fails('seat:lock', { roomId: 'r1', seatIndex: 3 }), 'NOT_IN_ROOM')
  t.match(await owner.ok('room:join', { roomId: 'own' }), { self: { role: 'member' } })
  t.equal(await owner.fails('seat:unlock', { seatIndex: 5 }), 'FORBIDDEN')
  t.match(await owner.ok('room:join', { roomId: 'r1' }), { self: { role: 'owner' }, ownerId: 1 })
  const again = await server.connect('1')
  await again.ok('room:join', { roomId: 'r1' })
  await again.ok('seat:unlock', { seatIndex: 2 })
})
