import { observer } from 'mediasoup'
import type { types } from 'mediasoup'
import t from 'tap'
import { build } from '../../support/build.ts'
import { until } from '../../support/retry.ts'
import { dtlsParameters, rtpCapabilities, rtpParameters } from '../../support/rtp.ts'

const transports = new Map<string, types.Transport>()
const consumers = new Map<string, types.Consumer>()
const producers = new Map<string, types.Producer>()
observer.on('newworker', (worker) => worker.observer.on('newrouter', (router) => router.observer.on('newtransport', (transport) => {
  transports.set(transport.id, transport)
  transport.observer.on('newconsumer', (consumer) => consumers.set(consumer.id, consumer))
  transport.observer.on('newproducer', (producer) => producers.set(producer.id, producer))
})))

const server = await build(t, { env: { FEATURES: 'auth,media', VOICE_MAX_KBPS: '64', MUSIC_MAX_KBPS: '192' } })
const [ada, bob] = [await server.connect(1), await server.connect(2)]
const joined = await ada.ok('room:join', { roomId: 'r1' })
await bob.ok('room:join', { roomId: 'r1' })
const { id: transportId } = await ada.ok('transport:create', { type: 'producer' })
const { id: receiving } = await bob.ok('transport:create', { type: 'consumer' })
await ada.ok('transport:connect', { transportId, dtlsParameters })
const produce = (data: object) => ada.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters(), ...data })
const consume = (data: object) => bob.ok('audio:consume', { transportId: receiving, rtpCapabilities, ...data })

t.test('asks a sender to keep within the bit rates of one voice and one music producer', async (t) => {
  const limitOf = async (id: unknown) => (await transports.get(String(id))?.getStats() as types.WebRtcTransportStat[])[0]?.maxIncomingBitrate
  t.equal(await limitOf(transportId), 256_000)
  t.equal(await limitOf(receiving), undefined)
})

t.test('producer events and join replies contain the source of the audio', async (t) => {
  t.same(joined.maxBitrates, { voice: 64_000, music: 192_000 })
  const { id: voice } = await produce({})
  const { id: music } = await produce({ source: 'music' })
  t.match(await bob.event('audio:newProducer', ({ producerId }) => producerId === voice), { source: 'voice' })
  t.match(await bob.event('audio:newProducer', ({ producerId }) => producerId === music), { source: 'music' })
  t.same(producers.get(String(music))?.appData, { source: 'music' })
  const cyd = await server.connect(3)
  t.match(await cyd.ok('room:join', { roomId: 'r1' }), { existingProducers: [{ producerId: voice, source: 'voice' }, { producerId: music, source: 'music' }] })
  await ada.ok('audio:selfMute', { producerId: music })
  t.same(await bob.event('audio:producerPaused'), { roomId: 'r1', producerId: music, userId: 1, source: 'music' })
  await ada.ok('audio:selfUnmute', { producerId: music })
  t.same(await bob.event('audio:producerResumed'), { roomId: 'r1', producerId: music, userId: 1, source: 'music' })
  await ada.ok('audio:closeProducer', { producerId: music })
  t.same(await bob.event('audio:producerClosed'), { roomId: 'r1', producerId: music, userId: 1, source: 'music' })
  t.equal(await ada.fails('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters(), source: 'video' }), 'VALIDATION_FAILED')
  t.match(server.app.sfu.producersOf('r1'), [{ producerId: voice, source: 'voice' }])
})

t.test('a consumer starts paused unless the request has `paused: false`', async (t) => {
  const { id: producerId } = await produce({})
  const { id: paused } = await consume({ producerId })
  t.equal(consumers.get(String(paused))?.paused, true)
  const { id: running } = await consume({ producerId, paused: false })
  t.equal(consumers.get(String(running))?.paused, false)
  t.equal(await bob.fails('audio:consume', { transportId: receiving, rtpCapabilities, producerId, paused: 1 }), 'VALIDATION_FAILED')
  await bob.ok('consumer:pause', { consumerId: running })
  t.equal(consumers.get(String(running))?.paused, true)
})

t.test('a client closes its consumer', async (t) => {
  const { id: producerId } = await produce({})
  const { id: consumerId } = await consume({ producerId, paused: false })
  bob.events.length = 0
  t.equal(await ada.fails('consumer:close', { consumerId }), 'CONSUMER_NOT_FOUND', "a user cannot close another user's consumer")
  await bob.ok('consumer:close', { consumerId })
  t.equal(consumers.get(String(consumerId))?.closed, true)
  t.equal(await bob.fails('consumer:close', { consumerId }), 'CONSUMER_NOT_FOUND')
  await ada.ok('audio:closeProducer', { producerId })
  await until(() => bob.events.some(({ type }) => type === 'audio:producerClosed'))
  t.same(bob.events.filter(({ type }) => type === 'consumer:closed'), [], 'the client is not notified of what it closed')
})
