import t from 'tap'
import { build, onBothStores, onEveryStore, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { startServer } from '../../support/process.ts'
import { freePort, redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { createHoldingProxy } from './holding.ts'
import { messagesOf, receives, historyOf, pair } from './support.ts'

const FEATURES = 'auth,chat'

onBothStores(t, 'a join returns the last 50 messages, newest last', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const [ada, bob, eve] = [await a.connect(1, { token: tokenFor(1, { avatar: 'ada.png' }) }), await b.connect('2'), await b.connect(3)]
  t.strictSame(await historyOf(ada), [], 'empty at first')
  t.strictSame(await historyOf(bob), [])
  t.strictSame(await historyOf(eve, 'r2'), [])

  for (let i = 0; i < 55; i++) await (i % 2 ? ada : bob).ok('chat:message', { content: `${i}`, messageType: i % 3 ? 'text' : 'emoji' })
  const { id } = await eve.ok('chat:message', { content: 'elsewhere' })
  await ada.event('chat:message', ({ content }) => content === '54')
  await receives(eve, id)
  const expected = messagesOf(ada).slice(-50)
  t.strictSame(expected.map(({ content }) => content), Array.from({ length: 50 }, (_, i) => `${i + 5}`))
  for (const server of [a, b]) t.strictSame(await historyOf(await server.connect(4)), expected, 'the history has the order of the events')
  t.strictSame(await historyOf(ada), expected, 'a rejoin returns the same history')
  t.equal((await a.app.store.readLog('r1', 'chat')).length, 50, 'the store keeps only 50')

  t.match(await historyOf(bob, 'r2'), [{ roomId: 'r2', content: 'elsewhere' }], 'each room has a separate history')
  const { body } = await a.admin('GET', '/admin/rooms/r1')
  t.ok(Number(body?.lastActivityAt) >= Number(expected.at(-1)?.timestamp), 'a message counts as activity')
})

onEveryStore(t, 'the history continues after the message at the cursor has been deleted', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat,moderation', ...env } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  for (let i = 0; i < 20; i++) await ada.ok('chat:message', { content: `${i}` })
  const page = async (before?: unknown) => {
    const { messages, nextCursor } = await ada.ok('chat:history', { limit: 5, before })
    return { contents: (messages as { content: string }[]).map(({ content }) => Number(content)), nextCursor }
  }
  const first = await page()
  t.same(first.contents, [15, 16, 17, 18, 19])
  await ada.ok('chat:delete', { id: first.nextCursor })
  const second = await page(first.nextCursor)
  t.same(second.contents, [10, 11, 12, 13, 14])

  const { id: oldest } = messagesOf(ada)[0] as { id: string }
  await ada.ok('chat:delete', { id: oldest })
  t.same(await page(oldest), { contents: [], nextCursor: null }, 'there are no older messages')
  const random = 'f47ac10b-58cc-4372-a567-0e02b2c3d479'
  t.same(await page(random), { contents: [], nextCursor: null }, 'the place of a deleted message with a random id is unknown')
})

onEveryStore(t, 'the length of the history is configurable', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, { ...env, CHAT_HISTORY: '2' })
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  t.strictSame(await historyOf(ada), [])
  for (const content of ['a', 'b', 'c']) await ada.ok('chat:message', { content })
  t.match(await historyOf(bob), [{ content: 'b' }, { content: 'c' }])
})

onEveryStore(t, 'returns no history if CHAT_HISTORY is 0', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, { ...env, CHAT_HISTORY: '0' })
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  t.strictSame(await historyOf(ada), [])
  const { timestamp } = await ada.ok('chat:message', { content: 'hello' })
  t.match(await ada.event('chat:message'), { content: 'hello' })
  t.strictSame(await historyOf(bob), [])
  t.notMatch((await a.app.store.readLog('r1', 'chat')).join(), 'hello', 'the store keeps ids and authors only')
  await until(async () => Number((await a.app.store.getRoom('r1'))?.lastActivityAt) >= Number(timestamp))
  t.pass('a message still counts as activity')
})

