import t from 'tap'
import { unavailable } from '../../../plugins/errors/codes.ts'
import { build, shortTimings } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// If Redis hangs, a join can time out although Redis runs the join later.

for (const retry of ['the same', 'a new'] as const) {
  t.test(`announces a user who retries a join with ${retry} session after the store's reply was lost`, async (t) => {
    // The reconciler would remove the user from the room before the retry.
    const server = await build(t, { env: { FEATURES: 'auth' }, timings: { reconcileIntervalMs: 60_000 } })
    const { store } = server.app
    const ada = await server.connect('ada')
    await ada.ok('room:join', { roomId: 'r1' })
    const first = await server.connect('bob')

    const join = store.join.bind(store)
    store.join = async (command) => {
      await join(command)
      throw unavailable('The reply was lost')
    }
    t.equal(await first.fails('room:join', { roomId: 'r1' }), 'UNAVAILABLE')
    store.join = join
    if (retry === 'a new') await first.close()
    const bob = retry === 'a new' ? await server.connect('bob') : first
    await bob.ok('room:join', { roomId: 'r1' })
    await (await server.connect('carol')).ok('room:join', { roomId: 'r1' })
    await ada.event('room:userJoined', ({ userId }) => userId === 'carol')
    const announced = () => ada.events.filter(({ type }) => type === 'room:userJoined').map(({ data }) => data.userId)
    t.same(announced(), ['bob', 'carol'])

    await (await server.connect('bob')).ok('room:join', { roomId: 'r1' })
    await (await server.connect('dan')).ok('room:join', { roomId: 'r1' })
    await ada.event('room:userJoined', ({ userId }) => userId === 'dan')
    t.same(announced(), ['bob', 'carol', 'dan'], 'further sessions are not announced')
  })
}

t.test("announces a user who retries a join on another server after the store's reply was lost", async (t) => {
  const env = { FEATURES: 'auth', REDIS_URL: await redisDatabase() }
  const timings = { ...shortTimings, recoveryMs: 500 }
  const [a, b] = [await build(t, { env, timings }), await build(t, { env, timings })]
  const [ada, carol] = [await a.connect('ada'), await b.connect('carol')]
  for (const client of [ada, carol]) await client.ok('room:join', { roomId: 'r1' })
  const { store } = a.app
  const { join, replaceNodeMembers } = store
  const retried = Promise.withResolvers<void>()
  store.replaceNodeMembers = async (...args) => {
    await retried.promise
    return await replaceNodeMembers.apply(store, args)
  }
  store.join = async (command) => {
    await join.call(store, command)
    throw unavailable('The reply was lost')
  }
  const bob = await a.connect('bob')
  t.equal(await bob.fails('room:join', { roomId: 'r1' }), 'UNAVAILABLE')
  store.join = join
  await bob.close()
  t.match(await (await b.connect('bob')).ok('room:join', { roomId: 'r1' }), { participantCount: 3 })
  retried.resolve()
  for (const client of [ada, carol]) await client.event('room:userJoined', ({ userId }) => userId === 'bob')
})

t.test('removes a user whose join had no reply, even if the last member on the server leaves before the next sync', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', REDIS_URL: await redisDatabase() }, timings: shortTimings })
  const { store } = server.app
  const [ada, bob] = [await server.connect('ada'), await server.connect('bob')]
  await ada.ok('room:join', { roomId: 'r1' })
  const join = store.join.bind(store)
  store.join = async (command) => {
    await join(command)
    throw unavailable('The reply was lost')
  }
  t.equal(await bob.fails('room:join', { roomId: 'r1' }), 'UNAVAILABLE')
  store.join = join
  await ada.ok('room:leave')
  await until(async () => (await store.getRoom('r1'))?.participantCount === 0)
})

t.test('removes a user whose leave had no reply, even if another user joins and leaves before the next sync', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', REDIS_URL: await redisDatabase() }, timings: shortTimings })
  const { store } = server.app
  const [ada, bob] = [await server.connect('ada'), await server.connect('bob')]
  await ada.ok('room:join', { roomId: 'r1' })
  const { leave } = store
  store.leave = async () => { throw unavailable('Redis cannot be reached') }
  await ada.ok('room:leave')
  store.leave = leave
  await bob.ok('room:join', { roomId: 'r1' })
  await bob.ok('room:leave')
  await until(async () => (await store.getRoom('r1'))?.participantCount === 0)
})
