import t from 'tap'
import { build, onBothStores, tokenFor } from '../../support/build.ts'
import { enter } from '../socket-io/support.ts'
import { emptyArray } from '../../support/empty-array.ts'

// Tests moderation, room lists and Socket.IO clients in rooms that have no owner.

const features = { FEATURES: 'auth,media,mix,seats,chat,moderation,lobby,push-to-talk,socket-io', FEATURES_CONFIG: JSON.stringify({ lobby: { cacheMs: 0 } }), OWNER_GRACE_SECONDS: '1' }
const roomId = 'ptt:5'
const inFive = { channelIds: [5] }

onBothStores(t, 'a room without an owner never gets one', async (t, env) => {
  const server = await build(t, { env: { ...features, ...env } })
  const first = await server.connect(1, { token: tokenFor(1, inFive) })
  const admin = await server.connect(2, { token: tokenFor(2, { ...inFive, roles: ['admin'] }) })
  const member = await enter(t, server.url, 3, { token: tokenFor(3, inFive) })

  await t.test('members see no owner', async (t) => {
    t.match(await first.ok('room:join', { roomId, title: 'Mine', pin: '1234' }), { ownerId: null, title: null, topic: null, isLocked: false, admins: emptyArray, self: { role: 'member' }, mix: { recommended: false } })
    t.match(await admin.ok('room:join', { roomId }), { ownerId: null, self: { role: 'admin' } })
    t.match(await member.ask('room:join', { roomId }), { success: true, ownerId: null, self: { role: 'member' } })
    t.match(await (await enter(t, server.url, 4)).ask('room:join', { roomId }), { success: false, code: 'FORBIDDEN' }, 'a Socket.IO client that is not a member')
    const { participants } = await first.ok('room:participants') as { participants: object[] }
    t.equal(participants.filter((profile) => 'handRaised' in profile).length, 0, 'there are no seats to request')
  })

  await t.test('an admin moderates, but cannot decide who joins', async (t) => {
    for (const [type, data] of [['room:update', { title: 'x' }], ['room:kick', { userId: 3 }], ['room:lock', {}], ['room:setRole', { userId: 3, role: 'admin' }], ['room:transfer', { userId: 3 }], ['room:end', {}]] as const) {
      t.equal(await first.fails(type, data), 'FORBIDDEN', `a member cannot ${type}`)
    }
    for (const [type, data] of [['room:lock', {}], ['room:lock', { pin: '1234' }], ['room:setRole', { userId: 3, role: 'admin' }], ['room:transfer', { userId: 3 }], ['room:end', {}]] as const) {
      t.equal(await admin.fails(type, data), 'FORBIDDEN', `an admin cannot ${type}`)
    }
    t.same(await admin.ok('room:muteAll', {}), { userIds: [] })
    t.same(await admin.ok('room:unlock'), {})
    await admin.ok('room:update', { title: 'Channel 5' })
    t.match(await first.event('room:updated'), { title: 'Channel 5', isLocked: false })
    t.match(await member.event('room:updated'), { roomId, title: 'Channel 5' })
  })

  await t.test('the admin API shows no owner, and cannot set one', async (t) => {
    const room = `/admin/rooms/${roomId}`
    t.match((await server.admin('GET', '/admin/rooms')).body, { rooms: [{ id: roomId, ownerId: null, hostName: null, title: 'Channel 5', locked: false }] })
    t.match((await server.admin('GET', '/admin/rooms?query=channel')).body, { rooms: [{ id: roomId, ownerId: null }] })
    for (const role of ['owner', 'admin']) t.match(await server.admin('PUT', `${room}/roles/1`, { role }), { status: 403, body: { error: { code: 'FORBIDDEN' } } })
    t.match(await server.admin('PATCH', room, { locked: true, title: 'Other' }), { status: 403, body: { error: { code: 'FORBIDDEN' } } })
    t.match(await server.admin('PATCH', room, { topic: 'Talk', locked: false }), { status: 200, body: { title: 'Channel 5', topic: 'Talk', locked: false } })
    t.match((await server.admin('GET', room)).body, { id: roomId, ownerId: null, hostName: null, title: 'Channel 5', topic: 'Talk', locked: false, roles: emptyArray })
    for (const query of [undefined, 'channel']) t.match(await first.ok('lobby:list', { query }), { rooms: emptyArray }, 'the lobby does not list it')
  })

  await t.test('no member becomes the owner when others leave, and bans stay in effect', async (t) => {
    await first.ok('room:leave')
    await admin.event('room:userLeft', ({ userId }) => userId === 1)
    await admin.ok('room:kick', { userId: 3, banSeconds: 60 })
    const again = await enter(t, server.url, 3, { token: tokenFor(3, inFive) })
    t.match(await again.ask('room:join', { roomId }), { success: false, code: 'BANNED' })
    // The owner of another room leaves after user 1 leaves this room. Once the other room has a new owner, any grace
    // period in this room must also be over.
    const [owner, successor] = [await server.connect(6), await server.connect(7)]
    for (const client of [owner, successor]) await client.ok('room:join', { roomId: 'other' })
    await successor.ok('seat:take', { seatIndex: 0 })
    await owner.ok('room:leave')
    t.match(await successor.event('room:owner'), { ownerId: 7 })
    t.match(await first.ok('room:join', { roomId }), { ownerId: null, title: 'Channel 5', self: { role: 'member' } })
    t.equal(admin.events.filter(({ type }) => type === 'room:owner' || type === 'room:role').length, 0)
  })
})
