import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { RequestError, RoomClient } from '../../client/index.ts'
import type { JoinReply, ReceiveMode, RemoteAudio } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { listConnections } from '../support/peer-connections.ts'
import { until } from '../support/retry.ts'
import { followSound, mixId } from '../support/sound.ts'
import { createTone } from '../support/wrtc.ts'

// Tests that a client restores its audio after a request fails or takes long, and does not interrupt other audio.

/** Joins a room and records the states of the audio from then on. */
async function enter (t: Test, server: TestServer, id: number, receive: ReceiveMode = 'auto') {
  const room = new RoomClient({ url: server.url, token: () => tokenFor(id), audio: { handlerName: 'Chrome111', receive } })
  t.teardown(() => room.close())
  const audio = room.audio as NonNullable<typeof room.audio>
  await room.join('r1')
  await until(() => audio.state === 'on')
  const states: string[] = []
  audio.on('state', (state) => states.push(state))
  return { room, audio, states }
}

type Member = Awaited<ReturnType<typeof enter>>

/** Rejects the client's next request of this type, without sending it. */
function rejectNext ({ room: { connection } }: Member, type: string, code: string, details?: unknown) {
  const request = connection.request.bind(connection)
  let isRejected = false
  connection.request = async (next, data, apply) => {
    if (next !== type || isRejected) return await request(next, data, apply)
    isRejected = true
    throw new RequestError({ code, message: 'Rejected by the test', details })
  }
}

/** The state of a user's microphone, as another member sees it. */
const microphoneOf = (userId: number, { room }: Member) => room.participants.find((participant) => participant.userId === userId)?.microphone

t.test('a voice that the server cannot receive is requested again, while the other voices continue', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media' } })
  const listener = await enter(t, server, 1)
  const heard: RemoteAudio[] = []
  const removed: RemoteAudio[] = []
  listener.audio.on('added', (audio) => heard.push(audio))
  listener.audio.on('removed', (audio) => removed.push(audio))
  for (const [i, code] of ['', 'UNAVAILABLE', 'TIMEOUT', 'PRODUCER_NOT_FOUND'].entries()) {
    if (code !== '') rejectNext(listener, 'audio:consume', code)
    const speaker = await enter(t, server, 2 + i, false)
    await speaker.audio.publish(createTone(t))
    await until(() => heard.length === i + 1)
  }
  t.same(heard.map(({ userId }) => userId), [2, 3, 4, 5])
  t.same(removed, [])
  t.same(listener.states, [])
})

t.test('a voice that ends is not requested again', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media' } })
  const listener = await enter(t, server, 1)
  const speaker = await enter(t, server, 2, false)
  const requests: unknown[] = []
  const { connection } = listener.room
  const request = connection.request.bind(connection)
  connection.request = async (type, data, apply) => {
    if (type !== 'audio:consume') return await request(type, data, apply)
    requests.push(data)
    throw new RequestError({ code: 'UNAVAILABLE', message: 'Rejected by the test' })
  }
  await speaker.audio.publish(createTone(t))
  await until(() => requests.length > 0)
  speaker.audio.unpublish()
  await until(() => listener.audio.producers.length === 0)
  const before = requests.length
  await speaker.audio.publish(createTone(t))
  await until(() => requests.length >= before + 2)
  const [first, ...later] = [requests[0], ...requests.slice(before)].map((data) => (data as { producerId: string }).producerId)
  t.notOk(later.includes(first as string))
})

t.test('a client that turns receiving off and on again keeps its transports', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media' } })
  const listener = await enter(t, server, 1)
  const speaker = await enter(t, server, 2, false)
  const sound = followSound(t, listener.room)
  await speaker.audio.publish(createTone(t))
  await until(() => sound.hears(2))
  listener.audio.setReceive(false)
  await until(() => listener.audio.heard.length === 0 && !sound.hears(2))
  listener.audio.setReceive('auto')
  await until(() => sound.hears(2))
  t.same(listener.states, [])
})

