import { observer } from 'mediasoup'
import t from 'tap'
import { build, onEveryStore } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { dtlsParameters, rtpParameters } from '../../support/rtp.ts'
import { produce, scene } from './scene.ts'

let beforeProduce = async () => {}
observer.on('newworker', (worker) => worker.observer.on('newrouter', (router) => router.observer.on('newtransport', (transport) => {
  const { produce } = transport
  transport.produce = async (...args) => {
    await beforeProduce()
    return await produce.apply(transport, args) as never
  }
})))

onEveryStore(t, 'sending audio requires a seat', async (t, env) => {
  const { server, owner, member, other } = await scene(t, env)
  const { id: transportId } = await member.ok('transport:create', { type: 'producer' })
  await member.ok('transport:connect', { transportId, dtlsParameters })
  const data = { transportId, kind: 'audio', rtpParameters: rtpParameters() }
  t.equal(await member.fails('audio:produce', data), 'NOT_SEATED')
  const ownersTransport = await owner.ok('transport:create', { type: 'producer' })
  t.equal(await owner.fails('audio:produce', { transportId: ownersTransport.id, kind: 'audio', rtpParameters: rtpParameters() }), 'NOT_SEATED', 'even the owner needs a seat')
  await member.ok('seat:take', { seatIndex: 0 })
  const { id: producerId } = await member.ok('audio:produce', data)
  t.same(await other.event('audio:newProducer'), { roomId: 'r1', producerId, userId: 3, source: 'voice', kind: 'audio' })
  t.equal(server.app.sfu.producersOf('r1').length, 1)
})

onEveryStore(t, 'leaving the seat closes the producer', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, env)
  const ways: Record<string, () => Promise<unknown>> = {
    leaving: () => member.ok('seat:leave'),
    moving: () => member.ok('seat:take', { seatIndex: 1 }),
    'being moved': () => owner.ok('seat:assign', { userId: 3, seatIndex: 2 }),
    'losing the seat to an assigned user': () => owner.ok('seat:assign', { userId: 2, seatIndex: 0 }),
    'being removed': () => admin.ok('seat:remove', { userId: 3 }),
    'a lock': async () => {
      await admin.ok('seat:lock', { seatIndex: 0 })
      await admin.ok('seat:unlock', { seatIndex: 0 })
    },
    'accepting an invite to another seat': async () => {
      await owner.ok('seat:invite', { userId: 3, seatIndex: 3 })
      await member.ok('seat:invite:accept')
    }
  }
  await other.ok('seat:take', { seatIndex: 3 })
  const others = await produce(other)
  for (const [name, getOff] of Object.entries(ways)) {
    if (name === 'accepting an invite to another seat') await other.ok('seat:leave')
    await member.request('seat:leave')
    await admin.request('seat:leave')
    await member.ok('seat:take', { seatIndex: 0 })
    const producerId = await produce(member)
    await owner.event('audio:newProducer', (data) => data.producerId === producerId)
    await getOff()
    t.same(await owner.event('audio:producerClosed', (data) => data.producerId === producerId), { roomId: 'r1', producerId, userId: 3, source: 'voice' }, name)
    t.equal(await member.fails('audio:selfMute', { producerId }), 'PRODUCER_NOT_FOUND')
    t.equal(server.app.sfu.producersOf('r1').some(({ userId }) => userId === 3), false)
    if (name !== 'accepting an invite to another seat') t.same(server.app.sfu.producersOf('r1'), [{ producerId: others, userId: '4', source: 'voice', isPaused: false }], 'other users keep sending')
  }
})

onEveryStore(t, 'taking the same seat again does not close the producer', async (t, env) => {
  const { server, owner, member } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  const producerId = await produce(member)
  await member.ok('seat:take', { seatIndex: 0 })
  await owner.ok('seat:assign', { userId: 3, seatIndex: 0 })
  await owner.ok('seat:take', { seatIndex: 1 })
  await owner.flush()
  t.match(server.app.sfu.producersOf('r1'), [{ producerId }])
})

onEveryStore(t, 'a user who is removed from the seat while creating a producer sends no audio', async (t, env) => {
  const { server, owner, member } = await scene(t, env)
  const { id: transportId } = await member.ok('transport:create', { type: 'producer' })
  await member.ok('transport:connect', { transportId, dtlsParameters })
  for (let round = 0; round < 10; round++) {
    await member.ok('seat:take', { seatIndex: 0 })
    const [{ ok }] = await Promise.all([
      member.request('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() }),
      owner.ok(round % 2 ? 'seat:remove' : 'seat:lock', { userId: 3, seatIndex: 0 })
    ])
    await until(() => server.app.sfu.producersOf('r1').length === 0)
    t.type(ok, 'boolean')
    await owner.request('seat:unlock', { seatIndex: 0 })
  }
})

onEveryStore(t, 'a user who loses the seat while creating a producer receives the reason', async (t, env) => {
  const { owner, member } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  beforeProduce = async () => { await owner.ok('seat:remove', { userId: 3 }) }
  t.teardown(() => { beforeProduce = async () => {} })
  const { id: transportId } = await member.ok('transport:create', { type: 'producer' })
  t.equal(await member.fails('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() }), 'NOT_SEATED')
})

t.test('closes the producer of a user on another server', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const [owner, member, listener] = [await a.connect(1), await b.connect(3), await b.connect(4)]
  for (const client of [owner, member, listener]) await client.ok('room:join', { roomId: 'r1' })
  await member.ok('seat:take', { seatIndex: 0 })
  const first = await produce(member)
  await listener.event('audio:newProducer')

  await owner.ok('seat:mute', { userId: 3 })
  t.same(await listener.event('audio:producerPaused'), { roomId: 'r1', producerId: first, userId: 3, source: 'voice' })
  await owner.ok('seat:unmute', { userId: 3 })
  t.same(await listener.event('audio:producerResumed'), { roomId: 'r1', producerId: first, userId: 3, source: 'voice' })
  await owner.ok('seat:remove', { userId: 3 })
  t.same(await listener.event('audio:producerClosed'), { roomId: 'r1', producerId: first, userId: 3, source: 'voice' })
  t.same(b.app.sfu.producersOf('r1'), [])

  // The member may start to send audio before the member's server receives the seat change.
  for (let round = 0; round < 10; round++) {
    await owner.ok('seat:assign', { userId: 3, seatIndex: 1 })
    const producerId = await produce(member)
    await listener.event('audio:newProducer', (data) => data.producerId === producerId)
    await owner.ok('seat:assign', { userId: 3, seatIndex: 2 })
    await listener.event('audio:producerClosed', (data) => data.producerId === producerId)
  }
})