t.test('a server with a shorter history returns fewer messages', async (t) => {
  const env = { FEATURES, REDIS_URL: await redisDatabase() }
  const long = await build(t, { env })
  const ada = await long.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  for (const content of ['a', 'b', 'c']) await ada.ok('chat:message', { content })
  for (const [kept, expected] of [['2', ['b', 'c']], ['0', []]] as const) {
    const short = await build(t, { env: { ...env, CHAT_HISTORY: kept } })
    t.strictSame((await historyOf(await short.connect(2))).map(({ content }) => content), expected)
  }
})

onEveryStore(t, 'deletes the history with its room', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await ada.ok('chat:message', { content: 'a secret' })
  await bob.ok('room:leave')
  t.match(await historyOf(bob), [{ content: 'a secret' }], 'the history is kept until the room is removed')
  t.equal((await b.admin('POST', '/admin/rooms/r1/close')).status, 204)
  await ada.event('room:closed')
  t.strictSame(await a.app.store.readLog('r1', 'chat'), [])
  t.strictSame(await historyOf(bob), [], 'a later room with the same id starts empty')
  await bob.ok('chat:message', { content: 'hello' })
  t.match(await historyOf(ada), [{ content: 'hello' }])
})

t.test('acknowledged messages survive a killed server', async (t) => {
  const env = { FEATURES, REDIS_URL: await redisDatabase(), CHAT_HISTORY: '1000', RATE_LIMIT_MESSAGES_PER_MINUTE: '1000' }
  const server = await build(t, { env })
  const doomed = startServer(t, { ...env, PORT: String(await freePort()), HOST: '127.0.0.1', MEDIASOUP_WORKERS: '1' })
  const writers = [await connect(t, await doomed.url, { token: tokenFor(1) }), await connect(t, await doomed.url, { token: tokenFor(2) })]
  // After a pause of the process, the servers treat their leases as lost and delay new rooms.
  for (const client of writers) await until(async () => await client.ok('room:join', { roomId: 'r1' }))
  const bob = await server.connect(3)
  await bob.ok('room:join', { roomId: 'r1' })

  const acknowledged: unknown[] = []
  const writing = writers.map(async (client) => {
    for (;;) {
      const replies = await Promise.all(['a', 'b', 'c'].map((content) => client.ok('chat:message', { content }).then(({ id }) => acknowledged.push(id))))
      if (replies.some((count) => count > 60)) doomed.child.kill('SIGKILL')
    }
  })
  await Promise.allSettled(writing)
  await doomed.exit
  t.ok(acknowledged.length > 60, `${acknowledged.length} messages`)
  const history = await historyOf(await server.connect(4))
  const kept = new Set<unknown>(history.map(({ id }) => id))
  t.strictSame(acknowledged.filter((id) => !kept.has(id)), [])
  // The last message may have been stored but not yet delivered when the server died.
  const received = messagesOf(bob).map(({ id }) => id)
  t.strictSame(history.slice(0, received.length).map(({ id }) => id), received)
})

