import t from 'tap'
import { build, onBothStores, onEveryStore } from '../support/build.ts'
import { isSince } from '../support/pace.ts'
import { until } from '../support/retry.ts'

onBothStores(t, 'admits exactly the maximum number of users', async (t, env) => {
  const server = await build(t, { env: { MAX_CLIENTS_PER_ROOM: '3', ...env } })
  const clients = await Promise.all(Array.from({ length: 12 }, (_, i) => server.connect(i)))
  const replies = await Promise.all(clients.map((client) => client.request('room:join', { roomId: 'r1' })))
  t.equal(replies.filter(({ ok }) => ok).length, 3)
  for (const { ok, error } of replies) if (!ok) t.equal(error.code, 'ROOM_FULL')
  t.match(await server.admin('GET', '/admin/rooms/r1'), { body: { participantCount: 3 } })

  const [inside, outside] = [replies.findIndex(({ ok }) => ok), replies.findIndex(({ ok }) => !ok)]
  const phone = await server.connect(inside)
  t.match(await phone.ok('room:join', { roomId: 'r1' }), { participantCount: 3 }, 'a second socket does not count as a user')
  await phone.ok('room:leave')
  t.equal(await clients[outside]?.fails('room:join', { roomId: 'r1' }), 'ROOM_FULL')
  t.same(await clients[outside]?.ok('user:getRoom', { userId: outside }), { roomId: null })
  await clients[outside]?.ok('room:join', { roomId: 'another' })
  await clients[inside]?.ok('room:leave')
  await clients[outside]?.ok('room:join', { roomId: 'r1' })
})

onBothStores(t, 'a PIN locks a room', async (t, env) => {
  const server = await build(t, { env })
  const [ada, bob, eve] = [await server.connect(1), await server.connect(2), await server.connect(3)]
  await ada.ok('room:join', { roomId: 'r1', pin: '1234' })
  t.match(await server.admin('GET', '/admin/rooms/r1'), { body: { locked: true } })
  t.equal(await bob.fails('room:join', { roomId: 'r1' }), 'PIN_REQUIRED')
  t.equal(await bob.fails('room:join', { roomId: 'r1', pin: 'abc' }), 'VALIDATION_FAILED', 'a PIN that is too short is rejected')
  t.equal(await bob.fails('room:join', { roomId: 'r1', pin: '4321' }), 'PIN_WRONG')
  t.match(await bob.ok('room:join', { roomId: 'r1', pin: '1234' }), { participantCount: 2 })
  t.match(await bob.ok('room:join', { roomId: 'r1' }), { participantCount: 2 }, 'a user who is in the room')
  t.match(server.app.rooms.get('r1'), { pinHash: /^scrypt:/ }, 'the server can still restore the room with its PIN')

  for (let i = 0; i < 5; i++) t.equal(await eve.fails('room:join', { roomId: 'r1', pin: `000${i}` }), 'PIN_WRONG')
  const { error } = await eve.request('room:join', { roomId: 'r1', pin: '1234' })
  t.match(error, { code: 'RATE_LIMITED', details: { retryAfterMs: Number } })
  t.equal(await (await server.connect('3')).fails('room:join', { roomId: 'r1', pin: '1234' }), 'RATE_LIMITED', 'another socket does not help')
  await eve.ok('room:join', { roomId: 'r2' })
  t.equal(ada.events.filter(({ type }) => type === 'room:userJoined').length, 1, 'rejected joins are not announced')
})

onEveryStore(t, 'an admin kicks and bans a user', async (t, env) => {
  const server = await build(t, { env })
  const [ada, bob, phone] = [await server.connect(1), await server.connect(2), await server.connect('2')]
  const elsewhere = await server.connect(2)
  for (const client of [ada, bob, phone]) await client.ok('room:join', { roomId: 'r1' })
  await elsewhere.ok('room:join', { roomId: 'r2' })

  t.same(await server.admin('POST', '/admin/rooms/r1/kick', { userId: 2 }), { status: 204, body: null })
  for (const client of [bob, phone]) t.same(await client.closed, { code: 4403, reason: 'KICKED' })
  t.same(await ada.event('room:userLeft'), { roomId: 'r1', userId: 2 })
  await elsewhere.flush()
  t.match(await elsewhere.ok('room:join', { roomId: 'r1' }), { participantCount: 2 }, 'without a ban the user may rejoin')

  const before = Date.now()
  t.equal((await server.admin('POST', '/admin/rooms/r1/kick', { userId: '2', banSeconds: 600 })).status, 204)
  t.match(await elsewhere.closed, { code: 4403 })
  const again = await server.connect(2)
  const { error } = await again.request('room:join', { roomId: 'r1' })
  t.match(error, { code: 'BANNED', details: { until: Number } })
  const end = (error.details as { until: number }).until
  t.ok(isSince(before, end - 600_000))
  await again.ok('room:join', { roomId: 'r2' })
  t.same(await server.admin('DELETE', '/admin/rooms/r1/bans/2'), { status: 204, body: null })
  t.match(await again.ok('room:join', { roomId: 'r1' }), { participantCount: 2 })

  t.equal((await server.admin('DELETE', '/admin/rooms/r1/bans/99')).status, 204, 'no ban exists')
  t.equal((await server.admin('POST', '/admin/rooms/r1/kick', { userId: 99 })).status, 204, 'no such member')
  t.match(await server.admin('POST', '/admin/rooms/nowhere/kick', { userId: 2 }), { status: 404, body: { error: { code: 'ROOM_NOT_FOUND' } } })
  for (const body of [{}, { userId: 2, banSeconds: -1 }, { userId: {} }, undefined]) {
    t.match(await server.admin('POST', '/admin/rooms/r1/kick', body), { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } })
  }
  t.equal((await fetch(`${server.url}/admin/rooms/r1/kick`, { method: 'POST' })).status, 401)
})

