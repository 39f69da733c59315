import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { build, tokenFor } from '../../support/build.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { until } from '../../support/retry.ts'
import { dtlsParameters } from '../../support/rtp.ts'
import { createFaceEvents, enter } from './support.ts'

// Tests the requests, acks and events of Socket.IO clients, which share rooms with native clients.

t.test('acks have the format of the earlier server, including its flat ack of room:join', async (t) => {
  const { url } = await build(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,socket-io' } })
  const roomId = randomUUID()
  const { ask } = await enter(t, url, 1)
  const joined = await ask('room:join', { roomId })
  t.match(joined, { success: true, rtpCapabilities: { codecs: Array }, participants: [{ userId: 1 }], seats: emptyArray, lockedSeats: emptyArray, existingProducers: emptyArray, roomId, self: { role: 'owner' } })
  t.notOk('data' in joined)
  t.same(await ask('seat:take', { roomId, seatIndex: 3 }), { success: true, data: { seatIndex: 3 } })
  const transport = await ask('transport:create', { roomId, type: 'producer' })
  t.match(transport, { success: true, data: { id: String, iceParameters: Object, iceCandidates: Array, dtlsParameters: Object } })
  t.same(await ask('transport:connect', { roomId, transportId: transport.data?.id, dtlsParameters }), { success: true, data: {} })
  t.same(await ask('user:getRoom', { userId: 1 }), { success: true, data: { roomId } })
  t.match(await ask('gift:send', { roomId, giftId: 7, recipientId: 1 }), { success: true, data: { transactionId: String } })
  t.same(await ask('seat:take', { roomId, seatIndex: 99 }), { success: false, error: 'This room has no seat 99', code: 'SEAT_INVALID' })
  t.match(await ask('gift:send', { roomId, giftId: randomUUID(), recipientId: 1 }), { success: false, code: 'VALIDATION_FAILED', error: /giftId/, details: [{ path: 'giftId' }] })
  t.match(await ask('room:join', { roomId: 'not valid' }), { success: false, code: 'VALIDATION_FAILED', error: String })
  t.match(await ask('nothing'), { success: false, code: 'UNKNOWN_TYPE' })
  t.match(await ask('room:react', { emoji: '🔥' }), { success: false, code: 'FEATURE_DISABLED' })
  t.same(await ask('room:leave', { roomId }), { success: true, data: {} })
})

t.test('the ack of a join in a large room is at most 64 KiB', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  // The first, the middle and the last profile are small, so the server underestimates the size of the reply.
  const tokens = Array.from({ length: 30 }, (_, i) => tokenFor(i + 1, i % 15 === 0 ? {} : { signature: 'x'.repeat(3500) }))
  const members = await Promise.all(tokens.map(async (token, i) => await server.connect(i + 1, { token, face: 'native' })))
  for (const member of members) await member.ok('room:join', { roomId: 'r1' })
  const { ask } = await enter(t, server.url, 99)
  const joined = await ask('room:join', { roomId: 'r1' })
  const { participants } = joined as unknown as { participants: object[] }
  t.ok(participants.length > 15 && participants.length < 25, `${participants.length} participants fit`)
  t.ok(Buffer.byteLength(JSON.stringify([joined])) <= 65_536)
})

t.test('accepts `type` as an older name of `messageType`', async (t) => {
  const { url } = await build(t, { env: { FEATURES: 'auth,chat,socket-io' } })
  const { ask, events } = await enter(t, url, 1)
  await ask('room:join', { roomId: 'r1' })
  await ask('chat:message', { roomId: 'r1', content: '🔥', type: 'emoji' })
  await ask('chat:message', { roomId: 'r1', content: 'both', type: 'emoji', messageType: 'text' })
  t.match(await ask('chat:message', { roomId: 'r1', content: 'x', type: 'nothing' }), { code: 'VALIDATION_FAILED' })
  t.same(events.filter(({ type }) => type === 'chat:message').map(({ data }) => data.messageType), ['emoji', 'text'])
})

t.test('without an ack, a failure is sent as an `error` event', async (t) => {
  const { url } = await build(t, { env: { FEATURES: 'auth,chat,socket-io' } })
  const { socket, ask, events, event } = await enter(t, url, 1)
  socket.emit('chat:message', { content: 'hello' })
  t.match(await event('error'), { code: 'NOT_IN_ROOM', message: String, type: 'chat:message' })
  socket.emit('room:join', { roomId: 'r1' })
  socket.emit('chat:message', { content: 'hello' })
  await event('chat:message')
  await ask('nothing')
  t.equal(events.filter(({ type }) => type === 'error').length, 1)
})

t.test('Socket.IO and native clients of a room receive the same events', async (t) => {
  const server = await build(t)
  const [native, client] = [await server.connect(1, { face: 'native' }), await enter(t, server.url, 2)]
  await native.ok('room:join', { roomId: 'r1' })
  await client.ask('room:join', { roomId: 'r1' })
  const third = await server.connect(3, { face: 'native' })
  await third.ok('room:join', { roomId: 'r1' })
  await client.ask('seat:take', { seatIndex: 1 })
  await native.ok('seat:lock', { seatIndex: 1 })
  await client.ask('chat:message', { content: 'from "Socket.IO" \u2028 💥' })
  await native.ok('gift:send', { giftId: 7, recipientId: 2 })
  await native.ok('gift:prepare', { giftId: 7, recipientId: 2 })
  await client.event('gift:prepare')
  await third.close()
  await native.event('room:userLeft')
  await client.event('room:userLeft')
  const own = new Set(['session:ready', 'gift:prepare', 'room:userJoined', 'room:userLeft'])
  const common = (events: { type: string, data: unknown }[]) => events.filter(({ type }) => !own.has(type)).map(({ type, data }) => ({ type, data }))
  t.same(common(client.events), common(native.events))
  t.match(common(client.events).map(({ type }) => type), ['seat:updated', 'seat:cleared', 'seat:locked', 'chat:message', 'gift:received'])
  t.same(client.events.find(({ type }) => type === 'room:userJoined'), native.events.find(({ type, data }) => type === 'room:userJoined' && data.userId === 3))
})

