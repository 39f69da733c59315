import wrtc from '@roamhq/wrtc'
import t from 'tap'
import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import type { AudioOptions, RequestError } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { listConnections } from '../support/peer-connections.ts'
import { until } from '../support/retry.ts'
import { rtpParameters } from '../support/rtp.ts'
import { createTone as tone } from '../support/wrtc.ts'

// Tests the client in Node, with a WebRTC package instead of a browser.

const { RTCAudioSink } = wrtc.nonstandard

function enter (t: Test, server: TestServer, id: number, audio: AudioOptions) {
  const room = new RoomClient({ url: server.url, token: () => tokenFor(id), audio })
  t.teardown(() => room.close())
  return room
}

t.test('Node programs exchange audio over any announced address that they can reach', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,seats', MEDIASOUP_ANNOUNCED_IP: '192.0.2.1,audio.invalid,127.0.0.1' } })
  const listener = enter(t, server, 1, { handlerName: 'Chrome111' })
  await listener.join('r1')
  const speaker = enter(t, server, 2, { handlerName: 'Chrome111', receive: false })
  await speaker.join('r1')
  await speaker.seats.takeFree()
  await speaker.audio?.publish(tone(t))

  await until(() => listener.audio?.heard.length === 1)
  const [heard] = listener.audio?.heard ?? []
  t.equal(heard?.userId, 2)
  const sink = new RTCAudioSink(heard?.track as MediaStreamTrack)
  t.teardown(() => sink.stop())
  let loudest = 0
  sink.ondata = ({ samples }: { samples: Int16Array }) => { loudest = Math.max(loudest, ...samples) }
  await until(() => loudest > 4000)
  await until(() => listener.participants.some(({ isSpeaking, userId }) => isSpeaking && userId === 2))
  t.pass('the server detects the active speaker')

  // The speaker has `receive: false`, so the server sends the speaker no audio.
  await listener.seats.takeFree()
  await listener.audio?.publish(tone(t))
  await until(() => speaker.audio?.producers.length === 1)
  const { body } = await server.admin('GET', '/admin/rooms/r1')
  const transports = body?.transports as { userId: number, type: string }[]
  t.same(transports.filter(({ userId }) => userId === 2).map(({ type }) => type), ['producer'])
  t.same(speaker.audio?.heard, [])
  t.equal(speaker.audio?.state, 'on')
})

t.test('a listener receives the voices or the mix after two round trips', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,mix' } })
  const voices = 3
  const speaker = await server.connect(1)
  await speaker.ok('room:join', { roomId: 'r1' })
  const { id: transportId } = await speaker.ok('transport:create', { type: 'producer' })
  for (let i = 0; i < voices; i++) await speaker.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() })

  for (const [i, receive] of (['voices', 'mix'] as const).entries()) {
    const listener = enter(t, server, 10 + i, { handlerName: 'Chrome111', receive })
    const consumers = receive === 'mix' ? 1 : voices
    const sent = listRequests(listener)
    // Hold back the replies of the second round trip until the client has sent all requests of that round trip. A
    // request that waited for one of these replies would never be sent.
    const second = ['transport:connect', ...Array.from({ length: consumers }, () => 'audio:consume')].toSorted()
    sent.hold(second, async () => { await until(() => sent.types.filter((type) => second.includes(type)).length === second.length) })
    await listener.join('r1')
    await until(() => listener.audio?.state === 'on' && listener.audio.heard.length === consumers)
    t.same(sent.types.slice(0, 2), ['room:join', 'transport:create'])
    t.same(sent.types.slice(2).toSorted(), second)
  }
})

t.test('the silent track stays active when voices are added', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media' } })
  const connections = listConnections(t)
  const listener = enter(t, server, 1, { handlerName: 'Chrome111' })
  await listener.join('r1')
  await until(() => listener.audio?.state === 'on')
  const [receiving] = connections.filter(({ connectionState }) => connectionState === 'connected')
  await speak(t, server, 2)
  await until(() => listener.audio?.heard.length === 1)
  const sections = receiving?.currentRemoteDescription?.sdp.split('\r\nm=').slice(1) ?? []
  t.same(sections.map((section) => section.match(/^a=(mid:silent|sendonly|inactive)/gm)), [['a=mid:silent', 'a=sendonly'], ['a=sendonly']])
})

