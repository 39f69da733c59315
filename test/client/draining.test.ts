import { setImmediate, setTimeout } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { RequestError, RoomClient } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { redisDatabase } from '../support/redis.ts'
import { until } from '../support/retry.ts'
import { createTone } from '../support/wrtc.ts'
import { createRelay } from './relay.ts'
import { backoff, watch } from './watch.ts'

// The relay acts as a load balancer, which sends new connections to the second server before the first server drains.

for (const single of ['false', 'true']) {
  t.test(`moves to another server before the first one stops, with SINGLE_SESSION=${single}`, async (t) => {
    const env = { REDIS_URL: await redisDatabase(), SINGLE_SESSION: single }
    const [a, b] = [await build(t, { env }), await build(t, { env })]
    const relay = await createRelay(t, a.url)
    const room = new RoomClient({ url: relay.url, token: () => tokenFor(1), audio: false, backoff })
    t.teardown(() => room.close())
    const states: string[] = []
    await room.join('r1', { pin: '1234' })
    await room.seats.takeFree()
    room.on('state', (state) => states.push(state))
    room.connection.on('state', (state) => states.push(state))
    const witness = await b.connect(2)
    await witness.ok('room:join', { roomId: 'r1', pin: '1234' })
    let entered = 0
    room.on('entered', () => { entered++ })

    await relay.mend(b.url)
    t.equal(await a.app.drain.begin(2), 'empty', 'the first server has no session left')
    await until(() => entered === 1)
    t.same(states, [], 'the client stays in the room and connected')
    t.match([...b.app.sockets.ofUser('1')], [{ roomId: 'r1' }])
    await room.connection.request('chat:message', { content: 'here' })
    await witness.event('chat:message')
    t.equal(room.seats.own?.seatIndex, 0)
    await a.close()
    t.same(witness.events.filter(({ type }) => ['room:userLeft', 'room:userJoined', 'seat:cleared'].includes(type)), [], 'other members receive no event')
  })
}

t.test('a join that creates a room on a draining server continues on another server', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const relay = await createRelay(t, a.url)
  const room = new RoomClient({ url: relay.url, token: () => tokenFor(1), audio: false, backoff })
  t.teardown(() => room.close())
  await room.connection.connect()
  await relay.mend(b.url)
  const drained = a.app.drain.begin(2)
  await room.join('new')
  t.match([...b.app.sockets.ofUser('1')], [{ roomId: 'new' }])
  t.equal(await drained, 'empty')
})

t.test('stays on the server and reconnects if there is no other server', async (t) => {
  const server = await build(t)
  const room = new RoomClient({ url: server.url, token: () => tokenFor(1), audio: false, backoff })
  t.teardown(() => room.close())
  await room.join('r1')
  t.equal(await server.app.drain.begin(0.5), 'deadline')
  t.equal(room.state, 'in')
  await server.close()
  await until(() => room.state === 'rejoining')
})

t.test('a closed client does not move', async (t) => {
  const server = await build(t)
  const room = new RoomClient({ url: server.url, token: () => tokenFor(1), audio: false, backoff })
  await room.join('r1')
  const draining = server.app.drain.begin(10)
  room.close()
  t.equal(await draining, 'empty')
  t.equal(room.connection.state, 'closed')
})

/** @returns the number of WebSockets that this process has opened since the call */
function countSockets (t: Test): () => number {
  const { WebSocket } = globalThis
  let count = 0
  globalThis.WebSocket = class extends WebSocket {
    constructor (...options: ConstructorParameters<typeof WebSocket>) {
      super(...options)
      count++
    }
  }
  t.teardown(() => { globalThis.WebSocket = WebSocket })
  return () => count
}

for (const end of ['lost', 'closed'] as const) {
  t.test(`opens no second connection if the first one is ${end} while the token is being fetched`, async (t) => {
    const [a, b] = [await build(t), await build(t)]
    const relay = await createRelay(t, a.url)
    const opened = countSockets(t)
    const held = Promise.withResolvers<void>()
    let asked = 0
    const token = async () => {
      if (++asked === 2) await held.promise
      return tokenFor(1)
    }
    const room = new RoomClient({ url: relay.url, token, audio: false, backoff })
    t.teardown(() => room.close())
    await room.join('r1')
    await relay.mend(b.url)
    a.app.drain.begin(0.2)
    await until(() => asked === 2)
    if (end === 'closed') {
      room.close()
    } else {
      const rejoined = new Promise((resolve) => room.on('entered', resolve))
      for (const session of a.app.sockets.ofUser('1')) session.terminate()
      await rejoined
    }
    const before = opened()
    held.resolve()
    await setImmediate()
    t.equal(opened(), before)
  })
}

