import t from 'tap'
import { adminKey, build, onEveryStore, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { redisDatabase } from '../../support/redis.ts'
import { produce, scene, seatsOf, seatEvents } from './scene.ts'
import { follow } from './view.ts'

const path = (roomId = 'r1') => `/admin/rooms/${roomId}/seats`
const resize = (server: TestServer, seatCount: unknown, roomId = 'r1') => server.admin('PATCH', path(roomId), { seatCount })

onEveryStore(t, 'an admin sees the whole seat state of a room', async (t, env) => {
  const { server, owner, member, other } = await scene(t, env)
  t.same(await server.admin('GET', path()), { status: 200, body: { seatCount: 4, seats: [], lockedSeats: [], invites: [], requests: [] } }, 'a new room has a seat state, too')

  await member.ok('seat:take', { seatIndex: 3 })
  const producerId = await produce(member)
  await member.ok('audio:selfMute', { producerId })
  await other.ok('seat:take', { seatIndex: 1 })
  await owner.ok('seat:mute', { userId: 4 })
  await owner.ok('seat:lock', { seatIndex: 2 })
  await owner.ok('seat:lock', { seatIndex: 0 })
  await owner.ok('seat:invite', { userId: 4, seatIndex: 0 })
  await owner.event('seat:userMuted', ({ selfMuted }) => selfMuted === true)
  const { expiresAt } = await other.event('seat:invite:received')
  await owner.ok('seat:request')
  const [{ requestedAt } = {}] = (await owner.event('seat:requests')).requests as { requestedAt?: number }[]
  t.same(await server.admin('GET', path()), {
    status: 200,
    body: {
      seatCount: 4,
      seats: [
        { seatIndex: 1, userId: '4', isMuted: true, selfMuted: false, awayUntil: null },
        { seatIndex: 3, userId: 3, isMuted: false, selfMuted: true, awayUntil: null }
      ],
      lockedSeats: [0, 2],
      invites: [{ seatIndex: 0, userId: '4', invitedById: 1, expiresAt }],
      requests: [{ userId: 1, requestedAt, position: 1, awayUntil: null }]
    }
  })

  const { body: rooms } = await server.admin('GET', '/admin/rooms')
  t.match(rooms, { rooms: [{ id: 'r1', participants: 4, seated: 2 }] })
  const { body: room } = await server.admin('GET', '/admin/rooms/r1')
  t.same([room?.seatCount, room?.seats, room?.lockedSeats], [4, [{ seatIndex: 1, userId: '4', isMuted: true }, { seatIndex: 3, userId: 3, isMuted: false }], [0, 2]])
  t.match((await server.admin('GET', '/admin/users/3')).body, { userId: 3, roomId: 'r1', seat: 3 })
  t.match((await server.admin('GET', '/admin/users/1')).body, { roomId: 'r1', seat: null })
})

t.test('requires the admin key', async (t) => {
  const { server } = await scene(t, {})
  const keys = ['', 'Bearer', `Bearer ${adminKey}x`, adminKey, `Basic ${adminKey}`, `Bearer ${tokenFor(1, { roles: ['admin'] })}`]
  for (const authorization of keys) {
    for (const method of ['GET', 'PATCH']) {
      const response = await fetch(server.url + path(), {
        method,
        headers: { authorization, 'content-type': 'application/json' },
        ...(method === 'PATCH' ? { body: '{"seatCount":2}' } : {})
      })
      t.equal(response.status, 401, `${method} with ${authorization.slice(0, 12)}`)
      t.match(await response.json(), { error: { code: 'UNAUTHORIZED', message: String } })
    }
  }
  t.equal((await seatsOf(server)).seatCount, 4)
})

onEveryStore(t, 'returns 404 for unknown rooms', async (t, env) => {
  const { server, owner } = await scene(t, env)
  await owner.ok('seat:take', { seatIndex: 0 })
  t.equal((await server.admin('POST', '/admin/rooms/r1/close')).status, 204)
  for (const roomId of ['r1', 'nowhere']) {
    t.match(await server.admin('GET', path(roomId)), { status: 404, body: { error: { code: 'ROOM_NOT_FOUND' } } })
    t.match(await resize(server, 3, roomId), { status: 404, body: { error: { code: 'ROOM_NOT_FOUND' } } })
  }
  for (const roomId of ['no%20room', '%7Br1%7D']) {
    for (const { status, body } of [await server.admin('GET', path(roomId)), await resize(server, 3, roomId)]) {
      t.match({ status, body }, { status: 400, body: { error: { code: 'VALIDATION_FAILED', details: Array } } }, roomId)
    }
  }
})

onEveryStore(t, 'rejects invalid seat counts', async (t, env) => {
  const { server, owner, member } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 3 })
  for (const seatCount of [0, 16, -1, 1.5, 1e9, '3', true, null, [3], undefined]) {
    const { status, body } = await resize(server, seatCount)
    t.match({ status, body }, { status: 400, body: { error: { code: 'VALIDATION_FAILED', details: Array } } }, String(seatCount))
  }
  t.match(await server.admin('PATCH', path()), { status: 400 }, 'a request without changes is rejected')
  t.match(await server.admin('PATCH', path(), [3]), { status: 400 })
  t.match(await seatsOf(server), { seatCount: 4, seats: [{ seatIndex: 3 }] })
  await owner.flush()
  t.same(seatEvents(owner), ['updated 3 3 false'])
})

