import { EventEmitter, once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { connect as connectTo } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import { isPrivate } from '../../plugins/connections/addresses.ts'
import { adminKey, build, onEveryStore, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { nativeOnly } from '../support/client.ts'
import { redisDatabase } from '../support/redis.ts'
import { until } from '../support/retry.ts'
import { rtpParameters } from '../support/rtp.ts'
import { chromiumOffer } from '../features/whip/offers.ts'

/**
 * Opens a connection that the server must reject.
 *
 * @returns the status and error of the response
 */
async function refusalOf ({ url }: TestServer, userId: string | number, headers: Record<string, string> = {}) {
  const ws = new WebSocket(`${url.replace('http', 'ws')}/ws`, ['msab.v1'], { headers: { ...headers, authorization: `Bearer ${tokenFor(userId)}` } })
  ws.on('error', () => { /* The response is awaited below. */ })
  const [, response] = await once(ws, 'unexpected-response') as [unknown, IncomingMessage]
  const text = (await response.toArray()).map(String).join('')
  return { status: response.statusCode, ...JSON.parse(text) as object }
}

const pairEnv = { FEATURES: 'auth,media,seats,whip,socket-io,moderation', TRUST_PROXY: 'true', MEDIA_ROOMS_PER_USER: '2', REDIS_URL: await redisDatabase() }
/** Two servers that share one Redis. */
const pair = [await build(t, { env: pairEnv }), await build(t, { env: pairEnv })] as const

/** A server for the tests that need no special limits. */
const shared = await build(t, { env: { FEATURES: 'auth,seats,gifts', WS_MESSAGES_BURST: '10000' } })

const tooMany = (limit: number) => ({ status: 429, error: { code: 'TOO_MANY_CONNECTIONS', details: { limit } } })

t.test("limits a user's connections across all servers", async (t) => {
  const env = { FEATURES: 'auth', MAX_CONNECTIONS_PER_USER: '2', REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const first = await a.connect(1)
  await b.connect('1')
  for (const server of [a, b]) t.match(await refusalOf(server, 1), tooMany(2))
  await a.connect(2)
  first.ws.close()
  await until(async () => await a.connect(1).then(() => true, () => false))
})

/** The first request of a fake connection. */
const request = { headers: {}, socket: { remoteAddress: '127.0.0.1' } } as IncomingMessage

t.test('connections without a session count towards MAX_CONNECTIONS', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', MAX_CONNECTIONS: '2' } })
  const arriving = new EventEmitter()
  server.app.sockets.admit(request, arriving)
  const ada = await server.connect(1)
  t.match(await refusalOf(server, 2), { status: 503, error: { code: 'OVERLOADED' } })
  arriving.emit('close')
  await server.connect(2)
  t.match(await refusalOf(server, 3), { status: 503, error: { code: 'OVERLOADED' } })
  await ada.close()
  await until(async () => await server.connect(3).then(() => true, () => false))
})

t.test('does not count a connection that closes while its user is being identified', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', MAX_CONNECTIONS_PER_USER: '1' } })
  const { sockets } = server.app
  const connection = new EventEmitter()
  sockets.admit(request, connection)
  const identified = sockets.identify(request, tokenFor(1), connection)
  connection.emit('close')
  await t.rejects(identified, { code: 'UNAVAILABLE' })
  await server.connect(1)
})

t.test('limits the connections that one address keeps open without sending a request', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', MAX_CONNECTIONS_PER_IP: '2' } })
  const { hostname, port } = new URL(server.url)
  const sockets = Array.from({ length: 80 }, () => connectTo(Number(port), hostname))
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  for (const socket of sockets) socket.on('error', () => { /* The server resets the connection. */ })
  await until(() => sockets.filter(({ closed }) => closed).length === 80 - 66)
  for (const socket of sockets) socket.destroy()
  await until(async () => (await fetch(`${server.url}/livez`)).status === 200)
})

t.test("a user's concurrent connections cannot exceed the limit", async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', MAX_CONNECTIONS_PER_USER: '3' } })
  const results = await Promise.allSettled(Array.from({ length: 12 }, () => server.connect(1)))
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 3)
  t.equal(server.app.sockets.size, 3)
})

