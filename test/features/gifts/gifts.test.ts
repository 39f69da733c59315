import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { version } from 'uuid'
import { build, onBothStores, onEveryStore } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { isSince } from '../../support/pace.ts'

const env = { FEATURES: 'auth,gifts' }
const counts = async (server: TestServer) => (await server.admin('GET', '/admin/gifts')).body as Record<'queued' | 'deadLetters' | 'failed' | 'ledger', number>

onBothStores(t, 'sends a gift to everyone in the room and records it', async (t, store) => {
  const server = await build(t, { env: { ...env, ...store } })
  const [ada, bob, eve] = [await server.connect(1), await server.connect('bob'), await server.connect(3)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await eve.ok('room:join', { roomId: 'r2' })

  const before = Date.now()
  const { transactionId, ...rest } = await ada.ok('gift:send', { giftId: 7, recipientId: 'bob', quantity: 3 })
  t.same(rest, {})
  t.equal(version(transactionId as string), 7)
  const gift = { transactionId, roomId: 'r1', senderId: 1, giftId: 7, recipientId: 'bob', quantity: 3 }
  for (const client of [ada, bob]) {
    const { timestamp, ...shown } = await client.event('gift:received')
    t.same(shown, gift)
    t.ok(isSince(before, timestamp))
  }
  const second = await bob.ok('gift:send', { giftId: 8, recipientId: 99, roomId: 'r1' })
  const { timestamp, ...later } = await ada.event('gift:received')
  t.match(later, { senderId: 'bob', recipientId: 99, quantity: 1 }, 'the default quantity is one, and only the backend checks the recipient')
  await until(async () => Number((await server.app.store.getRoom('r1'))?.lastActivityAt) >= Number(timestamp))
  t.ok(String(second.transactionId) > String(transactionId), 'ids are sorted by time')

  await until(async () => (await counts(server)).ledger === 2)
  t.same(await counts(server), { queued: 0, deadLetters: 0, failed: 0, ledger: 2 })
  const { body } = await server.admin('GET', '/admin/gifts/ledger')
  t.match(body, { ledger: [{ ...gift, recordedAt: Number }, { transactionId: second.transactionId }], nextCursor: null, total: 2 })
  await eve.flush()
  t.same(eve.events.filter(({ type }) => type.startsWith('gift')), [], 'other rooms receive no gift events')
  t.match(await (await fetch(`${server.url}/metrics`)).text(), 'flylive_gifts_processed_total{status="success"} 2')
})

t.test('the reply arrives before the event', async (t) => {
  const server = await build(t, { env })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const order: string[] = []
  ada.ws.on('message', (raw) => {
    const { type, ok } = JSON.parse(String(raw)) as { type?: string, ok?: boolean }
    order.push(type ?? String(ok))
  })
  await ada.ok('gift:send', { giftId: 7, recipientId: 2 })
  await ada.event('gift:received')
  t.same(order, ['true', 'gift:received'])
  ada.send({ type: 'gift:send', data: { giftId: 8, recipientId: 2 } })
  t.match(await ada.event('gift:received'), { giftId: 8 }, 'also without a reply')
})

onEveryStore(t, 'rejects invalid gifts', async (t, store) => {
  const server = await build(t, { env: { ...env, ...store } })
  const ada = await server.connect(1)
  const gift = { giftId: 7, recipientId: 2, quantity: 1 }
  t.equal(await ada.fails('gift:send', gift), 'NOT_IN_ROOM')
  t.equal(await ada.fails('gift:prepare', gift), 'NOT_IN_ROOM')
  await ada.ok('room:join', { roomId: 'r1' })
  t.equal(await ada.fails('gift:send', { ...gift, roomId: 'r2' }), 'NOT_IN_ROOM')
  const wrong = [
    { giftId: 0 }, { giftId: -1 }, { giftId: 1.5 }, { giftId: '7' }, { giftId: null }, { giftId: 2 ** 53 },
    { quantity: 0 }, { quantity: -1 }, { quantity: 10_000 }, { quantity: 1.5 }, { quantity: '2' }, { quantity: null },
    { recipientId: '' }, { recipientId: 1.5 }, { recipientId: null }, { recipientId: [2] }, { recipientId: { id: 2 } }, { recipientId: 'x'.repeat(129) }, { recipientId: true }
  ]
  for (const change of wrong) t.equal(await ada.fails('gift:send', { ...gift, ...change }), 'VALIDATION_FAILED', JSON.stringify(change))
  t.equal(await ada.fails('gift:send', {}), 'VALIDATION_FAILED')
  t.equal(await ada.fails('gift:prepare', { giftId: 7 }), 'VALIDATION_FAILED')
  t.same(await counts(server), { queued: 0, deadLetters: 0, failed: 0, ledger: 0 })
  for (const change of [{ quantity: 9999 }, { recipientId: 'x'.repeat(128) }, { giftId: 2 ** 53 - 1 }]) await ada.ok('gift:send', { ...gift, ...change })
})

onEveryStore(t, 'recipient ids keep the type that they have in the token', async (t, store) => {
  const server = await build(t, { env: { ...env, ...store } })
  const [ada] = [await server.connect('a1'), await server.connect(42), await server.connect('43')]
  await ada.ok('room:join', { roomId: 'r1' })
  for (const [given, received] of [['42', 42], [42, 42], [43, '43'], ['43', '43'], [44, 44], ['44', '44']]) {
    await ada.ok('gift:send', { giftId: 1, recipientId: given })
    t.equal((await ada.event('gift:received')).recipientId, received)
  }
})

t.test('recipient ids keep their type even if the recipient is on another server', async (t) => {
  const store = { REDIS_URL: await redisDatabase() }
  const [server, other] = [await build(t, { env: { ...env, ...store } }), await build(t, { env: { ...env, ...store } })]
  const [ada, bob, carl, eve] = [await server.connect('a1'), await other.connect(42), await other.connect('43'), await other.connect(45)]
  for (const client of [ada, bob, carl]) await client.ok('room:join', { roomId: 'r1' })
  await eve.ok('room:join', { roomId: 'r2' })
  const cases = [['42', 42], [42, 42], [43, '43'], ['43', '43'], ['45', '45'], [45, 45], ['nobody', 'nobody']] as const
  for (const [given, received] of cases) {
    await ada.ok('gift:send', { giftId: 1, recipientId: given })
    for (const client of [ada, bob]) t.equal((await client.event('gift:received')).recipientId, received)
  }
  await until(async () => (await counts(server)).ledger === cases.length)
  const { body } = await server.admin('GET', '/admin/gifts/ledger')
  t.same((body?.ledger as { recipientId: unknown }[]).map(({ recipientId }) => recipientId), cases.map(([, received]) => received), 'the ledger has the same type')
})

onEveryStore(t, 'limits gifts to 30 and previews to 60 per minute', async (t, store) => {
  const server = await build(t, { env: { ...env, ...store } })
  const [ada, adasPhone, bob] = [await server.connect(1), await server.connect(1), await server.connect(2)]
  for (const client of [ada, adasPhone, bob]) await client.ok('room:join', { roomId: 'r1' })
  const send = (i: number) => (i % 2 ? ada : adasPhone).request('gift:send', { giftId: 1, recipientId: 2 })
  const replies = await Promise.all(Array.from({ length: 40 }, (_, i) => send(i)))
  t.equal(replies.filter(({ ok }) => ok).length, 30, 'the limit applies across all connections of a user')
  t.match(replies.find(({ ok }) => !ok)?.error, { code: 'RATE_LIMITED', details: { retryAfterMs: Number } })
  await bob.ok('gift:send', { giftId: 1, recipientId: 1 })
  const prepared = await Promise.all(Array.from({ length: 70 }, () => ada.request('gift:prepare', { giftId: 1, recipientId: 2 })))
  t.equal(prepared.filter(({ ok }) => ok).length, 60)
  await until(async () => (await counts(server)).ledger === 31)
})

onBothStores(t, 'sends gift:prepare to all sockets of the recipient', async (t, store, kind) => {
  const server = await build(t, { env: { ...env, ...store } })
  const other = kind === 'redis' ? await build(t, { env: { ...env, ...store } }) : server
  const [ada, bob, bobsPhone] = [await server.connect(1), await server.connect(2), await other.connect(2)]
  await ada.ok('room:join', { roomId: 'r1' })
  await bobsPhone.ok('room:join', { roomId: 'r1' })
  t.same(await ada.ok('gift:prepare', { giftId: 7, recipientId: '2' }), {})
  for (const client of [bob, bobsPhone]) t.same(await client.event('gift:prepare'), { roomId: 'r1', senderId: 1, giftId: 7 })
  t.same(await ada.ok('gift:prepare', { giftId: 7, recipientId: 'nobody' }), {}, 'the reply does not reveal whether the recipient is connected')
  await ada.flush()
  t.same(ada.events.filter(({ type }) => type.startsWith('gift')), [])
  t.same(await counts(server), { queued: 0, deadLetters: 0, failed: 0, ledger: 0 })

  await bobsPhone.ok('room:join', { roomId: 'r2' })
  t.same(await ada.ok('gift:prepare', { giftId: 8, recipientId: 2 }), {}, 'the reply is the same for a user outside the room')
  await bobsPhone.ok('room:join', { roomId: 'r1' })
  await ada.ok('gift:prepare', { giftId: 9, recipientId: 2 })
  for (const client of [bob, bobsPhone]) t.match(await client.event('gift:prepare'), { giftId: 9 }, 'nothing is sent to a user outside the room')
})

t.test('an acknowledged gift is on disk', async (t) => {
  const folder = t.testdir()
  const server = await build(t, { env: { ...env, DATA_DIR: folder } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const look = new DatabaseSync(join(folder, 'gifts.sqlite'), { readOnly: true })
  t.teardown(() => look.close())
  const stored = look.prepare('SELECT 1 FROM queue WHERE id = ? UNION SELECT 1 FROM ledger WHERE id = ?')
  for (let i = 0; i < 20; i++) {
    const { transactionId } = await ada.ok('gift:send', { giftId: 1, recipientId: 2 })
    t.ok(stored.get(transactionId as string, transactionId as string))
  }
})

t.test('rejects gifts while the database is locked', async (t) => {
  const folder = t.testdir()
  const server = await build(t, { env: { ...env, DATA_DIR: folder } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const other = new DatabaseSync(join(folder, 'gifts.sqlite'))
  other.exec('BEGIN IMMEDIATE')
  const { error } = await ada.request('gift:send', { giftId: 1, recipientId: 2 })
  t.match(error, { code: 'UNAVAILABLE', details: { retryable: true } })
  other.exec('ROLLBACK')
  other.close()
  await ada.ok('gift:send', { giftId: 2, recipientId: 2 })
  t.match(await ada.event('gift:received'), { giftId: 2 }, 'the rejected gift is not announced')
  await until(async () => (await counts(server)).ledger === 1)
})

t.test('rejects new gifts while Redis is down, and keeps accepted ones', async (t) => {
  const redis = await startRedis(t)
  const server = await build(t, { env: { ...env, REDIS_URL: redis.url } })
  const ready = () => until(() => server.app.store.check().then(() => true, () => false))
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  await ada.ok('gift:send', { giftId: 1, recipientId: 2 })

  redis.process.kill('SIGSTOP')
  t.match((await ada.request('gift:send', { giftId: 2, recipientId: 2 })).error, { code: 'UNAVAILABLE', details: { retryable: true } }, 'Redis hangs')
  redis.process.kill('SIGCONT')
  await ready()
  await ada.ok('gift:send', { giftId: 3, recipientId: 2 })
  await redis.kill()
  t.equal(await ada.fails('gift:send', { giftId: 4, recipientId: 2 }), 'UNAVAILABLE', 'Redis is down')
  t.match(await server.admin('GET', '/admin/gifts'), { status: 503, body: { error: { code: 'UNAVAILABLE' } } })
  await redis.start()
  await ready()
  await ada.ok('gift:send', { giftId: 5, recipientId: 2 })
  await until(async () => (await counts(server)).ledger >= 1)
  await ada.event('gift:received', ({ giftId }) => giftId === 5)
  t.same(ada.events.filter(({ type, data }) => type === 'gift:received' && [2, 4].includes(data.giftId as number)), [], 'rejected gifts are not announced')
})

onEveryStore(t, 'rejects gifts while the feature is disabled', async (t, store) => {
  const server = await build(t, { env: { ...env, ...store, FEATURES: 'auth' } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  t.equal(await ada.fails('gift:send', { giftId: 1, recipientId: 2 }), 'FEATURE_DISABLED')
  t.equal((await server.admin('GET', '/admin/gifts')).status, 404)
})
