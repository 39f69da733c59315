import t from 'tap'
import { adminKey, build, onBothStores, tokenFor } from '../../support/build.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { until } from '../../support/retry.ts'

// Tests /api/rooms, the REST API of the earlier Go system.

/** Sends requests to the API of a server. */
const client = (url: string) => async (method: string, path: string, token: string | undefined, body?: object): Promise<Reply> => {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {})
  })
  return { status: response.status, body: await response.json() as Reply['body'] }
}

interface Reply { status: number, body: Record<string, unknown> & { room?: Record<string, unknown>, rooms?: Record<string, unknown>[], error?: { code: string } } }

onBothStores(t, 'creates, starts, lists and deletes rooms, and creates users', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,seats,broadcast', BROADCAST_MAX_ROOMS_PER_USER: '2', ...env } })
  const ask = client(server.url)
  const [ada, bob] = [tokenFor(1), tokenFor(2)]

  t.match(await ask('POST', '/api/rooms', undefined, {}), { status: 401 })
  t.match(await ask('POST', '/api/rooms', ada, { roomId: 'a' }), { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } })
  t.match(await ask('POST', '/api/rooms', ada, { pin: '12345' }), { status: 400 })
  for (const body of [{ maxAnchors: 6 }, { maxAnchors: '3' }, { roomId: 5 }, { roomId: '../etc' }, { roomId: 'a'.repeat(33) }, { pin: 123456 }]) t.match(await ask('POST', '/api/rooms', ada, body), { status: 400 }, JSON.stringify(body))
  for (const [method, path] of [['GET', ''], ['DELETE', ''], ['POST', '/start'], ['POST', '/users']] as const) {
    t.match(await ask(method, `/api/rooms/unknown${path}`, ada), { status: 404, body: { error: { code: 'ROOM_NOT_FOUND' } } }, path)
    t.match(await ask(method, `/api/rooms/..%2f..${path}`, ada), { status: 400 }, path)
  }
  const created = await ask('POST', '/api/rooms', ada, { roomId: 'open', maxAnchors: 1 })
  t.match(created, { status: 201, body: { success: true, room: { roomId: 'open', hlsUrl: '/hls/open/index.m3u8', pin: /^[A-Z0-9]{6}$/, createdAt: Number } } })
  t.match(await ask('POST', '/api/rooms', bob, { roomId: 'open' }), { status: 409, body: { error: { code: 'ROOM_EXISTS' } } })
  t.match(await ask('POST', '/api/rooms', ada, { roomId: 'secret', pin: 'abc123' }), { status: 201, body: { room: { pin: 'abc123' } } })
  for (const body of [{}, { roomId: 'third' }]) t.match(await ask('POST', '/api/rooms', ada, body), { status: 429, body: { error: { code: 'ROOM_QUOTA', details: { limit: 2 } } } })
  t.match(await ask('GET', '/api/rooms', ada), { body: { rooms: [{ roomId: 'open' }, { roomId: 'secret' }] } }, 'the rejected calls create no room')

  t.match(await ask('GET', '/api/rooms/open', ada), { status: 200, body: { room: { pin: undefined, onAir: false, users: emptyArray } } })
  t.match(await ask('GET', '/api/rooms/open', bob), { status: 404 }, 'the room is not on air and belongs to another user')
  t.match(await ask('POST', '/api/rooms/open/users', bob, { role: 'anchor' }), { status: 403 })
  const anchor = await ask('POST', '/api/rooms/open/users', ada, { role: 'anchor' })
  t.match(anchor, { status: 201, body: { userID: String, token: String } })
  t.match(await ask('POST', '/api/rooms/open/users', ada, { role: 'anchor' }), { status: 409, body: { error: { code: 'ANCHOR_LIMIT' } } })

  t.match(await ask('GET', '/api/rooms/open', ada), { body: { room: { users: [{ userID: anchor.body['userID'], role: 'anchor', status: 'left' }] } } })
  t.match(await ask('POST', '/api/rooms/open/start', ada), { status: 200, body: { room: { onAir: false } } })
  t.match(await ask('POST', '/api/token', undefined, { roomId: 'secret', pin: 'abc123' }), { status: 404 }, 'the room is not on air')
  const speaker = await server.connect(anchor.body['userID'] as string, { token: anchor.body['token'] as string })
  await speaker.ok('room:join', { roomId: 'open' })
  await speaker.event('broadcast:started')
  t.match(await ask('GET', '/api/rooms/open', bob), { status: 200, body: { room: { onAir: true, users: [{ role: 'anchor', status: 'idle' }] } } })
  await speaker.ok('seat:take', { roomId: 'open', seatIndex: 0 })
  t.match(await ask('GET', '/api/rooms/open', bob), { body: { room: { users: [{ status: 'onair' }] } } })
  // Users who join with their own tokens are listed, too, after the users that the API created.
  const [owner, visitor] = [await server.connect(1), await server.connect('carol')]
  for (const client of [visitor, owner]) await client.ok('room:join', { roomId: 'open' })
  await owner.ok('seat:take', { seatIndex: 1 })
  t.same((await ask('GET', '/api/rooms/open', ada)).body.room?.['users'], [
    { userID: anchor.body['userID'], role: 'anchor', status: 'onair' },
    { userID: 1, role: 'host', status: 'onair' },
    { userID: 'carol', role: 'guest', status: 'idle' }
  ])
  for (const client of [visitor, owner]) await client.close()
  t.match((await ask('GET', '/api/rooms', bob)).body.rooms, [{ roomId: 'open' }])

  t.match(await ask('POST', '/api/rooms/secret/start', ada), { status: 200 })
  const host = await server.connect(1)
  await host.ok('room:join', { roomId: 'secret' })
  await host.event('broadcast:started')
  t.match((await ask('GET', '/api/rooms', bob)).body.rooms, [{ roomId: 'open' }], 'rooms with a PIN are not listed')
  t.match(await ask('POST', '/api/token', undefined, { roomId: 'secret' }), { status: 403 })
  const { body: { token } } = await ask('POST', '/api/token', undefined, { roomId: 'secret', pin: 'abc123' })
  const { body: { token: other } } = await ask('POST', '/api/token', undefined, { roomId: 'open' })
  const keyStatus = async (query: string) => (await fetch(`${server.url}/hls/secret/key${query}`)).status
  t.equal(await keyStatus(`?token=${String(token)}`), 200)
  t.equal(await keyStatus(''), 403)
  t.equal(await keyStatus(`?token=${String(other)}`), 403, 'a token for a different room is rejected')

  // The room has the PIN and the owner from the API call.
  const guest = await server.connect(3)
  t.match(await guest.fails('room:join', { roomId: 'secret' }), 'PIN_REQUIRED')
  t.match(await guest.ok('room:join', { roomId: 'secret', pin: 'abc123' }), { ownerId: 1, self: { role: 'member' }, isLocked: true })

  // A room that a client created belongs to the user who created it, not to the caller of the REST API.
  t.match(await guest.ok('room:join', { roomId: 'theirs', pin: 'their-pin' }), { ownerId: 3 })
  t.match(await ask('POST', '/api/rooms', bob, { roomId: 'theirs' }), { status: 409, body: { error: { code: 'ROOM_EXISTS' } } })
  for (const [method, path] of [['POST', '/start'], ['POST', '/users'], ['DELETE', '']] as const) {
    t.match(await ask(method, `/api/rooms/theirs${path}`, bob, method === 'POST' ? {} : undefined), { status: 403, body: { error: { code: 'FORBIDDEN' } } }, path)
  }
  t.match(await ask('POST', '/api/rooms/theirs/users', tokenFor(3)), { status: 403 }, 'the room was not created with the API')
  t.match(await ask('POST', '/api/rooms/theirs/start', tokenFor(3)), { status: 200, body: { room: { roomId: 'theirs', onAir: true } } })
  await guest.event('broadcast:started')
  t.match(await ask('GET', '/api/rooms/theirs', bob), { status: 404 }, 'the room has a PIN')
  t.match(await ask('GET', '/api/rooms/theirs', tokenFor(3)), { status: 200, body: { room: { onAir: true, users: [{ userID: 3, role: 'host', status: 'idle' }] } } })
  t.match((await ask('GET', '/api/rooms', adminKey)).body.rooms?.map(({ roomId }) => roomId), ['open', 'secret', 'theirs'])
  t.match((await ask('GET', '/api/rooms', bob)).body.rooms, [{ roomId: 'open' }], 'the other rooms have PINs')
  t.match(await ask('DELETE', '/api/rooms/theirs', tokenFor(3)), { status: 200 })
  await guest.event('room:closed')

  t.match(await ask('DELETE', '/api/rooms/secret', bob), { status: 403 })
  t.match(await ask('DELETE', '/api/rooms/secret', ada), { status: 200, body: { success: true } })
  t.equal(await keyStatus(`?token=${String(token)}`), 404, 'the room is no longer on air')
  t.match(await ask('GET', '/api/rooms/secret', ada), { status: 404 })
})

