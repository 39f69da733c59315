import t from 'tap'
import type { Test } from 'tap'
import { build, onBothStores, tokenFor } from '../../support/build.ts'
import type { StoreKind, TestServer } from '../../support/build.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { clocksDifferMs, isSince } from '../../support/pace.ts'
import { until } from '../../support/retry.ts'
import { openRoom } from './scene.ts'

const features = { FEATURES: 'auth,seats,chat,moderation,lobby,gifts', FEATURES_CONFIG: JSON.stringify({ lobby: { cacheMs: 0 } }) }

/** Starts two servers that share one Redis. Without Redis, returns the same server twice. */
async function pair (t: Test, env: Record<string, string>, kind: StoreKind, log?: (line: Record<string, unknown>) => void): Promise<[TestServer, TestServer]> {
  const options = { env: { ...features, ...env }, ...(log ? { log } : {}) }
  const server = await build(t, options)
  return [server, kind === 'redis' ? await build(t, options) : server]
}

onBothStores(t, 'hosts moderate a room', async (t, env, kind) => {
  const lines: Record<string, unknown>[] = []
  const [a, b] = await pair(t, env, kind, (line) => { if (line.audit === true) lines.push(line) })

  await t.test('hosts remove, ban and unban users', async (t) => {
    const { owner, admin, member } = await openRoom([a, b], 'bans')
    t.same(await admin.ok('room:kick', { userId: '3' }), { userId: 3 }, 'the id as in the token')
    t.match(await member.closed, { code: 4403, reason: 'KICKED' })
    await owner.event('room:userLeft')
    const again = await b.connect(3)
    await again.ok('room:join', { roomId: 'bans' })
    const before = Date.now()
    await owner.ok('room:kick', { userId: 3, banSeconds: 60 })
    await again.closed
    const [third, phone] = [await a.connect(3), await b.connect('3')]
    t.match(await third.request('room:join', { roomId: 'bans' }), { error: { code: 'BANNED', details: { until: Number } } })
    t.equal(await phone.fails('room:join', { roomId: 'bans' }), 'BANNED')
    await admin.ok('room:kick', { userId: 77, banSeconds: 60 })
    const { bans, nextCursor } = await admin.ok('room:bans')
    t.match(bans, [{ userId: 3, until: Number, by: 1 }, { userId: 77, by: 2 }])
    t.ok((bans as { until: number }[]).every(({ until }) => isSince(before, until - 60_000)))
    t.equal(nextCursor, null)
    const first = await admin.ok('room:bans', { limit: 1 })
    t.match(first, { bans: [{ userId: 3 }], nextCursor: String })
    t.match(await admin.ok('room:bans', { limit: 1, cursor: first.nextCursor }), { bans: [{ userId: 77 }], nextCursor: null })
    t.match(await b.admin('GET', '/admin/rooms/bans/bans'), { body: { bans: [{ userId: 3, by: 1 }, { userId: 77, by: 2 }], nextCursor: null } })
    t.equal((await a.admin('POST', '/admin/rooms/bans/kick', { userId: 5, banSeconds: 60 })).status, 204)
    t.match((await b.admin('GET', '/admin/rooms/bans/bans')).body?.bans, [{ userId: 3 }, { userId: 5, by: null }, { userId: 77 }])
    t.same(await owner.ok('room:unban', { userId: 3 }), { userId: 3 })
    await third.ok('room:join', { roomId: 'bans' })
    t.equal((await a.admin('DELETE', '/admin/rooms/bans/bans/77')).status, 204)
    t.match((await owner.ok('room:bans')).bans, [{ userId: 5 }])
    t.equal((await a.admin('POST', '/admin/rooms/bans/kick', { userId: '3', banSeconds: 60 })).status, 204)
    await third.closed
    t.strictSame(((await owner.ok('room:bans')).bans as { userId: unknown }[]).map(({ userId }) => userId), [3, 5], 'the id as in the token')
    t.match(lines.filter(({ action }) => action === 'room.kick'), [
      { by: 2, roomId: 'bans', userId: 3, before: { inRoom: true } }, { by: 1, userId: 3, after: { bannedUntil: Number } }, { by: 2, userId: 77 }, { key: String, userId: 5 }, { key: String, userId: 3 }
    ], 'the audit log names the user or the key')
  })

  await t.test("a kick removes a disconnected user from the user's reserved seat", async (t) => {
    const { owner, admin, member } = await openRoom([a, b], 'reserved')
    await member.ok('seat:take', { seatIndex: 0 })
    await admin.event('seat:updated')
    member.ws.terminate()
    await admin.event('room:userLeft', ({ userId }) => userId === 3)
    await admin.ok('room:kick', { userId: '3' })
    t.match(await owner.event('seat:cleared'), { userId: 3, reason: 'removed' })
    await admin.event('seat:cleared')
    t.equal(await admin.fails('room:kick', { userId: '3' }), 'NOT_IN_ROOM')
  })

  await t.test('only members, hosts and users with the PIN can join a locked room', async (t) => {
    const { owner, admin, member, other } = await openRoom([a, b], 'locks')
    t.same(await admin.ok('room:lock'), {})
    for (const client of [owner, member]) t.same(await client.event('room:updated'), { roomId: 'locks', title: null, topic: null, isLocked: true })
    const [stranger, token] = [await a.connect(9), await b.connect(8)]
    for (const client of [stranger, token]) t.equal(await client.fails('room:join', { roomId: 'locks' }), 'ROOM_LOCKED')
    t.equal(await stranger.fails('room:join', { roomId: 'locks', pin: '1234' }), 'ROOM_LOCKED')
    t.match(await (await a.connect(3)).ok('room:join', { roomId: 'locks' }), { isLocked: true, participantCount: 4 }, 'a member can join with another connection')
    await owner.ok('room:leave')
    await owner.ok('room:join', { roomId: 'locks' })
    await admin.ok('room:leave')
    await admin.ok('room:join', { roomId: 'locks' })
    await other.close()
    await owner.event('room:userLeft', ({ userId }) => userId === 4)
    const back = await a.connect(4)
    await back.ok('room:join', { roomId: 'locks' })
    await back.ok('room:leave')
    t.equal(await back.fails('room:join', { roomId: 'locks' }), 'ROOM_LOCKED', 'a user who left cannot return')
    await owner.ok('room:lock', { pin: '4711' })
    t.equal(await back.fails('room:join', { roomId: 'locks' }), 'PIN_REQUIRED')
    t.equal(await back.fails('room:join', { roomId: 'locks', pin: '0000' }), 'PIN_WRONG')
    await back.ok('room:join', { roomId: 'locks', pin: '4711' })
    await owner.ok('room:leave')
    t.match(await owner.ok('room:join', { roomId: 'locks' }), { ownerId: 1, isLocked: true }, 'the owner needs no PIN, because an admin may have set it')
    await admin.ok('room:unlock')
    t.match(await stranger.ok('room:join', { roomId: 'locks' }), { isLocked: false })
    await stranger.ok('room:leave')
    // A room that is created with a PIN is locked from the start.
    const host = await b.connect(11)
    await host.ok('room:join', { roomId: 'pinned', pin: '1234', title: 'Secret' })
    t.equal(await stranger.fails('room:join', { roomId: 'pinned' }), 'PIN_REQUIRED')
    await host.ok('room:update', { topic: 'Still locked' })
    t.match(await host.event('room:updated'), { title: 'Secret', topic: 'Still locked', isLocked: true })
    t.equal(await stranger.fails('room:join', { roomId: 'pinned' }), 'PIN_REQUIRED')
    await host.ok('room:unlock')
    await stranger.ok('room:join', { roomId: 'pinned' })
  })

  await t.test('a user who lost their connection before the room was locked cannot return', async (t) => {
    const { owner, other } = await openRoom([a, b], 'before')
    await owner.ok('room:update', { title: 'Chess' })
    other.ws.terminate()
    await owner.event('room:userLeft', ({ userId }) => userId === 4)
    await owner.ok('room:lock')
    t.equal(await (await a.connect(4)).fails('room:join', { roomId: 'before' }), 'ROOM_LOCKED')
  })

  await t.test('a user who was kicked while disconnected cannot return to a locked room', async (t) => {
    const { owner, member, other } = await openRoom([a, b], 'kicked')
    await owner.ok('room:lock')
    for (const client of [member, other]) client.ws.terminate()
    for (const id of [3, 4]) await owner.event('room:userLeft', ({ userId }) => userId === id)
    t.equal((await a.admin('POST', '/admin/rooms/kicked/kick', { userId: 3 })).status, 204)
    t.equal(await (await a.connect(3)).fails('room:join', { roomId: 'kicked' }), 'ROOM_LOCKED')
    await (await a.connect(4)).ok('room:join', { roomId: 'kicked' })
  })

  await t.test('the owner appoints admins and transfers the room', async (t) => {
    const { owner, admin, member, other } = await openRoom([a, b], 'roles')
    t.match(await (await a.connect(5)).ok('room:join', { roomId: 'roles' }), { admins: [2] })
    t.match(await (await a.connect(2)).ok('room:join', { roomId: 'roles' }), { self: { role: 'admin' } })
    await other.ok('seat:request')
    await owner.ok('room:setRole', { userId: '3', role: 'admin' })
    t.same(await other.event('room:role'), { roomId: 'roles', userId: 3, role: 'admin' })
    t.match(await member.event('seat:requests'), { requests: [{ userId: 4 }] }, 'a new admin receives the raised hands')
    await owner.ok('room:setRole', { userId: 2, role: 'member' })
    await admin.event('room:role', ({ userId, role }) => userId === 2 && role === 'member')
    t.equal(await admin.fails('room:lock'), 'FORBIDDEN')
    await member.ok('room:leave')
    await owner.ok('room:setRole', { userId: 3, role: 'member' })
    t.match(await member.ok('room:join', { roomId: 'roles' }), { self: { role: 'member' }, admins: emptyArray }, 'an absent admin loses the role')
    const platform = await a.connect('p', { token: tokenFor('p', { roles: ['admin'] }) })
    t.match(await platform.ok('room:join', { roomId: 'roles' }), { self: { role: 'admin' } })
    await owner.ok('room:setRole', { userId: 'p', role: 'member' })
    await platform.event('room:role', ({ userId }) => userId === 'p')
    t.equal(await platform.fails('room:lock'), 'FORBIDDEN', 'the role in the token does not apply')
    t.same(await owner.ok('room:transfer', { userId: '4' }), { userId: 4 })
    for (const client of [owner, other, member]) t.same(await client.event('room:owner'), { roomId: 'roles', ownerId: 4, previousOwnerId: 1 })
    t.equal(await owner.fails('room:lock'), 'FORBIDDEN', 'the previous owner is a member')
    await other.ok('seat:assign', { userId: 1, seatIndex: 0 })
    t.equal((await a.admin('PUT', '/admin/rooms/roles/roles/1', { role: 'admin' })).status, 204)
    await owner.event('room:role', ({ userId }) => userId === 1)
    await owner.ok('room:lock')
    t.match(await b.admin('PUT', '/admin/rooms/roles/roles/99', { role: 'admin' }), { status: 403, body: { error: { code: 'NOT_IN_ROOM' } } })
    t.equal((await a.admin('PUT', '/admin/rooms/roles/roles/3', { role: 'owner' })).status, 204)
    t.match(await member.event('room:owner', ({ ownerId }) => ownerId === 3), { previousOwnerId: 4 })
    t.match((await b.admin('GET', '/admin/rooms/roles')).body, { ownerId: 3, hostName: 'User 3', roles: [{ userId: 2, role: 'member' }, { userId: 'p', role: 'member' }, { userId: 1, role: 'admin' }] })
    await member.ok('room:end')
    t.match(await other.event('room:closed'), { reason: 'host_left' })
    t.equal((await a.admin('GET', '/admin/rooms/roles')).status, 404)
  })

  await t.test('mutes all seated users', async (t) => {
    const { owner, admin, member, other } = await openRoom([a, b], 'mutes')
    for (const [i, client] of [owner, admin, member, other].entries()) await client.ok('seat:take', { seatIndex: i })
    t.same(await admin.ok('room:muteAll', { except: ['4'] }), { userIds: [3] }, 'except the owner and oneself')
    t.match(await owner.event('seat:userMuted'), { userId: 3, isMuted: true })
    t.same((await owner.ok('room:muteAll')).userIds, [2, 4])
    t.same(await owner.ok('room:muteAll'), { userIds: [] })
  })

  await t.test('raised hands are visible to everyone', async (t) => {
    const { owner, member, other } = await openRoom([a, b], 'hands')
    await member.ok('seat:request')
    t.same(await other.event('seat:hand'), { roomId: 'hands', userId: 3, handRaised: true })
    await other.ok('seat:request')
    t.match(await owner.event('seat:requests', ({ requests }) => (requests as unknown[]).length === 2), { requests: [{ userId: 3, position: 1 }, { userId: 4, position: 2 }] })
    const { participants } = await (await a.connect(9)).ok('room:join', { roomId: 'hands' }) as { participants: { userId: number, handRaised: boolean }[] }
    t.same(participants.map(({ userId, handRaised }) => [userId, handRaised]), [[1, false], [2, false], [3, true], [4, true], [9, false]])
    await member.ok('seat:take', { seatIndex: 0 })
    t.match(await owner.event('seat:hand', ({ handRaised }) => handRaised === false), { userId: 3 })
    t.match(await other.event('seat:requests', ({ requests }) => (requests as { position: number }[])[0]?.position === 1), { requests: [{ userId: 4 }] }, 'users receive their new position')
  })

  await t.test('changes titles and topics, and searches rooms', async (t) => {
    const [host, looker] = [await a.connect(1), await b.connect(9)]
    await host.ok('room:join', { roomId: 'evening', title: 'Café am Abend', topic: 'Musik' })
    t.match(await (await b.connect(2)).ok('room:join', { roomId: 'evening', title: 'ignored' }), { title: 'Café am Abend', topic: 'Musik', isLocked: false, slowModeSeconds: 0, giftTotals: emptyArray })
    const found = async (query: string) => (await looker.ok('lobby:list', { query })).rooms as { roomId: string }[]
    t.match(await found('cafe ABEND'), [{ roomId: 'evening', title: 'Café am Abend', topic: 'Musik', hostName: 'User 1', live: { speaking: emptyArray, onAir: false } }])
    for (const query of ['musik', 'evening user', 'USER 1 am']) t.ok((await found(query)).some(({ roomId }) => roomId === 'evening'), query)
    t.same(await found('tea'), [])
    t.match((await b.admin('GET', '/admin/rooms?query=caf%C3%A9')).body?.rooms, [{ id: 'evening', title: 'Café am Abend' }])
    await host.ok('room:update', { title: 'Tea' })
    t.match(await host.event('room:updated'), { title: 'Tea', topic: 'Musik', isLocked: false })
    t.match(await found('tea'), [{ roomId: 'evening', hostName: 'User 1' }])
    t.match((await b.admin('PATCH', '/admin/rooms/evening', { topic: null, locked: true })).body, { title: 'Tea', topic: null, locked: true })
    await until(async () => (await found('tea')).length === 1 && (await found('user 1')).every(({ roomId }) => roomId !== 'evening'))
    t.match(await found('tea'), [{ isLocked: true, hostName: null, people: emptyArray }], 'a locked room does not show its members')
  })

  await t.test('a join returns the gift totals of the room', async (t) => {
    const { owner, member } = await openRoom([a, b], 'gifts')
    await member.ok('gift:send', { giftId: 1, recipientId: 1, quantity: 3 })
    await owner.ok('gift:send', { giftId: 1, recipientId: 3, quantity: 5 })
    await member.ok('gift:send', { giftId: 2, recipientId: '1', quantity: 4 })
    t.same((await (await b.connect(9)).ok('room:join', { roomId: 'gifts' })).giftTotals, [{ recipientId: 1, quantity: 7 }, { recipientId: 3, quantity: 5 }])
    await owner.ok('room:end')
    await member.event('room:closed')
    t.same((await (await b.connect(9)).ok('room:join', { roomId: 'gifts' })).giftTotals, [], 'a new room begins at zero')
  })
})

