import t from 'tap'
import { requests } from '../../../features/seats/messages.ts'
import { build, onEveryStore } from '../../support/build.ts'
import { scene, seatsOf } from './scene.ts'

const index = { seatIndex: 0 }
const valid: Record<string, object> = {
  'seat:take': index,
  'seat:leave': {},
  'seat:lock': index,
  'seat:unlock': index,
  'seat:assign': { userId: 3, ...index },
  'seat:remove': { userId: 3 },
  'seat:mute': { userId: 3 },
  'seat:unmute': { userId: 3 },
  'seat:invite': { userId: 3, ...index },
  'seat:invite:accept': {},
  'seat:invite:decline': {},
  'seat:request': {},
  'seat:request:cancel': {}
}

onEveryStore(t, 'every request requires membership of its room, which defaults to the socket\'s room', async (t, env) => {
  t.same(Object.keys(requests).sort(), Object.keys(valid).sort(), 'every request is covered')
  const { server, owner, member } = await scene(t, env)
  const outside = await server.connect(9)
  for (const [type, data] of Object.entries(valid)) {
    t.equal(await outside.fails(type, data), 'NOT_IN_ROOM', type)
    t.equal(await owner.fails(type, { ...data, roomId: 'r2' }), 'NOT_IN_ROOM', `${type} in another room`)
    t.equal(await owner.fails(type, { ...data, roomId: 'no room' }), 'VALIDATION_FAILED', `${type} in no room`)
  }
  t.same((await seatsOf(server)).seats, [])
  await member.ok('seat:take', { seatIndex: 1, roomId: 'r1', unknown: 'field' })
  await member.ok('seat:leave', { roomId: 'r1' })
})

onEveryStore(t, 'rejects seats that do not exist', async (t, env) => {
  const { owner } = await scene(t, env)
  for (const type of ['seat:take', 'seat:lock', 'seat:unlock', 'seat:assign', 'seat:invite']) {
    const data = { userId: 3 }
    const code = type === 'seat:unlock' ? 'SEAT_NOT_LOCKED' : 'ok'
    const { ok, error } = await owner.request(type, { ...data, seatIndex: 3 })
    t.equal(ok ? 'ok' : error.code, type === 'seat:assign' ? 'ok' : type === 'seat:lock' ? 'ok' : code, `${type} of the last seat`)
    await owner.request('seat:unlock', { seatIndex: 3 })
    await owner.request('seat:leave')
    for (const seatIndex of [4, 15, 1e9]) t.equal(await owner.fails(type, { ...data, seatIndex }), 'SEAT_INVALID', `${type} of ${seatIndex}`)
    for (const seatIndex of [-1, 1.5, '1', null, undefined, [1], 1e300]) t.equal(await owner.fails(type, { ...data, seatIndex }), 'VALIDATION_FAILED', `${type} of ${String(seatIndex)}`)
    if (type === 'seat:assign') await owner.ok('seat:remove', { userId: 3 })
  }
})

onEveryStore(t, 'rejects users outside the room, and accepts ids as numbers or strings', async (t, env) => {
  const { owner, member, other } = await scene(t, env)
  for (const userId of [99, 'nobody', '03', ' 3']) {
    t.equal(await owner.fails('seat:assign', { userId, seatIndex: 0 }), 'NOT_IN_ROOM', `assign ${userId}`)
    t.equal(await owner.fails('seat:invite', { userId, seatIndex: 0 }), 'NOT_IN_ROOM', `invite ${userId}`)
    for (const type of ['seat:remove', 'seat:mute', 'seat:unmute']) t.equal(await owner.fails(type, { userId }), 'NOT_SEATED', `${type} ${userId}`)
    t.equal(await owner.fails('seat:request:cancel', { userId }), 'SEAT_REQUEST_NOT_FOUND', `cancel ${userId}`)
  }
  for (const userId of [undefined, null, {}, [3], true, '', 'x'.repeat(129)]) {
    for (const type of ['seat:assign', 'seat:invite', 'seat:remove', 'seat:mute', 'seat:unmute']) t.equal(await owner.fails(type, { userId, seatIndex: 0 }), 'VALIDATION_FAILED', `${type} ${JSON.stringify(userId)}`)
    if (userId !== undefined) t.equal(await owner.fails('seat:request:cancel', { userId }), 'VALIDATION_FAILED', `cancel ${JSON.stringify(userId)}`)
  }
  // In replies and events, an id has the type (number or string) that it has in the user's token, not the type that it
  // has in the request.
  await owner.ok('seat:assign', { userId: '3', seatIndex: 0 })
  await owner.ok('seat:assign', { userId: 4, seatIndex: 1 })
  for (const client of [member, other]) {
    t.match(await client.event('seat:updated'), { userId: 3 })
    t.match(await client.event('seat:updated'), { userId: '4' })
  }
  t.same(await owner.ok('seat:mute', { userId: '3' }), { userId: 3 })
  t.same(await owner.ok('seat:mute', { userId: 4 }), { userId: '4' })
  t.match(await other.event('seat:userMuted'), { userId: 3 })
  t.match(await other.event('seat:userMuted'), { userId: '4' })
  t.same(await owner.ok('seat:remove', { userId: '3' }), { userId: 3 })
  await owner.ok('seat:invite', { userId: 4, seatIndex: 2 })
  t.match(await member.event('seat:invite:pending'), { invitedUserId: '4' })
  t.match(await other.event('seat:invite:received'), { invitedById: 1 })
})

