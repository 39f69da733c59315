import { observer } from 'mediasoup'
import t from 'tap'
import type { ProducerOwner } from '../../../plugins/media/producer.ts'
import { build } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { until } from '../../support/retry.ts'
import { dtlsParameters, rtpParameters } from '../../support/rtp.ts'
import { opusSilence, rtpReceiver, sendSilence } from '../../support/rtp-packets.ts'

const everybodyMaySpeak = { FEATURES: 'auth,media' }
const service: ProducerOwner = { userId: 'mix', userKey: 'mix', nodeId: 'n1', kind: 'service' }
const everything = () => true

let transports = 0
observer.on('newworker', (worker) => worker.observer.on('newrouter', (router) => router.observer.on('newtransport', (transport) => {
  transports++
  transport.observer.once('close', () => transports--)
})))

async function produce (client: TestClient): Promise<string> {
  const { id: transportId } = await client.ok('transport:create', { type: 'producer' }) as { id: string }
  await client.ok('transport:connect', { transportId, dtlsParameters })
  const { id } = await client.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() }) as { id: string }
  return id
}

t.test('a tap tracks the producers of a room as they are created, paused and closed', async (t) => {
  const { app, ...server } = await build(t, { env: everybodyMaySpeak })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const first = await produce(ada)
  const tap = await app.sfu.tap('r1', { port: 9 })
  t.match(tap.voices, [{ producerId: first, userId: 1, source: 'voice', paused: false, ssrc: Number, payloadType: Number, levelExtensionId: Number }])

  const lists: string[][] = []
  tap.on('voices', (voices) => lists.push(voices.map(({ userId, paused }) => `${userId}${paused ? ' paused' : ''}`)))
  const second = await produce(bob)
  await until(() => lists.length === 1)
  t.equal(new Set(tap.voices.map(({ ssrc }) => ssrc)).size, 2, 'SSRCs are unique')
  await ada.ok('audio:selfMute', { producerId: first })
  await until(() => lists.length === 2)
  await ada.ok('audio:selfUnmute', { producerId: first })
  await until(() => lists.length === 3)
  await bob.ok('audio:closeProducer', { producerId: second })
  await until(() => lists.length === 4)
  t.same(lists, [['1', '2'], ['1 paused', '2'], ['1', '2'], ['1']])
})

t.test('a tap receives injected audio, and members receive the producer of the injection', async (t) => {
  const { app, ...server } = await build(t, { env: everybodyMaySpeak })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const receiver = await rtpReceiver(t)
  const tap = await app.sfu.tap('r1', { port: receiver.port, follows: everything })
  const injection = await app.sfu.inject('r1', service, { ssrc: 4711, source: 'music' })
  t.same(await ada.event('audio:newProducer'), { roomId: 'r1', producerId: injection.producerId, userId: 'mix', source: 'music', kind: 'audio' })
  t.equal(injection.ip, '127.0.0.1')
  const [voice] = await until(() => tap.voices.length === 1 && tap.voices)
  t.match(voice, { producerId: injection.producerId, source: 'music' })

  sendSilence(t, 4711, injection)
  await until(() => receiver.packets.length >= 5)
  t.match(receiver.packets[0], { ssrc: voice?.ssrc, payloadType: voice?.payloadType })
  t.same(receiver.packets[0]?.payload, opusSilence)
  t.match(app.sfu.producersOf('r1'), [{ producerId: injection.producerId, userId: 'mix', isPaused: false }])
  t.same((await app.sfu.tap('r1', { port: 9 })).voices, [], 'a tap includes only users by default')

  injection.close()
  injection.close()
  t.same(await ada.event('audio:producerClosed'), { roomId: 'r1', producerId: injection.producerId, userId: 'mix', source: 'music' })
  await until(() => tap.voices.length === 0)
})

t.test('taps and injections are reopened after a worker dies', async (t) => {
  const { app, ...server } = await build(t, { env: everybodyMaySpeak })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const receiver = await rtpReceiver(t)
  const tap = await app.sfu.tap('r1', { port: receiver.port, follows: everything })
  const injection = await app.sfu.inject('r1', service, { ssrc: 4711 })
  await ada.event('audio:newProducer')
  const { producerId } = injection
  const sendTo = sendSilence(t, 4711, injection)
  injection.on('reopened', sendTo)
  await until(() => receiver.packets.length >= 5)

  process.kill(app.sfu.workers()[0]?.pid as number, 'SIGKILL')
  await ada.event('media:reset')
  t.match(await ada.event('audio:newProducer', (data) => data.producerId === producerId), { userId: 'mix' })
  const [voice] = await until(() => tap.voices.length === 1 && tap.voices)
  await until(() => receiver.packets.filter(({ ssrc }) => ssrc === voice?.ssrc).length >= 5)
  t.equal(app.sfu.producersOf('r1').length, 1)
  t.equal(tap.closed || injection.closed, false)
})