onBothStores(t, 'limits messages in slow mode, and deletes messages', async (t, env, kind) => {
  const [a, b] = await pair(t, env, kind)
  const { owner, admin, member, other } = await openRoom([a, b], 'r1')
  const phone = await a.connect(3)
  await phone.ok('room:join', { roomId: 'r1' })
  await member.ok('chat:message', { content: 'before' })
  t.same(await admin.ok('chat:slowMode', { seconds: 60 }), {})
  t.same(await other.event('chat:mode'), { roomId: 'r1', slowModeSeconds: 60 })
  const began = performance.now()
  const replies = await Promise.all([member, phone, member, phone].map((client) => client.request('chat:message', { content: 'fast' })))
  t.equal(replies.filter(({ ok }) => ok).length, 1, 'one of a user\'s concurrent messages on two servers is accepted')
  for (const { ok, error } of replies) if (!ok) t.match(error, { code: 'RATE_LIMITED', details: { retryAfterMs: Number } })
  await other.ok('chat:message', { content: 'another user' })
  for (let i = 0; i < 3; i++) await owner.ok('chat:message', { content: 'hosts are exempt' })
  await admin.ok('chat:slowMode', { seconds: 1 })
  await until(async () => (await phone.request('chat:message', { content: 'later' })).ok)
  t.ok(performance.now() - began >= 1000 - clocksDifferMs, 'the next message is accepted after one second')
  await owner.ok('chat:slowMode', { seconds: 0 })
  await member.ok('chat:message', { content: 'free' })
  await member.ok('chat:message', { content: 'again' })

  const { id } = await member.ok('chat:message', { content: 'rude' })
  const { id: hosts } = await owner.ok('chat:message', { content: 'from the owner' })
  t.equal(await admin.fails('chat:delete', { id: hosts }), 'FORBIDDEN')
  const outcomes = await Promise.all([owner, admin].map((client) => client.request('chat:delete', { id })))
  t.same(outcomes.map(({ ok, error }) => ok ? 'ok' : error.code).sort(), ['MESSAGE_NOT_FOUND', 'ok'], 'once')
  t.match(await other.event('chat:deleted'), { roomId: 'r1', id })
  t.equal(other.events.filter(({ type }) => type === 'chat:deleted').length, 1)
  t.equal(await admin.fails('chat:delete', { id }), 'MESSAGE_NOT_FOUND')
  const joined = await (await b.connect(9)).ok('room:join', { roomId: 'r1' })
  t.notMatch(JSON.stringify([joined.chatHistory, (await other.ok('chat:history')).messages]), 'rude')
  await owner.ok('chat:delete', { id: hosts })
})