onEveryStore(t, 'a ban expires', async (t, env) => {
  const server = await build(t, { env })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await server.admin('POST', '/admin/rooms/r1/kick', { userId: 2, banSeconds: 0.3 })
  await bob.closed
  const again = await server.connect(2)
  const refused: string[] = []
  await until(async () => {
    const { ok, error } = await again.request('room:join', { roomId: 'r1' })
    if (!ok) refused.push(error.code)
    return ok
  })
  t.ok(refused.every((code) => code === 'BANNED'), `rejected ${refused.length} times`)
})

onBothStores(t, 'an admin closes a room', async (t, env) => {
  const server = await build(t, { env })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) {
    await client.ok('room:join', { roomId: 'r1' })
    await client.ok('transport:create', { type: 'producer' })
  }
  t.same(await server.admin('POST', '/admin/rooms/r1/close'), { status: 204, body: null })
  for (const client of [ada, bob]) {
    t.match(await client.event('room:closed'), { roomId: 'r1', reason: 'closed_by_admin', timestamp: Number })
    t.equal(await client.fails('transport:create', { type: 'producer' }), 'NOT_IN_ROOM')
    t.same(await client.ok('user:getRoom', { userId: 1 }), { roomId: null })
    t.equal(client.events.some(({ type }) => type === 'room:userLeft'), false, 'members receive no leaves after the close')
  }
  t.equal(server.app.sfu.describe('r1'), undefined, 'the audio is closed')
  t.match(await server.admin('GET', '/admin/rooms/r1'), { status: 404, body: { error: { code: 'ROOM_NOT_FOUND' } } })
  t.match(await server.admin('POST', '/admin/rooms/r1/close'), { status: 404, body: { error: { code: 'ROOM_NOT_FOUND' } } })

  t.match(await bob.ok('room:join', { roomId: 'r1' }), { ownerId: 2, self: { role: 'owner' }, participantCount: 1 }, 'the next room is a new room')
  t.equal((await server.admin('POST', '/admin/rooms/r1/close', { reason: 'the show is over' })).status, 204)
  t.match(await bob.event('room:closed'), { reason: 'the show is over' })
  t.equal(ada.events.filter(({ type }) => type === 'room:closed').length, 1)
})

t.test('an admin closes a room while users join it', async (t) => {
  const server = await build(t)
  const clients = await Promise.all(Array.from({ length: 10 }, (_, i) => server.connect(i)))
  for (let round = 0; round < 10; round++) {
    const roomId = `r${round}`
    await clients[0]?.ok('room:join', { roomId })
    const [closed, ...joins] = await Promise.all([
      server.admin('POST', `/admin/rooms/${roomId}/close`),
      ...clients.slice(1).map((client) => client.request('room:join', { roomId }))
    ])
    t.equal(closed.status, 204)
    for (const { ok, error } of joins) if (!ok) t.equal(error.code, 'UNAVAILABLE')
    // Check that clients and the server agree on each user's room.
    for (const client of clients) await client.flush()
    const room = await server.app.store.getRoom(roomId)
    t.equal(room?.participantCount ?? 0, server.app.rooms.get(roomId)?.members.size ?? 0)
  }
})

t.test('REST accepts ids of maximum length', async (t) => {
  const server = await build(t)
  const roomId = 'r'.repeat(128)
  const userId = '字'.repeat(128)
  const [ada, bob] = [await server.connect(1), await server.connect(userId)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId })
  t.match(await server.admin('GET', `/admin/rooms/${roomId}`), { status: 200, body: { id: roomId, participantCount: 2 } })
  t.match(await server.admin('GET', `/admin/rooms/${roomId}/seats`), { status: 200, body: { seatCount: 15 } }, "a feature's route accepts them, too")
  t.match(await server.admin('GET', `/admin/users/${encodeURIComponent(userId)}`), { status: 200, body: { userId } })
  t.equal((await server.admin('POST', `/admin/rooms/${roomId}/kick`, { userId, banSeconds: 60 })).status, 204)
  t.equal((await server.admin('DELETE', `/admin/rooms/${roomId}/bans/${encodeURIComponent(userId)}`)).status, 204)
  t.equal((await server.admin('POST', `/admin/rooms/${roomId}/close`)).status, 204)
})