t.test('limits the number of rooms in which a user has audio, across all servers', async (t) => {
  const [a, b] = pair
  const enter = async (server: TestServer, userId: string | number, roomId: string) => {
    const client = await server.connect(userId)
    await client.ok('room:join', { roomId })
    return client
  }
  const transport = { type: 'consumer' }
  const [first, second, third] = [await enter(a, 1, 'r1'), await enter(b, '1', 'r2'), await enter(a, 1, 'r3')]
  for (const client of [first, second]) await client.ok('transport:create', transport)
  for (const server of [a, b]) {
    const another = await enter(server, 1, 'r1')
    await another.ok('transport:create', transport)
    t.pass('a second connection in a counted room')
  }
  t.match((await third.request('transport:create', transport)).error, { code: 'MEDIA_LIMIT', details: { limit: 2 } })
  await (await enter(a, 2, 'r3')).ok('transport:create', transport)

  await second.ok('room:leave')
  await (await enter(b, 1, 'r4')).ok('room:leave')
  t.match((await third.request('transport:create', transport)).error, undefined, 'a user who leaves a room may have audio in a different one')
  t.match((await (await enter(b, 1, 'r5')).request('transport:create', transport)).error, { code: 'MEDIA_LIMIT' })
})

t.test('limits the connections from one address', async (t) => {
  const env = { FEATURES: 'auth', TRUST_PROXY: 'true' }
  const limited = await build(t, { env: { ...env, MAX_CONNECTIONS_PER_IP: '2' } })
  const from = (address: string) => ({ headers: { 'x-forwarded-for': address } })
  for (const user of [1, 2]) await limited.connect(user, from('203.0.113.7'))
  t.match(await refusalOf(limited, 3, { 'x-forwarded-for': '203.0.113.7' }), tooMany(2))
  await limited.connect(3, from('203.0.113.8'))
  for (const user of [4, 5]) await limited.connect(user, from('10.0.0.1'))
  t.match(await refusalOf(limited, 6, { 'x-forwarded-for': '10.0.0.1' }), tooMany(2), 'private addresses count if the limit is configured')

  const server = await build(t, { env })
  await Promise.all(Array.from({ length: 201 }, (_, i) => server.connect(i, from('::ffff:10.0.0.1'))))
  t.pass('private addresses are exempt by default')
  for (const address of ['127.0.0.1', '10.1.2.3', '172.31.0.1', '192.168.1.1', '::1', 'fd00::1']) t.ok(isPrivate(address), address)
  for (const address of ['203.0.113.7', '172.32.0.1', '2001:db8::1']) t.notOk(isPrivate(address), address)
})

onEveryStore(t, 'limits joins, created rooms and look-ups per user', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth', JOINS_PER_MINUTE: '6', ROOMS_CREATED_PER_MINUTE: '2', USER_LOOKUPS_PER_MINUTE: '2', ...env } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const roomId of ['r1', 'r2']) await ada.ok('room:join', { roomId })
  const limited = { code: 'RATE_LIMITED', details: { retryAfterMs: Number } }
  t.match((await ada.request('room:join', { roomId: 'r3' })).error, limited, 'a user cannot create a third room')
  t.equal(server.app.rooms.get('r3'), undefined)
  t.same(await bob.ok('user:getRoom', { userId: 1 }), { roomId: 'r2' }, 'the rejected user stays in the current room')
  await bob.ok('room:join', { roomId: 'r3' })
  await ada.ok('room:join', { roomId: 'r3' })
  await ada.ok('room:join', { roomId: 'r3' })
  await ada.ok('room:join', { roomId: 'r3' })
  t.match((await ada.request('room:join', { roomId: 'r3' })).error, limited, 'a seventh join is rejected')
  await bob.ok('user:getRoom', { userId: 1 })
  t.match((await bob.request('user:getRoom', { userId: 1 })).error, limited)
})

t.test('closes a connection that floods bytes, pings or pongs', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', WS_BYTES_PER_SECOND: '65536', WS_BYTES_BURST: '131072', WS_MESSAGES_BURST: '50' } })
  const flooding = { code: 4429, reason: 'FLOODING' }
  const bytes = await server.connect(1)
  const frame = JSON.stringify({ type: 'nothing', data: { x: 'x'.repeat(60_000) } })
  for (let i = 0; i < 2; i++) bytes.send(frame)
  await bytes.flush()
  for (let i = 0; i < 3; i++) bytes.send(frame)
  t.match(await bytes.closed, flooding, 'bytes')
  const pings = await server.connect(2)
  for (let i = 0; i < 80; i++) pings.ws.ping()
  t.match(await pings.closed, flooding, 'pings')
  const pongs = await server.connect(3)
  for (let i = 0; i < 1000; i++) pongs.ws.pong()
  t.match(await pongs.closed, flooding, 'pongs')
})