t.test('goTo() cancels the move', async (t) => {
  const [a, b] = [await build(t), await build(t)]
  const relay = await createRelay(t, a.url)
  const { connection } = watch(t, { url: relay.url })
  const moving = Promise.withResolvers<void>()
  connection.handover = () => {
    moving.resolve()
    return new Promise(() => {})
  }
  await connection.connect()
  await relay.mend(b.url)
  a.app.drain.begin(0.2)
  await moving.promise
  const [second] = b.app.sockets.ofUser('1')
  t.ok(second)
  connection.goTo(b.url)
  await connection.connect()
  await until(() => [...b.app.sockets.ofUser('1')].every((session) => session !== second))
  t.equal([...b.app.sockets.ofUser('1')].length, 1)
})

t.test('reconnects if the second connection fails before the move is complete', async (t) => {
  const [a, b] = [await build(t), await build(t)]
  const relay = await createRelay(t, a.url)
  const { connection, reached } = watch(t, { url: relay.url, idleMs: 100, timeoutMs: 300 })
  const adopted = Promise.withResolvers<void>()
  connection.handover = ({ adopt }) => {
    adopt()
    adopted.resolve()
    return new Promise(() => {})
  }
  await connection.connect()
  await relay.mend(b.url)
  a.app.drain.begin(0.2)
  await adopted.promise
  relay.freeze()
  await reached('waiting CONNECTION_LOST')
})

/** Joins room r1 through a relay that can send the client to another server. `states` lists the client's later states. */
async function enterThroughRelay (t: Test, url: string) {
  const relay = await createRelay(t, url)
  const room = new RoomClient({ url: relay.url, token: () => tokenFor(1), audio: false, backoff })
  t.teardown(() => room.close())
  await room.join('r1')
  const states: string[] = []
  room.on('state', (state, why) => states.push(`${state} ${why?.code}`))
  return { relay, room, states }
}

t.test('a user who is kicked during the move is out', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const owner = await b.connect(2)
  await owner.ok('room:join', { roomId: 'r1' })
  const { relay, room, states } = await enterThroughRelay(t, a.url)
  const { handover } = room.connection
  room.connection.handover = async (next) => {
    await owner.ok('room:kick', { userId: 1 })
    // The second connection is open. The client has to use the close code of the first one.
    await until(() => room.state === 'out')
    await handover?.(next)
  }
  await relay.mend(b.url)
  a.app.drain.begin(0.2)
  await until(() => states.length > 0)
  t.same(states, ['out KICKED'])
  t.equal(room.connection.state, 'closed')
  await until(() => [...b.app.sockets.ofUser('1')].length === 0)
})

t.test('completes the move if the server is back in service and replaces the first connection', async (t) => {
  const env = { REDIS_URL: await redisDatabase(), SINGLE_SESSION: 'true' }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const { relay, room, states } = await enterThroughRelay(t, a.url)
  const { handover } = room.connection
  room.connection.handover = async (next) => {
    await until(() => [...a.app.sockets.ofUser('1')].length === 0)
    // The client receives the close code of the first connection before it joins on the second one.
    await next.request('session:ping', {})
    await handover?.(next)
  }
  const moved = new Promise((resolve) => room.on('entered', resolve))
  await relay.mend(b.url)
  a.app.drain.begin(0.2)
  a.app.drain.cancel()
  await moved
  t.same(states, [])
  t.match([...b.app.sockets.ofUser('1')], [{ roomId: 'r1' }])
})

t.test('leave() during the move clears the seat', async (t) => {
  const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,seats', SEAT_GRACE_SECONDS: '1' }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const relay = await createRelay(t, a.url)
  const room = new RoomClient({ url: relay.url, token: () => tokenFor(1), audio: false, backoff })
  t.teardown(() => room.close())
  await room.join('r1')
  await room.seats.takeFree()
  const witness = await b.connect(2)
  await witness.ok('room:join', { roomId: 'r1' })
  const { handover } = room.connection
  room.connection.handover = async ({ request, adopt }) => {
    const leaveFirst: typeof request = (type, data, apply) => request(type, data, (reply) => {
      room.leave()
      apply?.(reply)
    })
    await handover?.({ request: leaveFirst, adopt })
  }
  await relay.mend(b.url)
  a.app.drain.begin(0.2)
  t.match(await witness.event('seat:cleared'), { userId: 1, reason: 'left' })
  t.equal(room.state, 'out')
})

