import t from 'tap'
import { seatState } from '../../../features/seats/state.ts'
import { build, onBothStores } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient, } from '../../support/client.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { metricOf } from '../../support/metrics.ts'
import { listenToMix } from '../../support/mix-listener.ts'
import { speak } from '../../support/mix.ts'
import { redisDatabase } from '../../support/redis.ts'
import { reloadable, reloadAll } from '../../support/reloads.ts'
import { until } from '../../support/retry.ts'
import { rtpCapabilities } from '../../support/rtp.ts'

async function receiver (client: TestClient): Promise<string> {
  return (await client.ok('transport:create', { type: 'consumer' })).id as string
}

onBothStores(t, 'recommends the mix when enough users listen, until their number falls below 80 % of the threshold', async (t, env) => {
  const server = await build(t, { env: { ...env, FEATURES: 'auth,media,mix,seats', MIX_FROM_LISTENERS: '5' } })
  const clients: TestClient[] = []
  const join = async () => {
    const client = await server.connect(clients.length + 1)
    clients.push(client)
    return await client.ok('room:join', { roomId: 'r1' })
  }
  const recommendations = () => clients[0]?.events.filter(({ type }) => type === 'audio:mix').map(({ data }) => data)
  for (let i = 0; i < 4; i++) t.match(await join(), { mix: { recommended: false } })
  await clients[0]?.ok('seat:take', { seatIndex: 0 })
  await join()
  await clients[0]?.flush()
  t.same(recommendations(), [], 'four people without a seat are too few')
  await clients[0]?.ok('seat:leave')
  for (const client of clients) t.same(await client.event('audio:mix'), { roomId: 'r1', recommended: true })
  t.match(await join(), { mix: { recommended: true } })

  await clients[1]?.ok('seat:take', { seatIndex: 1 })
  await clients[2]?.ok('room:leave')
  await clients[0]?.event('room:userLeft')
  await clients[0]?.flush()
  t.same(recommendations()?.length, 1, 'four people without a seat are 80 %')
  await clients[3]?.ok('room:leave')
  t.same(await clients[0]?.event('audio:mix'), { roomId: 'r1', recommended: false })
  t.match(await join(), { mix: { recommended: false } })
})

t.test('a new threshold applies immediately to the rooms that have members', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,mix' } })
  const client = await server.connect(1)
  t.match(await client.ok('room:join', { roomId: 'r1' }), { mix: { recommended: false } })
  for (const [fromListeners, recommended] of [[1, true], [2, false]] as const) {
    t.match(await server.admin('PATCH', '/admin/features/mix/config', { fromListeners }), { status: 200 })
    t.same(await client.event('audio:mix'), { roomId: 'r1', recommended })
  }
})

t.test('a seat change counts the people on all servers', async (t) => {
  const env = { FEATURES: 'auth,media,mix,seats', MIX_FROM_LISTENERS: '3', REDIS_URL: await redisDatabase() }
  const [here, there] = [await build(t, { env }), await build(t, { env })]
  const enter = async (server: TestServer, userId: number) => {
    const client = await server.connect(userId)
    await client.ok('room:join', { roomId: 'r1' })
    return client
  }
  const others = [await enter(there, 4), await enter(there, 5)]
  const ada = await enter(here, 1)
  for (const userId of [2, 3]) await enter(here, userId)
  t.match(await ada.event('audio:mix'), { recommended: true })
  for (const client of others) {
    await client.ok('room:leave')
    await ada.event('room:userLeft')
  }
  // The last number of people that this server has seen itself is five.
  await ada.ok('seat:take', { seatIndex: 0 })
  t.match(await ada.event('audio:mix'), { recommended: false }, 'two people have no seat')
})

t.test('the seat of a disconnected user does not count', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,mix,seats', MIX_FROM_LISTENERS: '3', SEAT_GRACE_SECONDS: '3600' } })
  const [ada, bob, ...others] = await Promise.all([1, 2, 3, 4].map((userId) => server.connect(userId))) as [TestClient, TestClient, TestClient, TestClient]
  for (const client of [ada, bob, others[0]]) await client.ok('room:join', { roomId: 'r1' })
  t.match(await ada.event('audio:mix'), { recommended: true })
  await bob.ok('seat:take', { seatIndex: 0 })
  t.match(await ada.event('audio:mix'), { recommended: false })
  await others[1].ok('room:join', { roomId: 'r1' })
  t.match(await ada.event('audio:mix'), { recommended: true })
  // The server may count the people before it marks the user's seat.
  bob.ws.terminate()
  await until(() => server.app.rooms.roomState.define('seats', seatState).peek('r1')?.seats[0]?.awayUntil !== undefined)
  await until(() => ada.events.findLast(({ type }) => type === 'audio:mix')?.data.recommended === true)
})

t.test('changing the threshold or toggling the seats feature affects existing rooms', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,mix,seats' } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await ada.ok('seat:take', { seatIndex: 0 })
  await server.admin('PATCH', '/admin/features/mix/config', { fromListeners: 2 })
  await server.admin('POST', '/admin/features/seats/disable')
  t.match(await ada.event('audio:mix'), { recommended: true }, 'nobody is seated')
  await server.admin('POST', '/admin/features/seats/enable')
  t.match(await ada.event('audio:mix'), { recommended: false })
})