t.test('stops reading a connection that it has closed for flooding', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const client = await server.connect(1)
  // Make the client ignore the server's close frame.
  ;(client.ws as unknown as { _receiver: { removeAllListeners (event: string): void } })._receiver.removeAllListeners('conclude')
  const socket = (client.ws as unknown as { _socket: import('node:net').Socket })._socket
  for (let i = 0; i < 1000; i++) client.ws.pong()
  await once(socket, 'close')
  t.equal(server.app.sockets.size, 0)
})

t.test('limits the requests that wait for a join', async (t) => {
  const server = shared
  const hold = Promise.withResolvers<undefined>()
  server.app.hooks.on('room:create', () => hold.promise)
  const [many, large, few] = [await server.connect(1), await server.connect(2), await server.connect(3)]
  for (const [i, client] of [many, large, few].entries()) client.send({ type: 'room:join', data: { roomId: `r${i}` } })
  for (let i = 0; i < 201; i++) many.send({ type: 'nothing' })
  t.match(await many.closed, { code: 4429 }, '201 requests')
  for (let i = 0; i < 5; i++) large.send({ type: 'nothing', data: { x: 'x'.repeat(60_000) } })
  t.match(await large.closed, { code: 4429 }, '300 KB')
  const replies = Array.from({ length: 199 }, () => few.fails('nothing'))
  hold.resolve(undefined)
  t.ok((await Promise.all(replies)).every((code) => code === 'UNKNOWN_TYPE'), 'fewer requests are handled after the join')
})

t.test('closes a session without a connection if too many of its requests wait for a join', async (t) => {
  const { app } = shared
  const hold = Promise.withResolvers<undefined>()
  app.hooks.on('room:create', () => hold.promise)
  const user = { id: 1, name: 'Ada', roles: [], profile: { userId: 1, id: 1 } }
  const session = app.sockets.open({ identity: { user } })
  const join = app.messages.dispatch(session, 'room:join', { roomId: 'r1' }).catch((error: unknown) => error)
  const requests = Array.from({ length: 201 }, () => app.messages.dispatch(session, 'room:leave').catch((error: unknown) => error))
  t.match(await requests.at(-1), { code: 'UNAUTHORIZED' })
  t.equal(session.open, false)
  hold.resolve(undefined)
  await Promise.all([join, ...requests])
})

t.test('rejects frames with too many values or too deep nesting', async (t) => {
  const client = await shared.connect(1)
  t.match(await client.request('user:getRoom', { userId: 1, x: Array(2000).fill(0) }), { ok: false, error: { code: 'VALIDATION_FAILED', message: 'The frame must not have more than 2000 values' } })
  t.match(await client.request('user:getRoom', { userId: 1, x: JSON.parse('['.repeat(31) + ']'.repeat(31)) as unknown }), { ok: false, error: { code: 'VALIDATION_FAILED', message: 'The frame must not nest more than 32 levels' } })
  t.match(await client.request('user:getRoom', { userId: 1, x: '[{,'.repeat(3000) }), { ok: true })
})

t.test("does not use a client's close code as a metric label", nativeOnly, async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  for (const code of [1000, 3000, 3777, 4999]) (await server.connect(code)).ws.close(code)
  await until(() => server.app.sockets.size === 0)
  const lines = (await (await fetch(`${server.url}/metrics`)).text()).split('\n').filter((line) => line.startsWith('flylive_socket_closed_total{'))
  t.same(lines.sort(), ['flylive_socket_closed_total{code="1000"} 1', 'flylive_socket_closed_total{code="other"} 3'])
})