for (const when of ['before', 'after'] as const) {
  t.test(`a track that the server confirms ${when} the transports fail, and that is then unpublished, ends for the other members`, async (t) => {
    const server = await build(t, { env: { FEATURES: 'auth,media' } })
    const [ada, bob] = [await enter(t, server, 1), await enter(t, server, 2)]
    const { produce } = server.app.sfu
    const confirmed = Promise.withResolvers<void>()
    if (when === 'before') confirmed.resolve()
    server.app.sfu.produce = async (session, ...track) => {
      const id = await produce(session, ...track)
      if (session.identity.user.id === 1) await confirmed.promise
      return id
    }
    ada.audio.publish(createTone(t)).catch(() => {})
    await until(() => microphoneOf(1, bob) === 'live')
    if (when === 'before') await until(() => ada.audio.microphone === 'live')
    // The client replaces its transports after this error.
    rejectNext(ada, 'audio:consume', 'TRANSPORT_NOT_FOUND')
    const failed = new Promise<void>((resolve) => ada.audio.on('state', (state) => {
      if (state !== 'connecting') return
      ada.audio.unpublish()
      resolve()
    }))
    await bob.audio.publish(createTone(t))
    await failed
    confirmed.resolve()
    await until(() => microphoneOf(1, bob) === 'none')
    await until(() => ada.audio.state === 'on')
  })
}

t.test('a mix that the server replaces while the browser sets up its track is requested again', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,mix' } })
  const speaker = await enter(t, server, 1, false)
  await speaker.audio.publish(createTone(t))
  const listener = await enter(t, server, 2, false)
  const sound = followSound(t, listener.room)
  let closed = 0
  listener.room.connection.on('consumer:closed', () => { closed++ })
  listConnections(t, async (_connection, { sdp = '' }) => {
    if (closed > 0 || !sdp.includes('a=mid:0')) return
    server.app.sfu.closeMixConsumers()
    await until(() => closed === 1)
  })
  listener.audio.setReceive('mix')
  await until(() => sound.hears(mixId))
  t.equal(closed, 1)
  t.equal(listener.audio.heard.length, 1)
})

t.test('a client that exceeds a limit of the server keeps its transports and sends the request again', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media' } })
  const [ada, bob] = [await enter(t, server, 1), await enter(t, server, 2)]
  for (const type of ['transport:create', 'audio:produce']) {
    rejectNext(ada, type, 'RATE_LIMITED', { retryAfterMs: 50 })
    await ada.audio.publish(createTone(t))
    ada.audio.unpublish()
  }
  await ada.audio.publish(createTone(t))
  ada.audio.mute()
  await until(() => microphoneOf(1, bob) === 'muted')
  rejectNext(ada, 'audio:selfUnmute', 'RATE_LIMITED', { retryAfterMs: 50 })
  ada.audio.unmute()
  await until(() => microphoneOf(1, bob) === 'live')
  t.same(ada.states, [])
})

t.test('a track that ends while the client creates the transport is replaced', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media' } })
  const speaker = await enter(t, server, 1)
  const refused: string[] = []
  speaker.audio.on('refused', (error) => refused.push(error.message))
  const { connection } = speaker.room
  const request = connection.request.bind(connection)
  const ended = Promise.withResolvers<void>()
  connection.request = async (type, data, apply) => {
    const reply = await request(type, data, apply)
    if (type === 'transport:create') await ended.promise
    return reply
  }
  const reopened = Promise.withResolvers<MediaStreamTrack>()
  const track = createTone(t)
  const published = speaker.audio.publish(track, { reopen: () => reopened.promise })
  track.stop()
  track.dispatchEvent(new Event('ended'))
  await until(() => speaker.audio.microphone === 'interrupted')
  ended.resolve()
  // The client now tries to send the track that has ended.
  await turn()
  reopened.resolve(createTone(t))
  await published
  t.same(refused, [])
  t.same(speaker.states, [])
})

t.test('a later join reply renews the credentials for TURN servers', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,chat', TURN_URLS: 'turn:127.0.0.1:9', TURN_SECRET: 'long-enough-secret' } })
  const connections = listConnections(t)
  const { room, audio } = await enter(t, server, 1)
  // The credentials are different in each second, because they contain the time when they expire.
  const { now } = Date
  t.teardown(() => { Date.now = now })
  Date.now = () => now() + 5000
  const renewed = new Promise<JoinReply>((resolve) => room.on('entered', resolve))
  await server.admin('POST', '/admin/features/chat/disable')
  await server.admin('POST', '/admin/features/chat/enable')
  const { iceServers } = await renewed
  await audio.publish(createTone(t))
  const usernames = () => connections.filter(({ connectionState }) => connectionState === 'connected').map((connection) => connection.getConfiguration().iceServers?.[0]?.username)
  t.same(usernames(), [iceServers?.[0]?.username, iceServers?.[0]?.username], 'for both transports')
})
