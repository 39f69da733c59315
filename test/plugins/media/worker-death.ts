import type { Test } from 'tap'
import { RoomClient } from '../../../client/index.ts'
import { build, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { lostPackets } from '../../support/lost-packets.ts'
import { until } from '../../support/retry.ts'
import { rtpCapabilities } from '../../support/rtp.ts'
import { followSound } from '../../support/sound.ts'
import type { Sound } from '../../support/sound.ts'
import { createTone } from '../../support/wrtc.ts'

const roomId = 'r1'
const backoff = { firstMs: 50, longestMs: 500 }

interface Listener {
  room: RoomClient
  sound: Sound
  /** When `media:reset` arrived. */
  resetAt: number | undefined
}

export interface WorkerDeath {
  /**
   * Number of members whose media was on the killed worker (`touched`), and number of all other members (`untouched`).
   */
  touched: number
  untouched: number
  /** Time until all listeners on the killed worker heard both speakers again, in milliseconds. */
  againMs: number
  /**
   * For the listeners on other workers: the longest silence of a speaker, in milliseconds, and the number of lost
   * packets.
   */
  silenceMs: number
  lost: number
}

const since = (at: number) => Math.round(performance.now() - at)

/**
 * Runs a room with two speakers on two media workers. Kills the worker without the speakers, then the speakers' worker.
 *
 * @param members number of members; most have a transport and two consumers but receive nothing
 * @param listeners number of members that actually receive audio
 * @returns the effects of killing the first worker, and the time from killing the second worker until all listeners
 *   hear both speakers again, in milliseconds
 */
export async function killWorkers (t: Test, { members, listeners: count }: { members: number, listeners: number }): Promise<WorkerDeath & { speakersAgainMs: number }> {
  const server = await build(t, { env: { FEATURES: 'auth,media', MEDIASOUP_WORKERS: '2' } })
  const speakers = [await enter(t, server, 1, false), await enter(t, server, 2, false)]
  for (const room of speakers) await room.audio?.publish(createTone(t))
  const silent: TestClient[] = []
  for (let i = 0; i < members - count - speakers.length; i++) silent.push(await receiveNothing(server, 100 + i))
  const listeners: Listener[] = []
  for (let i = 0; i < count; i++) {
    const room = await enter(t, server, 10 + i, 'voices')
    const listener: Listener = { room, sound: followSound(t, room), resetAt: undefined }
    room.connection.on('media:reset', () => { listener.resetAt = performance.now() })
    listeners.push(listener)
  }
  const hearsBoth = ({ sound }: Listener, at = -Infinity) => [1, 2].every((id) => sound.hears(id) && sound.lastSound(id) > at)
  await until(() => listeners.every((one) => hearsBoth(one)))

  const resetsOf = (client: TestClient) => client.events.filter(({ type }) => type === 'media:reset').length
  const main = server.app.sfu.describe(roomId)?.worker
  const kill = (isMain: boolean) => process.kill(server.app.sfu.workers().find(({ index }) => (index === main) === isMain)?.pid as number, 'SIGKILL')
  for (const { sound } of listeners) sound.watch()
  const lostBefore = await lostPackets()
  kill(false)
  await until(() => listeners.some(({ resetAt }) => resetAt !== undefined) && silent.some((client) => resetsOf(client) > 0))
  // Check only the audio that a listener received after its reset.
  await until(() => listeners.every((one) => one.resetAt === undefined || hearsBoth(one, one.resetAt)))
  const againMs = Math.round(Math.max(...listeners.filter(({ resetAt }) => resetAt !== undefined).flatMap(({ sound }) => [sound.longestSilence(1), sound.longestSilence(2)])))
  const others = listeners.filter(({ resetAt }) => resetAt === undefined)
  t.ok(others.length > 0, 'some listeners were on the other worker')
  const touched = listeners.length - others.length + silent.filter((client) => resetsOf(client) > 0).length
  const result = {
    touched,
    untouched: members - touched,
    againMs,
    silenceMs: Math.round(Math.max(...others.flatMap(({ sound }) => [sound.longestSilence(1), sound.longestSilence(2)]))),
    // This number counts only connections to other workers: connections to the dead worker are closed, and new
    // connections have not lost any packets yet.
    lost: await lostPackets() - lostBefore
  }
  const unnoticed = silent.filter((client) => resetsOf(client) === 0)
  t.notOk(unnoticed.some(({ events }) => events.some(({ type }) => ['consumer:closed', 'audio:producerClosed'].includes(type))), 'the others receive no event')

  const old = new Set(server.app.sfu.producersOf(roomId).map(({ producerId }) => producerId))
  const at = performance.now()
  kill(true)
  await until(() => listeners.every(({ room: { audio } }) => audio?.heard.length === 2 && audio.heard.every(({ producerId }) => !old.has(producerId))))
  const renewedAt = performance.now()
  await until(() => listeners.every((one) => hearsBoth(one, renewedAt)))
  return { ...result, speakersAgainMs: since(at) }
}

async function enter (t: Test, { url }: TestServer, id: number, receive: 'voices' | false): Promise<RoomClient> {
  const room = new RoomClient({ url, token: () => tokenFor(id), audio: { handlerName: 'Chrome111', receive }, backoff })
  t.teardown(() => room.close())
  await room.join(roomId)
  return room
}

/** Connects a member, creates a transport that is never connected, and creates a consumer for each producer. */
async function receiveNothing (server: TestServer, id: number): Promise<TestClient> {
  const client = await server.connect(id)
  await client.ok('room:join', { roomId })
  const { id: transportId } = await client.ok('transport:create', { type: 'consumer' }) as { id: string }
  for (const { producerId } of server.app.sfu.producersOf(roomId)) await client.ok('audio:consume', { transportId, producerId, rtpCapabilities, paused: false })
  return client
}
