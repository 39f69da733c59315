import { MessageChannel } from 'node:worker_threads'
import { observer } from 'mediasoup'
import type { types } from 'mediasoup'
import t from 'tap'
import type { Test } from 'tap'
import type { MixFrame } from '../../../plugins/media/mix/messages.ts'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { rtpCapabilities } from '../../support/rtp.ts'
import { rtpReceiver, sendSilence } from '../../support/rtp-packets.ts'

/** The room of the current test. */
let roomId = ''
let rooms = 0

/** The sending ends of all pipes on all servers. */
const pipes = new Set<types.Transport>()
observer.on('newworker', (worker) => worker.observer.on('newrouter', (router) => router.observer.on('newtransport', (transport) => {
  transport.observer.on('newconsumer', () => { if (transport.type === 'pipe') pipes.add(transport) })
  transport.observer.once('close', () => pipes.delete(transport))
})))

const FEATURES = 'auth,media,mix'
/** Two servers for all tests that do not stop a server or Redis. Each test has its own room. */
const REDIS_URL = await redisDatabase()
const shared = [await build(t, { env: { FEATURES, REDIS_URL } }), await build(t, { env: { FEATURES, REDIS_URL } })]
/** Starts a server in addition to the two shared servers. */
const another = (t: Test) => build(t, { env: { FEATURES, REDIS_URL } })

/** Opens a room with one member per server: users 1, 2, … After the test, waits until all relaying has ended. */
async function enter (t: Test, servers = shared) {
  roomId = `r${++rooms}`
  const clients: TestClient[] = []
  t.teardown(async () => {
    const usable = servers.filter((server) => shared.includes(server))
    await usable[0]?.admin('POST', `/admin/rooms/${roomId}/close`)
    await until(() => usable.every(({ app }) => app.sfu.relays().sinks + app.sfu.relays().sources === 0))
  })
  for (const [i, server] of servers.entries()) {
    const client = await server.connect(i + 1)
    await client.ok('room:join', { roomId })
    clients.push(client)
  }
  return { servers, clients }
}

/** Starts two servers, and a separate Redis that only these servers use. */
async function startCluster (t: Test) {
  const redis = await startRedis(t)
  const env = { FEATURES, REDIS_URL: redis.url }
  return { redis, ...await enter(t, [await build(t, { env }), await build(t, { env })]) }
}

let ssrc = 1000

/** Sends audio as a service on a server. */
async function speak (t: Test, { app }: TestServer, userId: number) {
  const own = ++ssrc
  const injection = await app.sfu.inject(roomId, { userId, userKey: String(userId), nodeId: app.nodeId, kind: 'service' }, { ssrc: own })
  sendSilence(t, own, injection)
  return injection
}

/** Receives the packets of all voices on a server. */
async function hear (t: Test, { app }: TestServer) {
  const receiver = await rtpReceiver(t)
  const tap = await app.sfu.tap(roomId, { port: receiver.port, follows: () => true })
  const isHeard = (producerId: string) => {
    const voice = tap.voices.find((one) => one.producerId === producerId)
    const before = receiver.packets.length
    return voice !== undefined && until(() => receiver.packets.slice(before).filter((packet) => packet.ssrc === voice.ssrc).length >= 3)
  }
  return { tap, heard: async (producerId: string) => { await until(async () => isHeard(producerId)) } }
}

t.test('a third server receives the speakers of two servers, under the same ids', async (t) => {
  const { servers, clients } = await enter(t, [...shared, await another(t)])
  const [a, b, c] = servers as [TestServer, TestServer, TestServer]
  const [,, eve] = clients as [TestClient, TestClient, TestClient]
  const voices = [await speak(t, a, 1), await speak(t, b, 2)]
  for (const [i, { producerId }] of voices.entries()) {
    await until(() => eve.events.some(({ type, data }) => type === 'audio:newProducer' && data.producerId === producerId && data.userId === i + 1))
  }
  const late = await c.connect(4)
  const { existingProducers } = await late.ok('room:join', { roomId }) as { existingProducers: { producerId: string }[] }
  t.same(existingProducers.map(({ producerId }) => producerId).sort(), voices.map(({ producerId }) => producerId).sort())

  const { id: transportId } = await eve.ok('transport:create', { type: 'consumer' }) as { id: string }
  for (const { producerId } of voices) t.match(await eve.ok('audio:consume', { transportId, producerId, rtpCapabilities }), { producerId })
  const { heard, tap } = await hear(t, c)
  for (const { producerId } of voices) await heard(producerId)
  t.same(c.app.sfu.relays(), { sources: 0, sinks: 2 })
  await until(() => a.app.sfu.relays().sources >= 1 && b.app.sfu.relays().sources >= 1)

  voices[0]?.close()
  await until(() => eve.events.some(({ type, data }) => type === 'audio:producerClosed' && data.producerId === voices[0]?.producerId))
  await until(() => tap.voices.length === 1)
  t.equal(await eve.fails('audio:consume', { transportId, producerId: voices[0]?.producerId, rtpCapabilities }), 'PRODUCER_NOT_FOUND')

  tap.close()
  for (const client of [...clients, late]) await client.ok('room:leave')
  await until(() => servers.every(({ app }) => app.sfu.relays().sinks === 0 && app.sfu.relays().sources === 0))
})

