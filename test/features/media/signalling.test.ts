import t from 'tap'
import type { Session } from '../../../plugins/connections/session.ts'
import type { LocalRoom } from '../../../plugins/rooms/node-rooms.ts'
import { build, onEveryStore } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { until } from '../../support/retry.ts'
import { dtlsParameters, rtpCapabilities, rtpParameters } from '../../support/rtp.ts'

/** The `seats` feature is off, so all members are allowed to send audio. */
const withoutSeats = { FEATURES: 'auth,media' }

async function produce (client: TestClient): Promise<{ transportId: string, producerId: string }> {
  const { id: transportId } = await client.ok('transport:create', { type: 'producer' }) as { id: string }
  await client.ok('transport:connect', { transportId, dtlsParameters })
  const { id: producerId } = await client.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() }) as { id: string }
  return { transportId, producerId }
}

async function consume (client: TestClient, producerId: string): Promise<string> {
  const { id: transportId } = await client.ok('transport:create', { type: 'consumer' }) as { id: string }
  const reply = await client.ok('audio:consume', { transportId, producerId, rtpCapabilities })
  return reply.id as string
}

onEveryStore(t, 'announces, consumes, mutes and closes producers', async (t, env) => {
  const server = await build(t, { env: { ...withoutSeats, ...env } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })

  const { producerId } = await produce(ada)
  t.same(await bob.event('audio:newProducer'), { roomId: 'r1', producerId, userId: 1, source: 'voice', kind: 'audio' })
  const eve = await server.connect(3)
  t.match(await eve.ok('room:join', { roomId: 'r1' }), { existingProducers: [{ producerId, userId: 1, isPaused: false }], activeSpeakers: emptyArray })

  const { id: transportId } = await bob.ok('transport:create', { type: 'consumer' }) as { id: string }
  const consumed = await bob.ok('audio:consume', { transportId, producerId, rtpCapabilities })
  t.match(consumed, { producerId, kind: 'audio', rtpParameters: { codecs: [{ mimeType: 'audio/opus' }] } })
  t.same(await bob.ok('consumer:resume', { consumerId: consumed.id }), {})
  t.same(await bob.ok('consumer:pause', { consumerId: consumed.id }), {})

  await ada.ok('audio:selfMute', { producerId })
  t.same(await bob.event('audio:producerPaused'), { roomId: 'r1', producerId, userId: 1, source: 'voice' })
  t.same(await bob.ok('consumer:resume', { consumerId: consumed.id }), { deferred: true })
  await ada.ok('audio:selfMute', { producerId })
  await ada.ok('audio:selfUnmute', { producerId })
  t.same(await bob.event('audio:producerResumed'), { roomId: 'r1', producerId, userId: 1, source: 'voice' })
  t.equal(bob.events.filter(({ type }) => type === 'audio:producerPaused').length, 1, 'muting is idempotent')

  t.match(await server.admin('GET', '/admin/rooms/r1'), { body: { producers: [{ producerId, userId: 1 }], transports: [{ userId: 1, type: 'producer' }, { userId: 2, type: 'consumer' }] } })
  await until(async () => {
    const { body } = await server.admin('GET', '/admin/rooms')
    return (body?.rooms as { producers: number }[])[0]?.producers === 1
  })

  await ada.ok('audio:closeProducer', { producerId })
  t.same(await bob.event('audio:producerClosed'), { roomId: 'r1', producerId, userId: 1, source: 'voice' })
  t.same(await bob.event('consumer:closed'), { roomId: 'r1', consumerId: consumed.id })
  t.equal(ada.events.some(({ type }) => type.startsWith('audio:')), false, 'users do not receive their own events')
})

onEveryStore(t, 'a second transport of the same type replaces the first, and leaving closes everything', async (t, env) => {
  const server = await build(t, { env: { ...withoutSeats, ...env } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const first = await produce(ada)
  await bob.event('audio:newProducer')
  const second = await produce(ada)
  t.match(await bob.event('audio:producerClosed'), { producerId: first.producerId })
  t.match(await bob.event('audio:newProducer'), { producerId: second.producerId })
  t.equal(await ada.fails('transport:restartIce', { transportId: first.transportId }), 'TRANSPORT_NOT_FOUND')
  t.match(await ada.ok('transport:restartIce', { transportId: second.transportId }), { iceParameters: { usernameFragment: String } })

  const older = await consume(bob, second.producerId)
  const newer = await consume(bob, second.producerId)
  t.equal(await bob.fails('consumer:resume', { consumerId: older }), 'CONSUMER_NOT_FOUND')
  await bob.ok('consumer:resume', { consumerId: newer })

  await ada.close()
  t.match(await bob.event('audio:producerClosed'), { producerId: second.producerId })
  t.match(await bob.event('consumer:closed'), { consumerId: newer })
  await bob.ok('room:leave')
  await until(() => server.app.sfu.workers().every(({ routers }) => routers === 0))
})

t.test('replaces a dead media worker and notifies its rooms', async (t) => {
  const server = await build(t, { env: withoutSeats })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await produce(ada)
  const [worker] = server.app.sfu.workers()
  process.kill(worker?.pid as number, 'SIGKILL')
  for (const client of [ada, bob]) t.same(await client.event('media:reset'), { roomId: 'r1', reason: 'worker_died' })
  const { producerId } = await produce(ada)
  t.match(await bob.event('audio:newProducer', (data) => data.producerId === producerId), { userId: 1 })
  await consume(bob, producerId)
  const [replacement] = server.app.sfu.workers()
  t.not(replacement?.pid, worker?.pid)
  t.equal(replacement?.port, worker?.port)
  t.match(await (await fetch(`${server.url}/metrics`)).text(), 'flylive_mediasoup_worker_deaths_total 1')
  t.equal((await fetch(`${server.url}/readyz`)).status, 200)
})

t.test('places a room on the worker with the fewest rooms, and limits the rooms per worker', async (t) => {
  const server = await build(t, { env: { ...withoutSeats, MEDIASOUP_WORKERS: '2', MAX_ROOMS_PER_WORKER: '2' } })
  const clients = []
  for (let i = 0; i < 5; i++) {
    const client = await server.connect(i + 1)
    await client.ok('room:join', { roomId: `r${i}` })
    clients.push(client)
  }
  for (const client of clients.slice(0, 4)) await client.ok('transport:create', { type: 'producer' })
  t.same(server.app.sfu.workers().map(({ routers }) => routers), [2, 2])
  t.equal(await clients[4]?.fails('transport:create', { type: 'producer' }), 'OVERLOADED')
  await clients[0]?.ok('room:leave')
  await clients[4]?.ok('transport:create', { type: 'producer' })
})

onEveryStore(t, 'a request that runs after its session has ended does not restore the record of the session', async (t, env) => {
  const server = await build(t, { env: { ...withoutSeats, ...env } })
  const { directory, rooms, sfu, sockets } = server.app
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const room = rooms.get('r1') as LocalRoom
  const session = [...sockets.all()].find(({ user }) => user.id === 1) as Session
  await ada.close()
  await until(async () => !session.open && (await directory.sessionsOf(session.userKey)).length === 0)
  await t.rejects(sfu.createTransport(room, session, 'producer'), { code: 'NOT_IN_ROOM' })
  t.same(await directory.sessionsOf(session.userKey), [])
})