t.test('moves only once if the server announces its drain again during the move', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const relay = await createRelay(t, a.url)
  const held = Promise.withResolvers<void>()
  let asked = 0
  const token = async () => {
    if (++asked > 1) await held.promise
    return tokenFor(1)
  }
  const room = new RoomClient({ url: relay.url, token, audio: false, backoff })
  t.teardown(() => room.close())
  await room.join('r1')
  await relay.mend(b.url)
  let announced = 0
  room.connection.on('server:draining', () => { announced++ })
  // The client begins its move after a random time.
  const { random } = Math
  t.teardown(() => { Math.random = random })
  Math.random = () => 0
  a.app.drain.begin(30)
  await until(() => asked === 2)
  a.app.drain.cancel()
  const drained = a.app.drain.begin(30)
  await until(() => announced >= 2)
  // A second move would begin before this timer.
  await setTimeout(1)
  held.resolve()
  t.equal(await drained, 'empty')
  t.equal(asked, 2)
  t.match([...b.app.sockets.ofUser('1')], [{ roomId: 'r1' }])
  t.equal(room.state, 'in')
})

/** Makes a server hold the next joins of user 1, until `goes` is resolved. `asked` resolves when a join is held. */
function holdJoins (server: TestServer) {
  const [asked, goes] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  server.app.hooks.on('room:join', async (_room, { userKey }) => {
    if (userKey !== '1') return {}
    asked.resolve()
    await goes.promise
    return {}
  })
  return { asked: asked.promise, go: goes.resolve }
}

/** Starts two servers. User 1 has a seat in room `r1` on the first one; user 2 is in the room on the second one. */
async function sitBeforeMove (t: Test) {
  const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,seats' }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const { relay, room } = await enterThroughRelay(t, a.url)
  await room.seats.takeFree()
  const witness = await b.connect(2)
  await witness.ok('room:join', { roomId: 'r1' })
  return { a, b, relay, room, witness }
}

t.test('leave() and then close() clear the seat while the second server is still handling the join', async (t) => {
  const { a, b, relay, room, witness } = await sitBeforeMove(t)
  const { asked, go } = holdJoins(b)
  const { handover } = room.connection
  const leaving = Promise.withResolvers<void>()
  room.connection.handover = async ({ request, adopt }) => {
    const observed: typeof request = (type, data, apply) => {
      if (type === 'room:leave') leaving.resolve()
      return request(type, data, apply)
    }
    await handover?.({ request: observed, adopt })
  }
  await relay.mend(b.url)
  a.app.drain.begin(0.2)
  await asked
  const closed = room.leave().then(() => room.close())
  await Promise.race([leaving.promise, closed])
  go()
  await closed
  t.match(await witness.event('seat:cleared'), { userId: 1, reason: 'left' })
})

t.test('after a move, close() closes a previous connection that has a pending request', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const { relay, room } = await enterThroughRelay(t, a.url)
  const { asked, go } = holdJoins(a)
  t.teardown(go)
  const rejected = t.rejects(room.connection.request('room:join', { roomId: 'r1' }), { code: 'CLOSED' })
  await asked
  const moved = new Promise((resolve) => room.on('entered', resolve))
  await relay.mend(b.url)
  a.app.drain.begin(0.2)
  await moved
  t.equal([...a.app.sockets.ofUser('1')].length, 1, 'the request is pending')
  room.close()
  await rejected
  await until(() => [a, b].every(({ app }) => [...app.sockets.ofUser('1')].length === 0))
})

t.test('after a move, leave() clears the seat while a request on the previous connection is pending', async (t) => {
  const { a, b, relay, room, witness } = await sitBeforeMove(t)
  const { asked, go } = holdJoins(a)
  const joined = room.connection.request('room:join', { roomId: 'r1' })
  await asked
  const moved = new Promise((resolve) => room.on('entered', resolve))
  await relay.mend(b.url)
  a.app.drain.begin(0.2)
  await moved
  await room.leave()
  go()
  await joined
  t.match(await witness.event('seat:cleared'), { userId: 1, reason: 'left' })
})

t.test('a cancelled move does not affect the audio', async (t) => {
  const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,media', MEDIASOUP_WORKERS: '1' }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const relay = await createRelay(t, a.url)
  const room = new RoomClient({ url: relay.url, token: () => tokenFor(1), audio: { handlerName: 'Chrome111' }, backoff })
  t.teardown(() => room.close())
  await room.join('r1')
  await room.audio?.publish(createTone(t))
  const witness = await a.connect(2)
  await witness.ok('room:join', { roomId: 'r1' })
  const { handover } = room.connection
  const cancelled = Promise.withResolvers<void>()
  room.connection.handover = async ({ request }) => {
    const adopt = () => {
      cancelled.resolve()
      throw new RequestError({ code: 'CONNECTION_LOST', message: 'Connection lost' })
    }
    await handover?.({ request, adopt })
  }
  await relay.mend(b.url)
  a.app.drain.begin(0.2)
  await cancelled.promise
  room.audio?.unpublish()
  t.match(await witness.event('audio:producerClosed'), { userId: 1 })
})