t.test('a pause applies on all servers, and the mix contains voices from other servers', async (t) => {
  const { servers, clients } = await enter(t)
  const [a, b] = servers as [TestServer, TestServer]
  const [, bob] = clients as [TestClient, TestClient]
  const { producerId } = await speak(t, a, 1)
  const mix = await b.app.sfu.mix(roomId)
  const { port1, port2 } = new MessageChannel()
  t.teardown(() => port1.close())
  const heard = new Set<string>()
  port1.on('message', (frame: MixFrame) => { if (frame.kind === 'voice') heard.add(frame.producerId) })
  mix.stream(port2, { pcm: false, packets: false, voices: true })
  await until(() => heard.has(producerId))

  const { id: transportId } = await bob.ok('transport:create', { type: 'consumer' }) as { id: string }
  const { id: consumerId } = await bob.ok('audio:consume', { transportId, producerId, rtpCapabilities })
  const handle = a.app.sfu.producerHandles(roomId)[0]
  await handle?.pause('server')
  t.match(await bob.event('audio:producerPaused'), { roomId, producerId, userId: 1, source: 'voice' })
  await until(async () => (await bob.ok('consumer:resume', { consumerId })).deferred === true)
  t.match(b.app.sfu.producersOf(roomId), [{ producerId, isPaused: true }])
  await handle?.resume('server')
  t.match(await bob.event('audio:producerResumed'), { producerId })
  await until(async () => (await bob.ok('consumer:resume', { consumerId })).deferred === undefined)
  t.same(b.app.sfu.producerHandles(roomId), [], 'a server moderates only its own producers')
})

t.test('the first member on a server receives the producers and active speakers of other servers, each once', async (t) => {
  const { servers, clients } = await enter(t)
  const [a, b] = servers as [TestServer, TestServer]
  const [amy, bob] = clients as [TestClient, TestClient]
  const voices = await Promise.all(servers.map(async ({ app }, i) => {
    const own = ++ssrc
    const session = [...app.rooms.get(roomId)?.members ?? []][0]
    const injection = await app.sfu.inject(roomId, { userId: i + 1, userKey: String(i + 1), nodeId: app.nodeId, kind: 'session', ...(session ? { sessionId: session.id } : {}) }, { ssrc: own, levelExtensionId: 1 })
    const setAddress = sendSilence(t, own, injection, 100, { id: 1, dBov: -20 })
    return { injection, stop: () => setAddress({ ip: '127.0.0.1', port: 9 }) }
  }))
  const hasSpeakers = (client: TestClient, expected: number[]) =>
    until(() => JSON.stringify((client.events.findLast(({ type }) => type === 'speaker:active')?.data.activeSpeakers as number[] | undefined)?.toSorted()) === JSON.stringify(expected))
  const c = await another(t)
  const expected = voices.map(({ injection: { producerId } }, i) => ({ producerId, userId: i + 1, isPaused: false }))
  for (const server of [a, c]) {
    await until(async () => ((await server.admin('GET', '/admin/rooms')).body?.rooms as { id: string, producers: number }[]).find(({ id }) => id === roomId)?.producers === 2)
    const { producers } = (await server.admin('GET', `/admin/rooms/${roomId}`)).body as { producers: typeof expected }
    t.same(producers.toSorted((x, y) => x.userId - y.userId), expected, 'admins see the producers of all servers on any server')
  }
  for (const client of [amy, bob]) await hasSpeakers(client, [1, 2])

  const eve = await c.connect(3)
  const { existingProducers, activeSpeakers } = await eve.ok('room:join', { roomId }) as { existingProducers: { producerId: string }[], activeSpeakers: number[] }
  t.same(existingProducers.map(({ producerId }) => producerId).sort(), voices.map(({ injection }) => injection.producerId).sort())
  t.same(activeSpeakers.toSorted(), [1, 2])
  await eve.flush()
  t.same(eve.events.filter(({ type }) => type === 'audio:newProducer'), [])

  voices[0]?.stop()
  for (const client of [amy, bob, eve]) await hasSpeakers(client, [2])
  await a.app.sfu.producerHandles(roomId)[0]?.pause('server')
  await b.app.sfu.producerHandles(roomId)[0]?.pause('server')
  for (const client of [amy, bob, eve]) await hasSpeakers(client, [])
})