onEveryStore(t, "limits seat commands per minute: 30 for the user's own seat, 240 for host commands", async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats', WS_MESSAGES_BURST: '1000', SEAT_COMMANDS_PER_MINUTE: '30', SEAT_ADMIN_COMMANDS_PER_MINUTE: '240', ...env } })
  const [owner, member] = [await server.connect(1), await server.connect(2)]
  for (const client of [owner, member]) await client.ok('room:join', { roomId: 'r1' })
  for (let i = 0; i < 15; i++) {
    await member.ok('seat:take', { seatIndex: i % 15 })
    await member.ok('seat:leave')
  }
  const limited = { code: 'RATE_LIMITED', details: { retryAfterMs: Number } }
  for (const type of ['seat:take', 'seat:request']) t.match((await member.request(type, { seatIndex: 0 })).error, limited, type)
  for (let i = 0; i < 120; i++) {
    await owner.ok('seat:lock', { seatIndex: 3 })
    await owner.ok('seat:unlock', { seatIndex: 3 })
  }
  t.match((await owner.request('seat:lock', { seatIndex: 3 })).error, limited)
  await owner.ok('seat:take', { seatIndex: 0 })
})

onEveryStore(t, 'limits transports, producers and unmutes, but not mutes', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,media', MEDIA_COMMANDS_PER_MINUTE: '5', ...env } })
  const [ada, phone] = [await server.connect(1), await server.connect('1')]
  for (const client of [ada, phone]) await client.ok('room:join', { roomId: 'r1' })
  const { id: transportId } = await ada.ok('transport:create', { type: 'producer' })
  const { id: producerId } = await ada.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() })
  await ada.ok('audio:selfMute', { producerId })
  await ada.ok('audio:selfUnmute', { producerId })
  await ada.ok('transport:restartIce', { transportId })
  await phone.ok('transport:create', { type: 'consumer' })
  const limited = { code: 'RATE_LIMITED', details: { retryAfterMs: Number } }
  for (let i = 0; i < 3; i++) await ada.ok('audio:selfMute', { producerId })
  for (const [type, data] of [['transport:create', { type: 'consumer' }], ['audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() }], ['audio:selfUnmute', { producerId }], ['transport:restartIce', { transportId }]] as const) {
    t.match((await ada.request(type, data)).error, limited, type)
  }
  await ada.ok('audio:closeProducer', { producerId })
  await (await server.connect(2)).ok('room:join', { roomId: 'r1' })
})

onEveryStore(t, 'limits wrong PINs per address and per room, except for members', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth', TRUST_PROXY: 'true', ...env } })
  const from = (n: number) => ({ headers: { 'x-forwarded-for': `203.0.113.${n}` } })
  const owner = await server.connect('owner', from(1))
  await owner.ok('room:join', { roomId: 'r1', pin: '1234' })
  await owner.ok('room:join', { roomId: 'r2', pin: '1234' })
  await owner.ok('room:join', { roomId: 'r1', pin: '1234' })
  let users = 0
  /**
   * Tries to join with wrong PINs. Each user tries four times.
   *
   * @returns the error codes
   */
  const guess = async (count: number, address: number, roomId = 'r1') => {
    const codes: string[] = []
    for (let i = 0; i < count; i += 4) {
      const client = await server.connect(`guesser${users++}`, from(address))
      for (let n = i; n < Math.min(i + 4, count); n++) codes.push(await client.fails('room:join', { roomId, pin: '0000' }))
      client.ws.close()
    }
    return codes
  }
  t.same(new Set(await guess(20, 1)), new Set(['PIN_WRONG']))
  t.same(await guess(2, 1, 'r2'), ['RATE_LIMITED', 'RATE_LIMITED'], 'the limit per address applies in every room')
  await owner.ok('room:join', { roomId: 'r1', pin: '1234' })
  for (let address = 2; address <= 10; address++) t.same(new Set(await guess(20, address)), new Set(['PIN_WRONG']))
  t.same(await guess(1, 11), ['RATE_LIMITED'], 'the limit per room applies to every address')
  await owner.ok('room:join', { roomId: 'r1', pin: '1234' })
  t.equal(await (await server.connect('late', from(12))).fails('room:join', { roomId: 'r1', pin: '1234' }), 'RATE_LIMITED')
  await (await server.connect('later', from(12))).ok('room:join', { roomId: 'r2', pin: '1234' })
})

