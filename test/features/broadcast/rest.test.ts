import t from 'tap'
import { build, onBothStores, tokenFor } from '../../support/build.ts'

// The REST API of the earlier Go system: /api/rooms.

interface Reply { status: number, body: Record<string, unknown> & { room?: Record<string, unknown>, rooms?: Record<string, unknown>[], error?: { code: string } } }

onBothStores(t, 'creates, starts, lists and deletes rooms, and creates users', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,seats,broadcast', BROADCAST_MAX_ROOMS_PER_USER: '2', ...env } })
  const ask = async (method: string, path: string, token: string | undefined, body?: object): Promise<Reply> => {
    const response = await fetch(`${server.url}${path}`, {
      method,
      headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {})
    })
    return { status: response.status, body: await response.json() as Reply['body'] }
  }
  const [ada, bob] = [tokenFor(1), tokenFor(2)]

  t.match(await ask('POST', '/api/rooms', undefined, {}), { status: 401 })
  t.match(await ask('POST', '/api/rooms', ada, { roomId: 'a' }), { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } })
  t.match(await ask('POST', '/api/rooms', ada, { pin: '12345' }), { status: 400 })
  t.match(await ask('POST', '/api/rooms', ada, { maxAnchors: 6 }), { status: 400 })
  const created = await ask('POST', '/api/rooms', ada, { roomId: 'open', maxAnchors: 1 })
  t.match(created, { status: 201, body: { success: true, room: { roomId: 'open', hlsUrl: '/hls/open/index.m3u8', pin: /^[A-Z0-9]{6}$/, createdAt: Number } } })
  t.match(await ask('POST', '/api/rooms', bob, { roomId: 'open' }), { status: 409, body: { error: { code: 'ROOM_EXISTS' } } })
  t.match(await ask('POST', '/api/rooms', ada, { roomId: 'secret', pin: 'abc123' }), { status: 201, body: { room: { pin: 'abc123' } } })
  t.match(await ask('POST', '/api/rooms', ada, {}), { status: 429, body: { error: { code: 'ROOM_QUOTA' } } })

  t.match(await ask('GET', '/api/rooms/open', ada), { status: 200, body: { room: { pin: undefined, onAir: false, users: [] } } })
  t.match(await ask('GET', '/api/rooms/open', bob), { status: 404 }, 'not on air, and another user\'s')
  t.match(await ask('POST', '/api/rooms/open/users', bob, { role: 'anchor' }), { status: 403 })
  const anchor = await ask('POST', '/api/rooms/open/users', ada, { role: 'anchor' })
  t.match(anchor, { status: 201, body: { userID: String, token: String } })
  t.match(await ask('POST', '/api/rooms/open/users', ada, { role: 'anchor' }), { status: 409, body: { error: { code: 'ANCHOR_LIMIT' } } })

  t.match(await ask('POST', '/api/rooms/open/start', ada), { status: 200, body: { room: { onAir: false } } })
  t.match(await ask('POST', '/api/token', undefined, { roomId: 'secret', pin: 'abc123' }), { status: 404 }, 'not on air')
  const client = await server.connect(anchor.body['userID'] as string, { token: anchor.body['token'] as string })
  await client.ok('room:join', { roomId: 'open' })
  await client.event('broadcast:started')
  t.match(await ask('GET', '/api/rooms/open', bob), { status: 200, body: { room: { onAir: true, users: [{ role: 'anchor', status: 'idle' }] } } })
  await client.ok('seat:take', { roomId: 'open', seatIndex: 0 })
  t.match(await ask('GET', '/api/rooms/open', bob), { body: { room: { users: [{ status: 'onair' }] } } })
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
  t.equal(await keyStatus(`?token=${String(other)}`), 403, 'the token of another room')

  t.match(await ask('DELETE', '/api/rooms/secret', bob), { status: 403 })
  t.match(await ask('DELETE', '/api/rooms/secret', ada), { status: 200, body: { success: true } })
  t.equal(await keyStatus(`?token=${String(token)}`), 404, 'off air')
  t.match(await ask('GET', '/api/rooms/secret', ada), { status: 404 })
})