onBothStores(t, 'a kick that exceeds the ban limit does not prevent the user from returning to a locked room', async (t, env) => {
  const server = await build(t, { env: { ...features, ...env, MODERATION_MAX_BANS: '1' } })
  const { owner, member } = await openRoom([server], 'r1')
  await owner.ok('room:kick', { userId: 50, banSeconds: 60 })
  await owner.ok('room:lock')
  member.ws.terminate()
  await owner.event('room:userLeft', ({ userId }) => userId === 3)
  t.equal(await owner.fails('room:kick', { userId: 3, banSeconds: 60 }), 'BAN_LIMIT')
  await (await server.connect(3)).ok('room:join', { roomId: 'r1' })
})

t.test('limits the bans of a room and the commands of a user', async (t) => {
  const server = await build(t, { env: { ...features, MODERATION_COMMANDS_PER_MINUTE: '8', MODERATION_MAX_BANS: '2' } })
  const { owner, admin } = await openRoom([server], 'r1')
  for (const userId of [50, 51]) await admin.ok('room:kick', { userId, banSeconds: 60 })
  t.match(await admin.request('room:kick', { userId: 3, banSeconds: 60 }), { error: { code: 'BAN_LIMIT', details: { limit: 2 } } })
  t.match((await server.admin('GET', '/admin/rooms/r1')).body, { participantCount: 4 }, 'the user is not kicked')
  await admin.ok('room:kick', { userId: 50, banSeconds: 90 })
  await admin.ok('room:unban', { userId: 51 })
  await admin.ok('room:kick', { userId: 3, banSeconds: 60 })
  for (let i = 0; i < 2; i++) await admin.ok('room:bans')
  t.match(await admin.request('room:bans'), { error: { code: 'RATE_LIMITED', details: { retryAfterMs: Number } } })
  await owner.ok('room:bans')
})