t.test('all servers and connection types share one count of wrong PINs', async (t) => {
  const servers = pair
  const headers = { 'x-forwarded-for': '203.0.113.7' }
  const owner = await servers[0].connect('owner', { headers })
  await owner.ok('room:join', { roomId: 'pin', pin: '1234' })
  const record = await servers[0].app.store.getRoom('pin')
  if (!record) throw new Error('the room does not exist')
  const join = (face: 'native' | 'socket.io') => async (server: TestServer, user: string) => {
    const client = await server.connect(user, { face, headers })
    return await client.fails('room:join', { roomId: 'pin', pin: '0000' })
  }
  const kinds: ((server: TestServer, user: string) => Promise<string>)[] = [
    join('native'),
    join('socket.io'),
    async ({ url }, user) => {
      const response = await fetch(`${url}/whip/pin?pin=0000`, { method: 'POST', headers: { ...headers, authorization: `Bearer ${tokenFor(user)}`, 'content-type': 'application/sdp' }, body: chromiumOffer })
      return (await response.json() as { error: { code: string } }).error.code
    },
    async ({ app }) => await app.rooms.checkPin({ room: record, pin: '0000', address: '203.0.113.7' }).then(() => 'ok', (error: { code: string }) => error.code)
  ]
  const attempt = async (i: number) => await (kinds[i % 4] as typeof kinds[0])(servers[i % 8 < 4 ? 0 : 1], `user${i}`)
  const codes = await Promise.all(Array.from({ length: 24 }, (_, i) => attempt(i)))
  t.equal(codes.filter((code) => code === 'PIN_WRONG').length, 20, codes.join())
  t.equal(codes.filter((code) => code === 'RATE_LIMITED').length, 4)
  for (let i = 0; i < 8; i++) t.equal(await attempt(i), 'RATE_LIMITED')

  // After the PIN is changed, clients reconnect with the old PIN.
  const admin = await servers[1].connect('admin')
  await admin.ok('room:join', { roomId: 'pin', pin: '1234' })
  await owner.ok('room:setRole', { userId: 'admin', role: 'admin' })
  await admin.event('room:role')
  await admin.ok('room:lock', { pin: '5678' })
  for (let i = 0; i < 7; i++) {
    await owner.ok('room:leave')
    await owner.ok('room:join', { roomId: 'pin', pin: '1234' })
  }
})

t.test('rejects . and .. as ids', async (t) => {
  const server = shared
  const ada = await server.connect(1)
  for (const id of ['.', '..']) {
    t.equal(await ada.fails('room:join', { roomId: id }), 'VALIDATION_FAILED')
    t.equal(await ada.fails('user:getRoom', { userId: id }), 'VALIDATION_FAILED')
    t.match(await refusalOf(server, id), { status: 401 })
  }
  await ada.ok('room:join', { roomId: '...' })
  for (const id of ['.', '..']) {
    for (const [method, path] of [['GET', '/admin/rooms/'], ['GET', '/admin/users/'], ['DELETE', '/admin/rooms/r1/bans/']] as const) {
      // HTTP clients remove the segments `.` and `..` from URLs, so use `inject`.
      const { statusCode } = await server.app.inject({ method, url: path + id, headers: { authorization: `Bearer ${adminKey}` } })
      t.ok(statusCode === 400 || statusCode === 404, `${method} ${path}${id}: ${statusCode}`)
    }
  }
})

t.test('rejects . and .. as user ids if a feature identifies users itself', async (t) => {
  const server = shared
  const authenticate = ({ url }: { url: string }) => {
    const id = url.split('?').at(-1) ?? ''
    return { user: { id, name: 'Ada', roles: [], profile: { userId: id, id } } }
  }
  server.app.gate.upgrade('/own', { authenticate })
  for (const [id, status] of [['.', 401], ['..', 401], ['...', 101]] as const) {
    const ws = new WebSocket(`${server.url.replace('http', 'ws')}/own?${id}`, ['msab.v1'])
    ws.on('error', () => { /* The response is awaited below. */ })
    const response = await Promise.race([once(ws, 'open').then(() => ({ statusCode: 101 })), once(ws, 'unexpected-response').then(([, response]) => response as { statusCode: number })])
    t.equal(response.statusCode, status, id)
    ws.terminate()
  }
})

t.test('rejects . and .. as recipients of gifts', async (t) => {
  const ada = await shared.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  for (const recipientId of ['.', '..']) {
    for (const type of ['gift:send', 'gift:prepare']) t.equal(await ada.fails(type, { giftId: 1, recipientId }), 'VALIDATION_FAILED')
  }
})