t.test('a client can consume the mix in any room, but not while the feature is off', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,mix' } })
  const { app } = server
  const ada = await server.connect(1)
  t.match(ada.greeting, { features: ['auth', 'media', 'mix'] })
  const joined = await ada.ok('room:join', { roomId: 'r1' })
  t.match(joined, { mix: { recommended: false }, existingProducers: emptyArray })
  const transportId = await receiver(ada)
  const consume = { transportId, producerId: 'mix', rtpCapabilities }
  const consumer = await ada.ok('audio:consume', consume)
  t.match(consumer, { id: String, producerId: 'mix', kind: 'audio', rtpParameters: { codecs: [{ mimeType: 'audio/opus', channels: 2, parameters: { 'sprop-stereo': 1 } }] } })
  t.same(await ada.ok('consumer:resume', { consumerId: consumer.id }), {})
  t.same(await ada.ok('consumer:pause', { consumerId: consumer.id }), {})
  t.same(app.sfu.producersOf('r1'), [], 'the mix is not one of the producers')
  t.same((await ada.request('room:join', { roomId: 'r1' })).data.existingProducers, [])
  t.same(ada.events.filter(({ type }) => type === 'audio:newProducer'), [])

  const again = await ada.ok('audio:consume', { ...consume, transportId: await receiver(ada), paused: false })
  const third = await ada.ok('audio:consume', { ...consume, transportId: (await ada.ok('transport:create', { type: 'consumer' })).id })
  t.not(again.id, third.id)
  t.equal(await ada.fails('audio:consume', { ...consume, transportId: 'none' }), 'TRANSPORT_NOT_FOUND')
  const latest = await receiver(ada)
  t.equal(await ada.fails('audio:consume', { ...consume, transportId: latest, rtpCapabilities: { codecs: [{ ...rtpCapabilities.codecs[0], mimeType: 'audio/PCMU', clockRate: 8000 }] } }), 'CANNOT_CONSUME')
  const last = await ada.ok('audio:consume', { ...consume, transportId: latest })

  t.equal(await metricOf(server, 'flylive_mix_listeners'), 1)
  await server.admin('POST', '/admin/features/mix/disable')
  t.match(await ada.event('consumer:closed'), { consumerId: last.id })
  t.equal(await metricOf(server, 'flylive_mix_listeners'), 0)
  t.equal(await ada.fails('audio:consume', { ...consume, transportId: latest }), 'FEATURE_DISABLED')
  await server.admin('POST', '/admin/features/mix/enable')
  t.match(await ada.ok('audio:consume', { ...consume, transportId: latest }), { producerId: 'mix' })
})

t.test('feature reloads do not interrupt voices, the mix or the audio of users who take a seat', async (t) => {
  const { url } = await build(t, { env: reloadable })
  const { voicesMs, mixMs, seatedMs, lost } = await reloadAll(t, [url], ['mix', 'media', 'seats'], 3)
  t.comment(`longest silence: voices ${voicesMs} ms, mix ${mixMs} ms, listeners who took seats ${seatedMs} ms`)
  t.equal(lost, 0)
  // The limit is high because the machine may be busy. three-servers.long.ts has the limits for an idle machine.
  for (const ms of [voicesMs, mixMs, seatedMs]) t.ok(ms < 1000, `${ms} ms`)
})

t.test('a listener receives the mix over WebRTC, without loss while features are reloaded', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,mix,seats' } })
  const ada = await server.connect(1)
  const joined = await ada.ok('room:join', { roomId: 'r1' })
  const listener = await listenToMix(t, ada, joined)
  await speak(t, server.app, 'r1', { hz: 500, amplitude: 0.3 })
  await until(async () => (await listener.stats()).totalAudioEnergy > 0.01)
  const before = await listener.stats()
  for (const feature of ['mix', 'media', 'seats']) t.equal((await server.admin('POST', `/admin/features/${feature}/reload`)).status, 200)
  await until(async () => (await listener.stats()).packetsReceived >= before.packetsReceived + 50)
  const after = await listener.stats()
  t.equal(after.packetsLost, before.packetsLost)
  t.same(ada.events.filter(({ type }) => type === 'consumer:closed'), [])

  // The listener keeps its consumer when a mixer thread dies.
  const [thread] = server.app.sfu.mixThreads()
  await thread?.terminate()
  const { packetsReceived, totalAudioEnergy } = await listener.stats()
  await until(async () => {
    const stats = await listener.stats()
    return stats.packetsReceived > packetsReceived + 50 && stats.totalAudioEnergy > totalAudioEnergy + 0.01
  })
  t.same(ada.events.filter(({ type }) => type === 'consumer:closed'), [])

  process.kill(server.app.sfu.workers()[0]?.pid as number, 'SIGKILL')
  await ada.event('media:reset')
  const next = await listenToMix(t, ada, joined)
  await until(async () => (await next.stats()).packetsReceived > 20)
  t.pass('the mix can be consumed again after the death of a media worker')
})