t.test('encodes events that do not have the usual form', async (t) => {
  const encode = createFaceEvents()
  t.equal(encode({ type: 'a:b', data: { x: '"},' } }), '2["a:b",{"x":"\\"},"}]')
  t.equal(encode({ type: 'quo"te', data: 1 }), '2["quo\\"te",1]')
  t.equal(encode({ type: 'none', data: undefined }), '2["none"]')
  t.equal(encode({ type: 'other', data: 1, text: '{"data":1,"type":"other"}' }), '2["other",1]')
})

t.test('an event is serialised once for all native and Socket.IO clients', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  const native = await server.connect(1, { face: 'native' })
  const clients = await Promise.all([2, 3, 4].map((id) => enter(t, server.url, id)))
  let serialised = 0
  server.app.sockets.broadcast('x:once', { value: { toJSON: () => ++serialised } })
  t.same(await native.event('x:once'), { value: 1 })
  for (const { event } of clients) t.same(await event('x:once'), { value: 1 })
  t.equal(serialised, 1)
})

t.test('rejects packets that are expensive to process, and packets that are not requests', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat,socket-io' } })
  const connect = async () => {
    const ws = new WebSocket(`${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`)
    t.teardown(() => ws.terminate())
    const packets: string[] = []
    ws.on('message', (data) => packets.push(String(data)))
    await once(ws, 'open')
    ws.send(`40${JSON.stringify({ token: tokenFor(1) })}`)
    await until(() => packets.some((packet) => packet.startsWith('42["session:ready"')))
    return { ws, packets }
  }
  const { ws, packets } = await connect()
  const answer = async (packet: string) => {
    packets.length = 0
    ws.send(packet)
    return await until(() => packets.find((text) => text.startsWith('43') || text.startsWith('42["error"')) ?? false)
  }
  const nested = `{"userId":${'['.repeat(20_000)}${']'.repeat(20_000)}}`
  for (const [packet, expected] of [
    [`421["user:getRoom",${nested}]`, '431[{"success":false,"error":"The frame must not nest more than 32 levels"'],
    [`422["user:getRoom",{"userId":[${'0,'.repeat(5000)}0]}]`, '432[{"success":false,"error":"The frame must not have more than 2000 values"'],
    ['423["user:getRoom",{"__proto__":{"userId":1}}]', '433[{"success":false'],
    ['424["__proto__",{}]', '434[{"success":false,"error":"Unknown message type __proto__","code":"UNKNOWN_TYPE"'],
    ['425["toString"]', '435[{"success":false,"error":"Unknown message type toString"'],
    ['426["disconnect"]', '436[{"success":false,"error":"Unknown message type disconnect"'],
    ['427[]', '437[{"success":false,"error":"The event name'],
    ['428[5]', '438[{"success":false,"error":"The event name'],
    ['429["user:getRoom",[1]]', '439[{"success":false,"error":"The payload must be an object"'],
    ['4210["user:getRoom",{"userId":1}', '4310[{"success":false,"error":"The frame is not JSON"'],
    ['4211["user:getRoom",{"userId":1},{"userId":2},"x"]', '4311[{"success":true,"data":{"roomId":null}}]'],
    ['4212["user:getRoom",null]', '4312[{"success":false,"error":"userId: '],
    [`4213[${JSON.stringify('x'.repeat(200))}]`, '4313[{"success":false,"error":"The event name'],
    ['42/admin,["user:getRoom",{"userId":1}]', '42["error",{"code":"VALIDATION_FAILED"'],
    ['42999999999999999999["user:getRoom",{"userId":1}]', '42["error",{"code":"VALIDATION_FAILED"'],
    ['42', '42["error",{"code":"VALIDATION_FAILED"'],
    ['42x', '42["error",{"code":"VALIDATION_FAILED"']
  ] as const) t.equal((await answer(packet)).slice(0, expected.length), expected, packet.slice(0, 40))

  for (const [name, packet] of Object.entries({
    'a binary packet': Buffer.from('x'),
    'the head of a binary event': '451-["chat:message",{"_placeholder":true,"num":0}]',
    'an ack that the server has not asked for': '431[{}]'
  })) {
    const other = await connect()
    const closed = once(other.ws, 'close') as Promise<[number, Buffer]>
    other.ws.send(packet)
    const [code, reason] = await closed
    t.equal(`${code} ${String(reason)}`, '1003 UNSUPPORTED_DATA', name)
  }
  const large = await connect()
  const [code] = await Promise.all([once(large.ws, 'close').then(([code]) => code as number), large.ws.send(`42["chat:message",{"content":"${'x'.repeat(70_000)}"}]`)])
  t.equal(code, 1009)
  t.equal((await answer('421["user:getRoom",{"userId":1}]')), '431[{"success":true,"data":{"roomId":null}}]', 'other connections are unaffected')
})