t.test('admin keys and anonymous clients create rooms', async (t) => {
  const server = await build(t, { env: { FEATURES: 'broadcast', ALLOW_ANONYMOUS: 'true' } })
  const ask = client(server.url)
  t.match(await ask('POST', '/api/rooms', adminKey, { roomId: 'ours', pin: 'abc123' }), { status: 201 })
  t.match(await ask('POST', '/api/rooms/ours/start', undefined), { status: 403 })
  t.match(await ask('POST', '/api/rooms', undefined, { roomId: 'anyones' }), { status: 201 })
  t.match(await ask('POST', '/api/rooms/anyones/start', undefined), { status: 200 })
  t.match((await ask('GET', '/api/rooms', undefined)).body.rooms, [{ roomId: 'anyones' }])

  // The first user to join becomes the owner, but needs the PIN to join.
  const [first, second] = [await server.connect(1), await server.connect(2)]
  t.equal(await first.fails('room:join', { roomId: 'ours' }), 'PIN_REQUIRED')
  for (let i = 0; i < 4; i++) t.equal(await first.fails('room:join', { roomId: 'ours', pin: `wrong${i}` }), 'PIN_WRONG')
  t.match(await first.ok('room:join', { roomId: 'ours', pin: 'abc123' }), { self: { role: 'owner' } })
  for (let i = 0; i < 5; i++) t.equal(await second.fails('room:join', { roomId: 'ours', pin: `wrong${i}` }), 'PIN_WRONG')
  t.equal(await second.fails('room:join', { roomId: 'ours', pin: 'abc123' }), 'RATE_LIMITED')

  // The server limits attempts to join with a wrong PIN even before the room exists.
  t.match(await ask('POST', '/api/rooms', adminKey, { roomId: 'empty', pin: 'abc123' }), { status: 201 })
  for (let i = 0; i < 5; i++) t.equal(await second.fails('room:join', { roomId: 'empty', pin: `wrong${i}` }), 'PIN_WRONG')
  t.equal(await second.fails('room:join', { roomId: 'empty', pin: 'abc123' }), 'RATE_LIMITED')
  t.match(await ask('DELETE', '/api/rooms/anyones', undefined), { status: 200 })
})

