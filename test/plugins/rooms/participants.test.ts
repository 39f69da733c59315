import t from 'tap'
import { build, onBothStores, onEveryStore } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'

interface Page { participants: { userId: number, name: string }[], participantCount: number, nextCursor: string | null }

const page = async (client: TestClient, data: object = {}) => await client.ok('room:participants', data) as unknown as Page
const idsOf = ({ participants }: Page) => participants.map(({ userId }) => userId)

onBothStores(t, 'lists all members page by page, on all servers', async (t, env, kind) => {
  const options = { env: { ...env, FEATURES: 'auth' } }
  const a = await build(t, options)
  const b = kind === 'redis' ? await build(t, options) : a
  const clients: TestClient[] = []
  for (let id = 1; id <= 12; id++) {
    const client = await (id % 2 ? a : b).connect(id)
    await client.ok('room:join', { roomId: 'r1' })
    clients.push(client)
  }
  const [ada, bob, cyd, dan] = clients as [TestClient, TestClient, TestClient, TestClient]
  const everybody = Array.from({ length: 12 }, (_, i) => i + 1)
  const whole = await page(bob)
  t.strictSame(whole.participants[0], { userId: 1, id: 1, name: 'User 1' })
  t.same(idsOf(whole), everybody, 'members are in order of arrival')
  t.match(whole, { participantCount: 12, nextCursor: null })
  t.same(await page(bob, { roomId: 'r1', limit: 12 }), whole, 'a full last page has no cursor')

  const first = await page(ada, { limit: 4 })
  t.same(idsOf(first), [1, 2, 3, 4])
  t.equal(first.participantCount, 12)
  // Bob and Dan leave, and Bob rejoins. Dan is the last member on the first page.
  for (const client of [bob, dan]) await client.ok('room:leave')
  await bob.ok('room:join', { roomId: 'r1' })
  const second = await page(ada, { limit: 4, cursor: first.nextCursor })
  t.same(idsOf(second), [5, 6, 7, 8], 'no member is skipped or repeated')
  t.equal(second.participantCount, 11)
  const third = await page(cyd, { limit: 4, cursor: second.nextCursor })
  const last = await page(cyd, { limit: 4, cursor: third.nextCursor })
  t.same([...idsOf(third), ...idsOf(last)], [9, 10, 11, 12, 2], 'a rejoined member is last')
  t.equal(last.nextCursor, null)
})

onEveryStore(t, 'a user with two sockets is one participant', async (t, env) => {
  const server = await build(t, { env: { ...env, FEATURES: 'auth' } })
  const [ada, adasPhone] = [await server.connect(1), await server.connect(1)]
  for (const client of [ada, adasPhone]) await client.ok('room:join', { roomId: 'r1' })
  t.match(await page(ada), { participants: { length: 1 }, participantCount: 1, nextCursor: null })
})

t.test('rejects invalid requests', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const [ada, eve] = [await server.connect(1), await server.connect(2)]
  t.equal(await ada.fails('room:participants'), 'NOT_IN_ROOM')
  await ada.ok('room:join', { roomId: 'r1' })
  await eve.ok('room:join', { roomId: 'r2' })
  t.equal(await eve.fails('room:participants', { roomId: 'r1' }), 'NOT_IN_ROOM', 'users outside the room cannot list members')
  const { nextCursor } = await page(ada)
  t.equal(nextCursor, null)
  const foreign = Buffer.from('r1').toString('base64url')
  for (const data of [{ limit: 0 }, { limit: 201 }, { limit: 'all' }, { cursor: null }, { cursor: foreign }, { cursor: Buffer.from('-1').toString('base64url') }]) {
    t.equal(await ada.fails('room:participants', data), 'VALIDATION_FAILED', JSON.stringify(data))
  }
  await ada.ok('room:leave')
  t.equal(await ada.fails('room:participants'), 'NOT_IN_ROOM')
})

t.test('loads each page with one store call, and limits the pages per user', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', WS_MESSAGES_PER_SECOND: '10000', WS_MESSAGES_BURST: '10000' } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const { store } = server.app
  const { listParticipants } = store
  let calls = 0
  store.listParticipants = async (...args) => {
    calls++
    return await listParticipants(...args)
  }
  for (let i = 0; i < 120; i++) await page(ada)
  t.equal(calls, 120)
  t.match(await ada.request('room:participants'), { error: { code: 'RATE_LIMITED', details: { retryAfterMs: Number } } })
})

t.test('a user who rejoins does not receive the leave event of the previous session', async (t) => {
  const { app, connect } = await build(t, { env: { FEATURES: 'auth' } })
  const [old, witness, renewed] = [await connect(1), await connect(2), await connect(1)]
  for (const client of [old, witness]) await client.ok('room:join', { roomId: 'r1' })
  const { join } = app.store
  app.store.join = async (command) => {
    await old.close()
    await witness.event('room:userLeft')
    return await join(command)
  }
  await renewed.ok('room:join', { roomId: 'r1' })
  await renewed.flush()
  t.notOk(renewed.events.some(({ type }) => type === 'room:userLeft'))
})