t.test('members who join while producers are created receive each producer once', async (t) => {
  const { servers } = await enter(t)
  const [a, b] = servers as [TestServer, TestServer]
  const joiners = await Promise.all(Array.from({ length: 8 }, async (_, i) => await b.connect(10 + i)))
  const [voices, replies] = await Promise.all([
    Promise.all(Array.from({ length: 8 }, async () => await speak(t, a, 1))),
    Promise.all(joiners.map(async (client) => await client.ok('room:join', { roomId }) as { existingProducers: { producerId: string }[] }))
  ])
  const expected = voices.map(({ producerId }) => producerId).sort()
  for (const [i, client] of joiners.entries()) {
    const told = () => [
      ...(replies[i]?.existingProducers ?? []).map(({ producerId }) => producerId),
      ...client.events.filter(({ type }) => type === 'audio:newProducer').map(({ data }) => data.producerId as string)
    ].sort()
    await until(() => told().length >= expected.length)
    await client.flush()
    t.same(told(), expected)
  }
})

t.test('a pipe without packets is replaced, and clients are notified', async (t) => {
  const { servers, clients } = await enter(t)
  const [a, b] = servers as [TestServer, TestServer]
  const [, bob] = clients as [TestClient, TestClient]
  const { producerId } = await speak(t, a, 1)
  const { heard } = await hear(t, b)
  await heard(producerId)
  // Simulate a network failure: packets stop arriving, and mediasoup emits no event on either side.
  for (const pipe of [...pipes].slice(0, 1)) pipe.close()
  await until(() => bob.events.some(({ type, data }) => type === 'audio:producerClosed' && data.producerId === producerId), 15_000)
  await heard(producerId)
  await until(() => a.app.sfu.relays().sources === 1 && b.app.sfu.relays().sinks === 1)
  await until(() => b.app.sfu.producersOf(roomId)[0]?.isPaused === false)
})

t.test('closes a pipe that is dropped while it is being opened', async (t) => {
  const { servers } = await enter(t)
  const [a, b] = servers as [TestServer, TestServer]
  const { producerId } = await speak(t, a, 1)
  const id = { roomId, from: 'nobody', epoch: 1 }
  const wanted = b.app.cluster.ask(a.app.nodeId, 'relay:want', { ...id, ip: '127.0.0.1', port: 9, srtpParameters: undefined, voices: [producerId] }, 5000)
  const dropped = b.app.cluster.ask(a.app.nodeId, 'relay:drop', id, 5000)
  await t.rejects(wanted, { code: 'UNAVAILABLE' })
  await dropped
  t.same(a.app.sfu.relays(), { sources: 0, sinks: 0 })
})

t.test('a pipe continues while requests between servers fail, and carries new voices once requests succeed', async (t) => {
  const { servers, clients } = await enter(t)
  const [a, b] = servers as [TestServer, TestServer]
  const [, bob] = clients as [TestClient, TestClient]
  const first = await speak(t, a, 1)
  const { heard } = await hear(t, b)
  await heard(first.producerId)
  const requests = b.app.cluster as { ask: (...request: unknown[]) => Promise<unknown> }
  const { ask } = requests
  let refusals = 0
  requests.ask = async (...request) => {
    if (request[1] !== 'relay:more') return await ask(...request)
    refusals++
    throw Object.assign(new Error('Not now'), { code: 'UNAVAILABLE', statusCode: 503 })
  }
  const second = await speak(t, a, 3)
  await until(() => refusals >= 2)
  await heard(first.producerId)
  t.notOk(bob.events.some(({ type }) => type === 'audio:producerClosed'))
  requests.ask = ask
  await heard(second.producerId)
  await heard(first.producerId)
  t.notOk(bob.events.some(({ type }) => type === 'audio:producerClosed'))

  // Close the pipe's end on the sending server, as if that server's media worker had died.
  for (const pipe of [...pipes].slice(0, 1)) pipe.close()
  const third = await speak(t, a, 4)
  await heard(third.producerId)
  await heard(first.producerId)
})