t.test('ALLOW_ANONYMOUS accepts calls without a token while auth is on', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,broadcast', ALLOW_ANONYMOUS: 'true', WS_QUERY_TOKEN: 'true' } })
  const ask = client(server.url)
  t.match(await ask('POST', '/api/rooms', 'wrong', { roomId: 'open' }), { status: 401 }, 'a wrong token is rejected')
  t.match(await ask('POST', '/api/rooms?token=wrong', undefined, { roomId: 'open' }), { status: 401 }, 'a wrong token in the URL, too')
  t.match(await ask('POST', '/api/rooms', tokenFor(1), { roomId: 'owned' }), { status: 201 })
  t.match(await ask('POST', '/api/rooms', undefined, { roomId: 'open' }), { status: 201 })
  t.match(await ask('POST', '/api/rooms/owned/start', undefined), { status: 403 })
  t.match(await ask('POST', '/api/rooms/open/start', undefined), { status: 200 })
  const { status, body: { userID, token } } = await ask('POST', '/api/rooms/open/users', undefined, { role: 'host' })
  t.equal(status, 201)
  const host = await server.connect(String(userID), { token: String(token) })
  await host.ok('room:join', { roomId: 'open' })
  await host.event('broadcast:started')
})

onBothStores(t, 'a user with the host role is an admin as soon as the join reply arrives, and may start and delete the room', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,broadcast', ...env } })
  const ask = client(server.url)
  await ask('POST', '/api/rooms', adminKey, { roomId: 'show' })
  const { body: { userID, token } } = await ask('POST', '/api/rooms/show/users', adminKey, { role: 'host' })
  const { body: { token: guestToken } } = await ask('POST', '/api/rooms/show/users', adminKey)
  t.match(await ask('POST', '/api/rooms/show/start', String(guestToken)), { status: 403 })
  await (await server.connect(1)).ok('room:join', { roomId: 'show' })
  const host = await server.connect(String(userID), { token: String(token) })
  const [joined] = await Promise.all([host.ok('room:join', { roomId: 'show' }), host.ok('broadcast:start')])
  t.match(joined, { self: { userId: userID, role: 'admin' } })
  t.match(await host.event('room:role'), { userId: userID, role: 'admin' })
  t.match(await ask('POST', '/api/rooms/show/start', String(token)), { status: 200, body: { room: { onAir: true } } })
  t.match(await ask('DELETE', '/api/rooms/show', String(token)), { status: 200 })
  await host.event('room:closed')
})