t.test('acknowledged commands stay in effect while the feature is off', async (t) => {
  const server = await build(t, { env: features })
  const { owner, admin, member } = await openRoom([server], 'r1')
  await owner.ok('room:lock')
  await owner.ok('chat:slowMode', { seconds: 60 })
  t.equal((await server.admin('POST', '/admin/features/moderation/reload')).status, 200)
  await admin.ok('room:bans')
  t.equal((await server.admin('POST', '/admin/features/moderation/disable')).status, 200)
  t.equal(await owner.fails('room:unlock'), 'FEATURE_DISABLED')
  t.equal(await (await server.connect(9)).fails('room:join', { roomId: 'r1' }), 'ROOM_LOCKED')
  await member.ok('chat:message', { content: 'one' })
  t.equal(await member.fails('chat:message', { content: 'two' }), 'RATE_LIMITED')
  t.equal((await server.admin('POST', '/admin/features/chat/disable')).status, 200)
  t.equal((await server.admin('POST', '/admin/features/moderation/enable')).status, 200)
  t.equal(await owner.fails('chat:slowMode', { seconds: 0 }), 'FEATURE_DISABLED')
  await owner.ok('room:unlock')
})

onBothStores(t, 'absent users lose the admin role', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,moderation', ...env } })
  const { owner, admin } = await openRoom([server], 'r1')
  await admin.ok('room:leave')
  t.equal((await server.admin('PUT', '/admin/rooms/r1/roles/2', { role: 'member' })).status, 204)
  t.strictSame((await owner.event('room:role', ({ role }) => role === 'member')).userId, 2, 'the id as in the token')

  const other = await server.connect('ada', { token: tokenFor('ada', { roles: ['admin'] }) })
  t.match(await other.ok('room:join', { roomId: 'r1' }), { self: { role: 'admin' } })
  await other.ok('room:leave')
  await owner.ok('room:setRole', { userId: 'ada', role: 'member' })
  t.match(await other.ok('room:join', { roomId: 'r1' }), { self: { role: 'member' } }, 'also if the token has the role')
  t.equal(await other.fails('room:lock'), 'FORBIDDEN')
})