t.test('acknowledges a message once Redis has stored and published it', async (t) => {
  const redis = await startRedis(t)
  const proxy = await createHoldingProxy(t, redis)
  const [server, other] = [await build(t, { env: { FEATURES, REDIS_URL: proxy.url } }), await build(t, { env: { FEATURES, REDIS_URL: redis.url } })]
  const [ada, bob] = [await server.connect(1), await other.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const arrived = proxy.hold(/on the way/)
  let acknowledged = false
  const reply = ada.ok('chat:message', { content: 'on the way' }).finally(() => { acknowledged = true })
  await arrived
  // This request does not need Redis. If the server acknowledged the message too early, the acknowledgement would
  // arrive before this reply.
  t.equal(await ada.fails('chat:message', {}), 'VALIDATION_FAILED')
  t.equal(acknowledged, false)
  t.same(messagesOf(ada), [])
  proxy.release()
  const { id } = await reply
  t.match(await historyOf(await other.connect(3)), [{ id }])
  for (const client of [ada, bob]) await receives(client, id)
})

t.test('the history has the same order as the events on all servers', async (t) => {
  const env = { FEATURES, REDIS_URL: await redisDatabase(), CHAT_HISTORY: '1000', RATE_LIMIT_MESSAGES_PER_MINUTE: '1000' }
  const servers = [await build(t, { env }), await build(t, { env })]
  const writers = await Promise.all([1, 2, 3, 4].map((id) => (servers[id % 2] as typeof servers[number]).connect(id)))
  for (const client of writers) await client.ok('room:join', { roomId: 'r1' })
  const replies = await Promise.all(writers.flatMap((client) => Array.from({ length: 50 }, (_, i) => client.ok('chat:message', { content: `${i} `.padEnd(450, 'x') }))))
  for (const client of writers) for (const { id } of replies) await receives(client, id)
  const history = (await servers[0]?.app.store.readLog('r1', 'chat') ?? []).map((entry) => (JSON.parse(entry) as { id: string }).id)
  t.equal(history.length, 200)
  for (const client of writers) t.strictSame(messagesOf(client).map(({ id }) => id), history)
})

t.test('while Redis is down, members on the same server chat without a history', async (t) => {
  const redis = await startRedis(t)
  const env = { FEATURES, REDIS_URL: redis.url }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const [ada, bob, kim, eve] = [await a.connect(1), await a.connect(2), await a.connect(3), await b.connect(4)]
  for (const client of [ada, bob, kim, eve]) await client.ok('room:join', { roomId: 'r1' })
  await receives(eve, (await ada.ok('chat:message', { content: 'before' })).id)

  await redis.kill()
  await until(async () => (await fetch(`${a.url}/readyz`)).status === 503)
  const sent = []
  for (const content of ['is anybody here', 'I am']) sent.push(await ada.ok('chat:message', { content }))
  for (const client of [ada, bob]) {
    await receives(client, sent[1]?.id)
    t.strictSame(messagesOf(client).map(({ content }) => content), ['before', 'is anybody here', 'I am'], 'each message arrives once, in order')
  }
  t.equal(await kim.fails('chat:message', { content: 'x', messageType: 'system' }), 'FORBIDDEN', 'roles are kept')
  const replies = await Promise.all(Array.from({ length: 70 }, () => bob.request('chat:message', { content: 'let me talk' })))
  t.equal(replies.filter(({ error }) => error?.code === 'RATE_LIMITED').length, 10, 'the rate limit applies on this server only')

  await redis.start()
  for (const server of [a, b]) await until(async () => (await fetch(`${server.url}/readyz`)).status === 200)
  await until(async () => (await b.app.store.getRoom('r1'))?.participantCount === 4)
  const { id } = await ada.ok('chat:message', { content: 'after' })
  for (const client of [ada, bob, eve]) await receives(client, id)
  t.strictSame(messagesOf(eve).map(({ content }) => content), ['before', 'after'])
  t.match(await historyOf(await b.connect(5)), [{ content: 'after' }])
})

t.test('members on the sender\'s server receive a message once, even if it never reached Redis', async (t) => {
  const redis = await startRedis(t)
  const proxy = await createHoldingProxy(t, redis)
  const server = await build(t, { env: { FEATURES, REDIS_URL: proxy.url } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const arrived = proxy.hold(/lost on the way/)
  const reply = ada.ok('chat:message', { content: 'lost on the way' })
  await arrived
  proxy.drop()
  const { id } = await reply
  await until(async () => (await fetch(`${server.url}/readyz`)).status === 200)
  const last = await bob.ok('chat:message', { content: 'done' })
  for (const client of [ada, bob]) {
    await receives(client, last.id)
    t.strictSame(messagesOf(client).map((message) => message.id), [id, last.id])
  }
  t.match(await historyOf(await server.connect(3)), [{ id: last.id }], 'the message is not in the history')
})

t.test('a long history of long messages does not block joins', async (t) => {
  const server = await build(t, { env: { FEATURES, CHAT_HISTORY: '1000', RATE_LIMIT_MESSAGES_PER_MINUTE: '1000' } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  for (let i = 0; i < 150; i++) await ada.ok('chat:message', { content: `${i} `.padEnd(500, '字') })
  const history = (await historyOf(await server.connect(2))) as { content: string }[]
  t.ok(history.length > 5 && history.length < 150)
  t.equal(history.at(-1)?.content.slice(0, 4), '149 ', 'the history ends with the newest message')
  t.ok(history.reduce((sum, message) => sum + Buffer.byteLength(JSON.stringify(message)), 0) <= 16_384)
})
