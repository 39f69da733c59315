import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { WebSocket } from 'ws'
import { build, onBothStores, tokenFor } from '../support/build.ts'
import { connect, nativeOnly } from '../support/client.ts'
import { redisDatabase } from '../support/redis.ts'
import { until } from '../support/retry.ts'

const question = JSON.stringify({ type: 'user:getRoom', data: { userId: 'nobody' } })

/** Every 10 ms, yields the time since `begin`, in milliseconds. */
async function * elapsedOf (begin: number) {
  for (;;) {
    await setTimeout(10)
    yield performance.now() - begin
  }
}

t.test('allows a burst of messages up to the limit', async (t) => {
  const server = await build(t)
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  await bob.ok('room:join', { roomId: 'r1' })
  await ada.ok('room:join', { roomId: 'r1' })

  const replies = await Promise.all(Array.from({ length: 195 }, () => bob.request('user:getRoom', { userId: 1 })))
  t.ok(replies.every(({ ok }) => ok), 'the burst is accepted')

  for (let i = 0; i < 400; i++) ada.send(question)
  t.same(await ada.closed, { code: 4429, reason: 'FLOODING' })
  t.same(await bob.event('room:userLeft'), { roomId: 'r1', userId: 1 })
  await bob.flush()
})

t.test('allows a sustained rate of messages up to the limit', async (t) => {
  const server = await build(t, { env: { WS_MESSAGES_PER_SECOND: '100', WS_MESSAGES_BURST: '20' } })
  /** Sends messages at a constant rate for `ms` milliseconds, or until the server closes the connection. */
  async function send (perSecond: number, ms: number) {
    const client = await server.connect(1)
    const begin = performance.now()
    let sent = 0
    for await (const elapsed of elapsedOf(begin)) {
      if (elapsed > ms || client.ws.readyState !== WebSocket.OPEN) break
      for (; sent < elapsed / 1000 * perSecond; sent++) client.send(question)
    }
    return client
  }
  // Send at half the allowed rate, so that bursts on a busy machine stay within the limit.
  await (await send(50, 2000)).flush()
  t.same(await (await send(200, 5000)).closed, { code: 4429, reason: 'FLOODING' })
})

t.test('closes a connection that floods the server with pings', async (t) => {
  const server = await build(t)
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (let i = 0; i < 20; i++) bob.ws.ping()
  for (let i = 0; i < 10_000; i++) ada.ws.ping(Buffer.alloc(125))
  await ada.closed
  await bob.flush()
  await until(() => server.app.sockets.size === 1)
})

t.test('closes a socket that does not respond to pings', nativeOnly, async (t) => {
  const server = await build(t, { env: { WS_PING_SECONDS: '1', WS_PONG_TIMEOUT_SECONDS: '4' } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const silent = new WebSocket(`${server.url.replace('http', 'ws')}/ws`, ['msab.v1'], { autoPong: false, headers: { authorization: `Bearer ${tokenFor(2)}` } })
  t.teardown(() => silent.terminate())
  await once(silent, 'open')
  silent.send(JSON.stringify({ type: 'room:join', data: { roomId: 'r1' } }))
  await ada.event('room:userJoined')

  const [code] = await once(silent, 'close') as [number]
  t.equal(code, 1006, 'the server sends no close frame')
  t.same(await ada.event('room:userLeft'), { roomId: 'r1', userId: 2 })

  for (let i = 0; i < 2; i++) await once(ada.ws, 'ping')
  await ada.flush()
})

onBothStores(t, 'SINGLE_SESSION closes the user\'s older connections', async (t, env) => {
  const server = await build(t, { env: { SINGLE_SESSION: 'true', ...env } })
  const [first, other] = [await server.connect(1), await server.connect(2)]
  await other.ok('room:join', { roomId: 'r1' })
  await first.ok('room:join', { roomId: 'r1' })
  const second = await server.connect('1')
  t.same(await first.closed, { code: 4409, reason: 'REPLACED' }, '1 and "1" are one user')
  await second.ok('room:join', { roomId: 'r1' })
  const third = await server.connect(1)
  t.match(await second.closed, { code: 4409 })
  await third.flush()
  await other.flush()
  t.equal(server.app.sockets.size, 2)
})

t.test("with SINGLE_SESSION, only one of a user's many concurrent connections remains", async (t) => {
  const server = await build(t, { env: { SINGLE_SESSION: 'true' } })
  await Promise.allSettled(Array.from({ length: 10 }, () => connect(t, server.url, { token: tokenFor(1) })))
  await until(() => server.app.sockets.size === 1)
  t.equal([...server.app.sockets.all()].filter(({ open }) => open).length, 1)
})

t.test('SINGLE_SESSION applies across servers', async (t) => {
  const env = { SINGLE_SESSION: 'true', REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const first = await a.connect(1)
  const second = await b.connect(1)
  t.same(await first.closed, { code: 4409, reason: 'REPLACED' })
  await second.flush()
})

t.test('without SINGLE_SESSION a user may connect several times', async (t) => {
  const server = await build(t)
  const clients = [await server.connect(1), await server.connect(1), await server.connect('1')]
  for (const client of clients) await client.flush()
  t.equal(server.app.sockets.size, 3)
})