onEveryStore(t, 'error messages name the problem', async (t, env) => {
  const { owner, member, other } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  await owner.ok('seat:lock', { seatIndex: 1 })
  await owner.ok('seat:invite', { userId: 4, seatIndex: 2 })
  const refused: [client: typeof owner, type: string, data: object, code: string, message: RegExp][] = [
    [other, 'seat:take', { seatIndex: 9 }, 'SEAT_INVALID', /^This room has no seat 9$/],
    [other, 'seat:take', { seatIndex: 1 }, 'SEAT_LOCKED', /^Seat 1 is locked$/],
    [other, 'seat:take', { seatIndex: 0 }, 'SEAT_TAKEN', /^Seat 0 is already taken$/],
    [other, 'seat:leave', {}, 'NOT_SEATED', /^You do not have a seat$/],
    [owner, 'seat:lock', { seatIndex: 1 }, 'SEAT_ALREADY_LOCKED', /^Seat 1/],
    [owner, 'seat:unlock', { seatIndex: 0 }, 'SEAT_NOT_LOCKED', /^Seat 0/],
    [owner, 'seat:remove', { userId: 4 }, 'NOT_SEATED', /^User 4 does not have a seat$/],
    [owner, 'seat:remove', { userId: 1 }, 'CANNOT_TARGET_SELF', /yourself/],
    [owner, 'seat:invite', { userId: 3, seatIndex: 2 }, 'INVITE_PENDING', /seat 2/],
    [member, 'seat:invite:accept', {}, 'INVITE_NOT_FOUND', /^You have no pending invite$/],
    [other, 'seat:invite:decline', { seatIndex: 3 }, 'INVITE_NOT_FOUND', /seat 3/],
    [member, 'seat:request', {}, 'ALREADY_SEATED', /^You already have a seat$/],
    [other, 'seat:request:cancel', {}, 'SEAT_REQUEST_NOT_FOUND', /^You have not requested/],
    [other, 'seat:request:cancel', { userId: 4 }, 'SEAT_REQUEST_NOT_FOUND', /^You have not requested/],
    [owner, 'seat:request:cancel', { userId: 4 }, 'SEAT_REQUEST_NOT_FOUND', /^User 4 has not requested/],
    [other, 'seat:request:cancel', { userId: 3 }, 'FORBIDDEN', /owner and admins/],
    [member, 'seat:lock', { seatIndex: 0 }, 'FORBIDDEN', /owner and admins/]
  ]
  for (const [client, type, data, code, message] of refused) t.match((await client.request(type, data)).error, { code, message }, type)
})

t.test('rejects requests while the feature is disabled', async (t) => {
  const server = await build(t, { env: { FEATURES: '-seats' } })
  const ada = await server.connect(1)
  const joined = await ada.ok('room:join', { roomId: 'r1' })
  t.notOk('seats' in joined)
  for (const [type, data] of Object.entries(valid)) t.match((await ada.request(type, data)).error, { code: 'FEATURE_DISABLED', message: /seats/ }, type)
})