onBothStores(t, 'lists the bans of users with the longest ids', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,moderation', ...env } })
  const owner = await server.connect('owner')
  await owner.ok('room:join', { roomId: 'r1' })
  const ids = ['a', 'b'].map((end) => '字'.repeat(127) + end)
  for (const userId of ids) await owner.ok('room:kick', { userId, banSeconds: 60 })
  const { bans, nextCursor } = await owner.ok('room:bans', { limit: 1 })
  t.match(bans, [{ userId: ids[0] }])
  t.match(await owner.ok('room:bans', { limit: 1, cursor: nextCursor }), { bans: [{ userId: ids[1] }], nextCursor: null })
})

t.test('writes one audit line per command, and counts the commands', async (t) => {
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { ...features, FEATURES: 'auth,seats,chat,moderation' }, log: (line) => { if (line.audit === true) lines.push(line) } })
  const { owner, admin, member } = await openRoom([server], 'r1')
  await member.ok('seat:take', { seatIndex: 0 })
  const { id } = await member.ok('chat:message', { content: 'rude' })
  await admin.ok('room:muteAll')
  await admin.ok('room:lock', { pin: '4711' })
  await admin.ok('room:unlock')
  await admin.ok('chat:slowMode', { seconds: 10 })
  await admin.ok('chat:delete', { id })
  await admin.ok('room:kick', { userId: 4, banSeconds: 0.5 })
  await admin.ok('room:kick', { userId: 9, banSeconds: 60 })
  await admin.ok('room:bans')
  await admin.ok('room:unban', { userId: 9 })
  t.equal(await admin.fails('room:transfer', { userId: 3 }), 'FORBIDDEN', 'a rejected command writes no line')
  await owner.ok('room:transfer', { userId: 3 })
  await member.ok('room:end')
  const expected = [
    { action: 'room.setRole', by: 1, userId: 2, before: { role: 'member' }, after: { role: 'admin' } },
    { action: 'room.muteAll', by: 2, after: { muted: [3] } },
    { action: 'room.lock', by: 2, before: { isLocked: false }, after: { isLocked: true, admits: 'users with the PIN' } },
    { action: 'room.unlock', by: 2, before: { isLocked: true }, after: { isLocked: false } },
    { action: 'chat.slowMode', by: 2, before: { seconds: 0 }, after: { seconds: 10 } },
    { action: 'chat.delete', by: 2, messageId: id, userId: 3, after: { deleted: true } },
    { action: 'room.kick', by: 2, userId: 4, after: { inRoom: false, bannedUntil: Number } },
    { action: 'room.kick', by: 2, userId: 9, before: { inRoom: false }, after: { bannedUntil: Number } },
    { action: 'room.unban', by: 2, userId: 9, before: { banned: true }, after: { banned: false } },
    { action: 'room.transfer', by: 1, before: { ownerId: 1 }, after: { ownerId: 3 } },
    { action: 'room.end', by: 3, after: null }
  ]
  t.match(lines, expected.map((line) => ({ roomId: 'r1', ...line })))
  t.equal(lines.length, expected.length)
  t.notMatch(JSON.stringify(lines), /4711/)
  const { values = [] } = await server.app.metrics.registry.getSingleMetric('flylive_moderation_commands_total')?.get() ?? {}
  t.same(Object.fromEntries(values.map(({ labels, value }) => [labels.command, value])), {
    'room.setRole': 1, 'room.muteAll': 1, 'room.lock': 1, 'room.unlock': 1, 'chat.slowMode': 1, 'chat.delete': 1, 'room.kick': 2, 'room.unban': 1, 'room.transfer': 1, 'room.end': 1
  })
})