t.test('removes rooms that were never started or were on air for too long', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,broadcast', BROADCAST_IDLE_MINUTES: '0.01', BROADCAST_MAX_HOURS: '0.0005' } })
  const ask = client(server.url)
  for (const roomId of ['idle', 'show']) await ask('POST', '/api/rooms', tokenFor(1), { roomId })
  t.match(await ask('POST', '/api/rooms/show/start', tokenFor(1)), { status: 200 })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'show' })
  await owner.event('broadcast:started')
  await until(async () => (await ask('GET', '/api/rooms/idle', tokenFor(1))).status === 404)
  t.match(await owner.event('room:closed'), { roomId: 'show', reason: 'inactivity' })
  t.match(await ask('GET', '/api/rooms/show', tokenFor(1)), { status: 404 })
  t.match(await ask('GET', '/api/rooms', tokenFor(1)), { body: { rooms: { length: 0 } } })
})

t.test('retries the removal of a room after an error', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,broadcast', BROADCAST_MAX_HOURS: '0.0005' }, timings: { jobRetryMs: 100 } })
  const ask = client(server.url)
  const { store } = server.app
  const removeRoom = store.removeRoom.bind(store)
  let failures = 0
  store.removeRoom = async (...args) => {
    if (failures++ === 0) throw new Error('the store is down')
    return await removeRoom(...args)
  }
  await ask('POST', '/api/rooms', tokenFor(1), { roomId: 'show' })
  await ask('POST', '/api/rooms/show/start', tokenFor(1))
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'show' })
  t.match(await owner.event('room:closed'), { roomId: 'show', reason: 'inactivity' })
  t.ok(failures > 1)
  await until(async () => (await ask('GET', '/api/rooms', tokenFor(1))).body.rooms?.length === 0)
})

t.test('does not remove a room as idle if its owner started the broadcast without the REST API', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,broadcast' } })
  const ask = client(server.url)
  await ask('POST', '/api/rooms', tokenFor(1), { roomId: 'show' })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'show' })
  await owner.ok('broadcast:start')
  t.equal((await server.admin('PATCH', '/admin/features/broadcast/config', { idleMinutes: 0.01 })).status, 200)
  // The removal of the first room was due before the removal of the other rooms.
  for (const roomId of ['idle', 'idle-2']) {
    await ask('POST', '/api/rooms', tokenFor(1), { roomId })
    await until(async () => (await ask('GET', `/api/rooms/${roomId}`, tokenFor(1))).status === 404)
  }
  t.match(await ask('GET', '/api/rooms/show', tokenFor(1)), { status: 200, body: { room: { onAir: true } } })
  t.notOk(owner.events.some(({ type }) => type === 'room:closed'))
})

t.test('puts a room on air for its next first member only if the room was started through the API and not stopped', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,broadcast' } })
  const ask = client(server.url)
  const records = server.app.kv.namespace('broadcast-rooms')
  const owner = await server.connect(1)
  /** Closes the room, as `auto-close` does if the room is empty, and joins it again. */
  const rejoin = async (roomId: string) => {
    t.equal((await server.admin('POST', `/admin/rooms/${roomId}/close`, {})).status, 204)
    await owner.ok('room:join', { roomId })
  }
  const isOnAir = async (roomId: string) => (await ask('GET', `/api/rooms/${roomId}`, tokenFor(1))).body.room?.['onAir'] === true
  const isStopped = async (roomId: string) => (await records.get(roomId))?.includes('isStopped') === true
  for (const roomId of ['api', 'messages', 'last']) await ask('POST', '/api/rooms', tokenFor(1), { roomId })

  await ask('POST', '/api/rooms/api/start', tokenFor(1))
  await owner.ok('room:join', { roomId: 'api' })
  await until(() => isOnAir('api'))
  await rejoin('api')
  await until(() => isOnAir('api'))
  await owner.ok('broadcast:stop')
  await until(() => isStopped('api'))
  await rejoin('api')

  await owner.ok('room:join', { roomId: 'messages' })
  await owner.ok('broadcast:start')
  await until(() => isStopped('messages'))
  await rejoin('messages')

  // The server would have put the earlier rooms on air before this room.
  await ask('POST', '/api/rooms/last/start', tokenFor(1))
  await owner.ok('room:join', { roomId: 'last' })
  await until(() => isOnAir('last'))
  t.same([await isOnAir('api'), await isOnAir('messages')], [false, false])
})