t.test('taps and injections close with their room', async (t) => {
  const { app, ...server } = await build(t, { env: everybodyMaySpeak })
  for (const [name, end] of [
    ['closed', (ada: TestClient) => app.rooms.close('r1', 'admin').then(() => ada.event('room:closed'))],
    ['left by its last member', (ada: TestClient) => ada.ok('room:leave')]
  ] as const) {
    const ada = await server.connect(1)
    await ada.ok('room:join', { roomId: 'r1' })
    const tap = await app.sfu.tap('r1', { port: 9 })
    const injection = await app.sfu.inject('r1', service, { ssrc: 1 })
    let closes = 0
    for (const attachment of [tap, injection]) attachment.on('close', () => closes++)
    await end(ada)
    await until(() => closes === 2)
    for (const attachment of [tap, injection]) attachment.close()
    t.equal(closes, 2, `once when the room is ${name}`)
    t.equal(app.sfu.describe('r1'), undefined, 'its router is closed')
    await ada.close()
  }
  await t.rejects(app.sfu.tap('r1', { port: 9 }), { code: 'ROOM_NOT_FOUND' })
  await t.rejects(app.sfu.inject('r1', service, { ssrc: 1 }), { code: 'ROOM_NOT_FOUND' })
})

t.test('an injection for a session follows the rules for that session', async (t) => {
  const { app, ...server } = await build(t, { env: { FEATURES: 'auth,media,seats' } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1', seatCount: 4 })
  const owner: ProducerOwner = { userId: 1, userKey: '1', nodeId: app.nodeId, sessionId: String(ada.greeting.sessionId), kind: 'session' }
  await t.rejects(app.sfu.inject('r1', owner, { ssrc: 1 }), { code: 'NOT_SEATED' })
  await ada.ok('seat:take', { seatIndex: 1 })
  await t.rejects(app.sfu.inject('r1', { ...owner, sessionId: 'gone' }, { ssrc: 1 }), { code: 'NOT_IN_ROOM' })

  const music = await app.sfu.inject('r1', service, { ssrc: 2 })
  const first = await app.sfu.inject('r1', owner, { ssrc: 1 })
  await ada.ok('seat:leave')
  await until(() => first.closed)
  await ada.ok('seat:take', { seatIndex: 1 })
  const second = await app.sfu.inject('r1', owner, { ssrc: 1 })
  await ada.ok('room:leave')
  await until(() => second.closed)
  t.equal(music.closed, false, 'a service needs no seat')
  t.match(app.sfu.producersOf('r1'), [{ producerId: music.producerId }])
})

t.test('closed taps and injections leave no transport open', async (t) => {
  const { app, ...server } = await build(t, { env: everybodyMaySpeak })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  await produce(ada)
  const before = transports
  for (let round = 0; round < 20; round++) {
    const attachments = await Promise.all([
      app.sfu.tap('r1', { port: 9 }),
      app.sfu.inject('r1', service, { ssrc: 1 }),
      app.sfu.inject('r1', { ...service, userId: 'other' }, { ssrc: 2 })
    ])
    t.equal(transports, before + 3)
    for (const attachment of attachments) attachment.close()
  }
  t.equal(transports, before)
  t.equal(app.sfu.producersOf('r1').length, 1)
})

t.test('a tap or an injection that cannot be opened leaves no transports behind', async (t) => {
  const { app, ...server } = await build(t, { env: { ...everybodyMaySpeak, MAX_ROOMS_PER_WORKER: '1' } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  await ada.ok('room:join', { roomId: 'r1' })
  await bob.ok('room:join', { roomId: 'r2' })
  await t.rejects(app.sfu.tap('r1', { port: 70_000 }), RangeError)
  await t.rejects(app.sfu.inject('r1', service, { ssrc: 0 }), RangeError)

  await produce(ada)
  const before = transports
  await t.rejects(app.sfu.tap('r2', { port: 9 }), { code: 'OVERLOADED' })
  await t.rejects(app.sfu.inject('r2', service, { ssrc: 1 }), { code: 'OVERLOADED' })
  t.equal(transports, before)
  t.equal(app.sfu.describe('r2'), undefined)
  await ada.ok('room:leave')
  t.equal((await app.sfu.tap('r2', { port: 9 })).closed, false, 'a worker has capacity again')
})