onEveryStore(t, 'reducing the seats removes their occupants and notifies everyone', async (t, env) => {
  const { server, owner, admin, member, other, all } = await scene(t, env)
  await admin.ok('seat:take', { seatIndex: 0 })
  await member.ok('seat:take', { seatIndex: 1 })
  await other.ok('seat:take', { seatIndex: 2 })
  const producerId = await produce(other)
  await owner.event('audio:newProducer')
  await owner.ok('seat:lock', { seatIndex: 3 })
  await owner.ok('seat:invite', { userId: 3, seatIndex: 3 })

  const { status, body } = await resize(server, 1)
  t.same({ status, body }, {
    status: 200,
    body: { seatCount: 1, seats: [{ seatIndex: 0, userId: 2, isMuted: false, selfMuted: false, awayUntil: null }], lockedSeats: [], invites: [], requests: [] }
  })
  for (const client of all) {
    t.same(await client.event('seat:count'), { roomId: 'r1', seatCount: 1 })
    t.same(seatEvents(client).filter((text) => !text.startsWith('invite:received')).slice(5), ['cleared 1 3 removed', 'cleared 2 4 removed', 'invite:pending 3 false 3', 'locked 3 false', 'count 1'], 'removals are announced first')
  }
  t.same(await owner.event('audio:producerClosed'), { roomId: 'r1', producerId, userId: '4', source: 'voice' }, 'producers on removed seats are closed')
  t.equal(await member.fails('seat:invite:accept'), 'INVITE_NOT_FOUND')
  t.equal(await member.fails('seat:leave'), 'NOT_SEATED')
  t.equal(await member.fails('seat:take', { seatIndex: 1 }), 'SEAT_INVALID')
  t.equal(await owner.fails('seat:lock', { seatIndex: 3 }), 'SEAT_INVALID')
  t.match((await server.admin('GET', '/admin/rooms/r1')).body, { seatCount: 1, seats: [{ seatIndex: 0 }] })
  t.match(await (await server.connect(5)).ok('room:join', { roomId: 'r1' }), { seatCount: 1, seats: [{ seatIndex: 0, userId: 2 }], lockedSeats: emptyArray, pendingInvites: emptyArray })

  await resize(server, 4)
  t.same((await seatsOf(server)).lockedSeats, [], 'a lock is removed with its seat')
})

onEveryStore(t, 'added seats can be taken immediately', async (t, env) => {
  const { server, owner, admin, member, other, all } = await scene(t, env)
  t.equal(await member.fails('seat:take', { seatIndex: 14 }), 'SEAT_INVALID')
  t.match(await resize(server, 15), { status: 200, body: { seatCount: 15, seats: emptyArray } })
  for (const client of all) t.same(await client.event('seat:count'), { roomId: 'r1', seatCount: 15 })
  await member.ok('seat:take', { seatIndex: 14 })
  await owner.ok('seat:lock', { seatIndex: 4 })
  t.match(await resize(server, 15), { status: 200, body: { seatCount: 15, seats: [{ seatIndex: 14 }], lockedSeats: [4] } }, 'repeating has no effect')
  await other.flush()
  t.same(seatEvents(other), ['count 15', 'updated 14 3 false', 'locked 4 true'], 'no event is sent')

  for (const client of [admin, member, other, owner]) await client.ok('room:leave')
  t.match(await resize(server, 6), { status: 200, body: { seatCount: 6, seats: emptyArray, lockedSeats: [4] } })
  t.match(await owner.ok('room:join', { roomId: 'r1' }), { seatCount: 6, seats: emptyArray, lockedSeats: [4] })
})

onEveryStore(t, 'a seat that is taken during its removal is released', async (t, env) => {
  const { server, all } = await scene(t, env)
  for (let round = 0; round < 8; round++) {
    const replies = await Promise.all([
      ...all.map((client, i) => client.request('seat:take', { seatIndex: i })),
      resize(server, 2),
      ...all.map((client, i) => client.request('seat:take', { seatIndex: 3 - i }))
    ])
    for (const reply of replies) if ('ok' in reply && !reply.ok) t.match(reply.error.code, /^SEAT_(INVALID|TAKEN)$/)
    const { seatCount, seats } = await seatsOf(server)
    t.equal(seatCount, 2)
    t.equal(seats.some(({ seatIndex }) => seatIndex >= 2), false)
    await resize(server, 4)
    for (const client of all) await client.request('seat:leave')
  }
})

t.test('reads and changes seats on a server without members of the room', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const client = await a.connect(1)
  const { view } = await follow(client, 'r1', { seatCount: 4 })
  await client.ok('seat:take', { seatIndex: 2 })
  t.match(await b.admin('GET', path()), { status: 200, body: { seatCount: 4, seats: [{ seatIndex: 2, userId: 1 }] } })
  t.match(await resize(b, 2), { status: 200, body: { seatCount: 2, seats: emptyArray } })
  t.same(await client.event('seat:count'), { roomId: 'r1', seatCount: 2 })
  t.match(view(), { seatCount: 2, seats: emptyArray })
  t.equal(await client.fails('seat:take', { seatIndex: 2 }), 'SEAT_INVALID')
  t.same(await seatsOf(a), await seatsOf(b))
})

t.test('returns 404 while the feature is disabled', async (t) => {
  const server = await build(t, { env: { FEATURES: '-seats' } })
  await (await server.connect(1)).ok('room:join', { roomId: 'r1' })
  t.match(await server.admin('GET', path()), { status: 404, body: { error: { code: 'NOT_FOUND' } } })
  t.match(await resize(server, 3), { status: 404, body: { error: { code: 'NOT_FOUND' } } })
})