t.test('a request to consume a voice from another server fails as soon as the voice ends', async (t) => {
  const { servers, clients } = await enter(t)
  const [a, b] = servers as [TestServer, TestServer]
  const [, bob] = clients as [TestClient, TestClient]
  const requests = b.app.cluster as { ask: (...request: unknown[]) => Promise<unknown> }
  const { ask } = requests
  t.teardown(() => { requests.ask = ask })
  requests.ask = async (...request) => {
    if (request[1] !== 'relay:want') return await ask(...request)
    throw Object.assign(new Error('Not now'), { code: 'UNAVAILABLE', statusCode: 503 })
  }
  const { id: transportId } = await bob.ok('transport:create', { type: 'consumer' })
  const voice = await speak(t, a, 1)
  await bob.event('audio:newProducer')
  const refusal = bob.fails('audio:consume', { transportId, producerId: voice.producerId, rtpCapabilities })
  await bob.flush()
  voice.close()
  t.equal(await refusal, 'PRODUCER_NOT_FOUND')
})

t.test('the producers of a dead server are closed on the other servers', async (t) => {
  const { servers, clients } = await startCluster(t)
  const [a, b] = servers as [TestServer, TestServer]
  const [, bob] = clients as [TestClient, TestClient]
  const { producerId } = await speak(t, a, 1)
  const { heard, tap } = await hear(t, b)
  await heard(producerId)
  await a.app.close()
  await until(() => bob.events.some(({ type, data }) => type === 'audio:producerClosed' && data.producerId === producerId))
  await until(() => tap.voices.length === 0 && b.app.sfu.relays().sinks === 0)
  t.same(b.app.sfu.producersOf(roomId), [])
})

t.test('pipes continue while Redis is down, and new producers are relayed once Redis is back', async (t) => {
  const { redis, servers } = await startCluster(t)
  const [a, b] = servers as [TestServer, TestServer]
  const first = await speak(t, a, 1)
  const { heard } = await hear(t, b)
  await heard(first.producerId)
  await redis.kill()
  const second = await speak(t, a, 3)
  await heard(first.producerId)
  await redis.start()
  await heard(second.producerId)
  await heard(first.producerId)
})

/** Starts two servers, with a speaker on the first, and stops Redis. */
async function speakWhileRedisStops (t: Test) {
  const { redis, servers, clients } = await startCluster(t)
  const [a, b] = servers as [TestServer, TestServer]
  const [session] = a.app.rooms.get(roomId)?.members ?? []
  const own = ++ssrc
  const injection = await a.app.sfu.inject(roomId, { userId: 1, userKey: '1', nodeId: a.app.nodeId, kind: 'session', ...(session ? { sessionId: session.id } : {}) }, { ssrc: own, levelExtensionId: 1 })
  const setAddress = sendSilence(t, own, injection, 100, { id: 1, dBov: -20 })
  await until(() => b.app.sfu.speakersOf(roomId).length === 1)
  await redis.kill()
  const fallSilent = async () => {
    setAddress({ ip: '127.0.0.1', port: 9 })
    await until(() => a.app.sfu.speakersOf(roomId).length === 0)
  }
  return { redis, a, b, listener: clients[1] as TestClient, fallSilent }
}

t.test('a speaker who falls silent while Redis is down is no longer active on other servers once Redis is back', async (t) => {
  const { redis, b, listener, fallSilent } = await speakWhileRedisStops(t)
  await fallSilent()
  await redis.start()
  await until(() => b.app.sfu.speakersOf(roomId).length === 0)
  await until(() => (listener.events.findLast(({ type }) => type === 'speaker:active')?.data.activeSpeakers as unknown[]).length === 0)
})

t.test('servers exchange their active speakers until it succeeds', async (t) => {
  const { redis, a, b, fallSilent } = await speakWhileRedisStops(t)
  await fallSilent()
  const { ask } = b.app.cluster
  const failed: string[] = []
  b.app.cluster.ask = async (node, kind, ...rest) => {
    if (kind !== 'relay:speakers' || failed.length === 2) return await ask(node, kind, ...rest)
    failed.push(kind)
    throw new Error('the lease of the server is lost')
  }
  const logged: string[] = []
  const { log } = b.app
  for (const level of ['warn', 'info'] as const) log[level] = (...line: unknown[]) => { if (/active speakers/.test(String(line[1]))) logged.push(level) }
  a.app.rooms.sendToNodes = () => {}
  await redis.start()
  await until(() => b.app.sfu.speakersOf(roomId).length === 0)
  t.equal(failed.length, 2)
  t.same(logged, ['warn', 'info'], 'only the first failure and the success are logged')
})