t.test('packets of a voice that arrive before its media section are not assigned to the silent track', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media' } })
  await speak(t, server, 2)
  /** The SSRCs of the streams that existed before the voice's media section. */
  let early: (number | undefined)[] = []
  listConnections(t, async (connection, { sdp = '' }) => {
    if (!sdp.includes('a=mid:0')) return
    const packets = async () => (await statsOf(connection)).reduce((sum, { type, packetsReceived = 0 }) => type === 'transport' ? sum + packetsReceived : sum, 0)
    const before = await packets()
    await until(async () => await packets() >= before + 10)
    early = (await statsOf(connection)).filter(({ type }) => type === 'inbound-rtp').map(({ ssrc }) => ssrc)
  })
  const listener = enter(t, server, 1, { handlerName: 'Chrome111' })
  await listener.join('r1')
  await until(() => listener.audio?.heard.length === 1)
  t.same(early, [1], 'only the silent track has a stream')
})

interface ConnectionStats {
  type: string
  ssrc?: number
  packetsReceived?: number
}

const statsOf = async (connection: RTCPeerConnection) => [...(await connection.getStats()).values() as Iterable<ConnectionStats>]

/** Connects a user who sends a tone. */
async function speak (t: Test, server: TestServer, id: number) {
  const speaker = enter(t, server, id, { handlerName: 'Chrome111', receive: false })
  await speaker.join('r1')
  await speaker.audio?.publish(tone(t))
}

/** Records the requests of a client, and can delay the replies. */
function listRequests ({ connection }: RoomClient) {
  const request = connection.request.bind(connection)
  const types: string[] = []
  let held: { types: string[], until: () => Promise<void> } | undefined
  connection.request = async (type, data, apply) => {
    types.push(type)
    const reply = await request(type, data, apply)
    if (held?.types.includes(type) === true) await held.until()
    return reply
  }
  return { types, hold: (types: string[], until: () => Promise<void>) => { held = { types, until } } }
}

t.test('after 3 s, the server closes a producer whose bit rate is too high, and notifies the other members', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media', VOICE_MAX_KBPS: '6' } })
  const speaker = enter(t, server, 1, { handlerName: 'Chrome111', receive: false })
  const refusals: string[] = []
  speaker.audio?.on('refused', (error) => refusals.push((error as RequestError).code))
  const listener = await server.connect(2)
  await listener.ok('room:join', { roomId: 'r1' })
  await speaker.join('r1')
  await speaker.audio?.publish(tone(t), { source: 'music' })
  await speaker.audio?.publish(tone(t))
  await until(() => refusals.length > 0)
  t.same(refusals, ['BITRATE_EXCEEDED'])
  t.equal(speaker.audio?.publishing, false)
  t.equal(speaker.state, 'in')
  t.match(await listener.event('audio:producerClosed'), { userId: 1, reason: 'bitrate', source: 'voice' })
  t.equal(speaker.audio?.music, 'live', 'music has its own limit')
  t.match(await (await fetch(`${server.url}/metrics`)).text(), /flylive_producers_over_bitrate_total 1/)

  await speaker.audio?.publish(tone(t))
  await until(() => refusals.length > 1)
  t.pass('the next track is watched, too')
})

t.test('without a handler name, a client can use a room but not its audio', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media' } })
  const room = enter(t, server, 1, {})
  const reasons: (string | undefined)[] = []
  room.audio?.on('state', (state, why) => reasons.push(`${state} ${why?.name}`))
  await room.join('r1')
  await until(() => room.audio?.state === 'off')
  t.match(reasons.at(-1), 'off UnsupportedError')
  t.equal(room.state, 'in')
})
