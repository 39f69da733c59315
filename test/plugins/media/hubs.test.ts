import { observer } from 'mediasoup'
import t from 'tap'
import { spreadAfter } from '../../../plugins/media/pool.ts'
import { build } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { until } from '../../support/retry.ts'
import { dtlsParameters, rtpCapabilities, rtpParameters } from '../../support/rtp.ts'

let pipes = 0
observer.on('newworker', (worker) => worker.observer.on('newrouter', (router) => router.observer.on('newtransport', (transport) => {
  if (transport.type !== 'pipe') return
  transport.observer.on('newproducer', (producer) => {
    pipes++
    producer.observer.once('close', () => pipes--)
  })
})))

async function produce (client: TestClient): Promise<string> {
  const { id: transportId } = await client.ok('transport:create', { type: 'producer' }) as { id: string }
  await client.ok('transport:connect', { transportId, dtlsParameters })
  const { id } = await client.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() }) as { id: string }
  return id
}

async function listen (client: TestClient, producerIds: readonly string[]): Promise<string[]> {
  const { id: transportId } = await client.ok('transport:create', { type: 'consumer' }) as { id: string }
  const consumers: string[] = []
  for (const producerId of producerIds) consumers.push((await client.ok('audio:consume', { transportId, producerId, rtpCapabilities })).id as string)
  return consumers
}

t.test('the listeners of a room are spread over the workers, and a dead worker affects only its own listeners', async (t) => {
  const { app, ...server } = await build(t, { env: { FEATURES: 'auth,media', MEDIASOUP_WORKERS: '2' } })
  const join = async (userId: number) => {
    const client = await server.connect(userId)
    await client.ok('room:join', { roomId: 'r1' })
    return client
  }
  const speakers = [await join(1), await join(2)]
  const producerIds: string[] = []
  for (const client of speakers) producerIds.push(await produce(client))
  const [main] = app.sfu.workers().filter(({ routers }) => routers > 0)

  // Each of these listeners has a transport and two consumers.
  const near = await Promise.all(Array.from({ length: Math.ceil(spreadAfter / 3) }, (_, i) => join(10 + i)))
  for (const client of near) await listen(client, producerIds)
  t.equal(app.sfu.workers().filter(({ routers }) => routers > 0).length, 1, 'a small room stays on one worker')
  t.equal(pipes, 0)
  const far = await Promise.all([join(100), join(101)])
  const consumers: string[][] = []
  for (const client of far) consumers.push(await listen(client, producerIds))
  t.equal(app.sfu.workers().filter(({ routers }) => routers > 0).length, 2)
  t.equal(pipes, 2, 'each producer is piped once')

  const [ada] = speakers as [TestClient, TestClient]
  await ada.ok('audio:selfMute', { producerId: producerIds[0] })
  await until(async () => (await far[0]?.ok('consumer:resume', { consumerId: consumers[0]?.[0] }))?.deferred === true)
  await ada.ok('audio:selfUnmute', { producerId: producerIds[0] })

  for (const [i, client] of far.entries()) await client.ok('consumer:close', { consumerId: consumers[i]?.[0] })
  await until(() => pipes === 1)
  t.pass('a pipe closes with its last consumer')

  const other = app.sfu.workers().find(({ pid }) => pid !== main?.pid)
  process.kill(other?.pid as number, 'SIGKILL')
  for (const client of far) {
    t.same(await client.event('media:reset'), { roomId: 'r1', reason: 'worker_died' })
    const announced = [await client.event('audio:newProducer'), await client.event('audio:newProducer')]
    t.same(announced.map(({ producerId }) => producerId), producerIds, 'the producers that still exist are announced again')
    await listen(client, producerIds)
  }
  for (const client of [...speakers, ...near]) t.notOk(client.events.some(({ type }) => ['media:reset', 'consumer:closed', 'audio:producerClosed'].includes(type)), 'other members receive no event')
  for (const client of far) await client.ok('room:leave')
  await until(() => app.sfu.workers().filter(({ routers }) => routers > 0).length === 1)
  t.equal(pipes, 0)
})

t.test("a listener's router takes over when the producers' worker dies", async (t) => {
  const { app, ...server } = await build(t, { env: { FEATURES: 'auth,media', MEDIASOUP_WORKERS: '2' } })
  const join = async (userId: number) => {
    const client = await server.connect(userId)
    await client.ok('room:join', { roomId: 'r1' })
    return client
  }
  const ada = await join(1)
  const producerId = await produce(ada)
  const near = await Promise.all(Array.from({ length: Math.ceil(spreadAfter / 2) }, (_, i) => join(10 + i)))
  for (const client of near) await listen(client, [producerId])
  const [main] = app.sfu.workers().filter(({ routers }) => routers > 0)
  const far = await join(100)
  const { id: transportId } = await far.ok('transport:create', { type: 'consumer' }) as { id: string }
  const { id: consumerId } = await far.ok('audio:consume', { transportId, producerId, rtpCapabilities })
  const injection = await app.sfu.inject('r1', { userId: 'mix', userKey: 'mix', nodeId: app.nodeId, kind: 'service' }, { ssrc: 4711 })

  const reopened = new Promise((resolve) => injection.on('reopened', resolve))
  process.kill(main?.pid as number, 'SIGKILL')
  for (const client of [ada, ...near]) await client.event('media:reset')
  t.match(await far.event('consumer:closed'), { consumerId })
  await until(() => far.events.some(({ type, data }) => type === 'audio:producerClosed' && data.producerId === producerId))
  await reopened
  t.notOk(far.events.some(({ type }) => type === 'media:reset'), 'the transport of the listener continues')
  t.match(app.sfu.producersOf('r1'), [{ producerId: injection.producerId }])

  const renewed = await produce(ada)
  await far.ok('audio:consume', { transportId, producerId: renewed, rtpCapabilities })
  for (const client of [ada, far, ...near]) await client.ok('room:leave')
  await until(() => app.sfu.workers().every(({ routers }) => routers === 0))
  t.ok(injection.closed)
})
