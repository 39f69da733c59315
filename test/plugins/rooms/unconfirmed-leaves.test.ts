import t from 'tap'
import { unavailable } from '../../../plugins/errors/codes.ts'
import { build, shortTimings } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

t.test('announces on all servers that a user left while Redis was unreachable', async (t) => {
  const env = { FEATURES: 'auth', REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env, timings: shortTimings }), await build(t, { env, timings: shortTimings })]
  const [neighbour, watcher] = [await a.connect('neighbour'), await b.connect('watcher')]
  for (const client of [neighbour, watcher]) await client.ok('room:join', { roomId: 'r1' })
  const [ada, bob] = [await a.connect('ada'), await a.connect('bob')]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })

  // Redis removes the users from the room, but the server does not receive the replies.
  const { bus, store } = a.app
  const { publish } = bus
  const leave = store.leave.bind(store)
  bus.publish = async (channel, message) => {
    bus.track(channel, message)?.settle(0)
    return false
  }
  store.leave = async (...args) => {
    await leave(...args)
    throw unavailable('The reply was lost')
  }
  for (const client of [ada, bob]) await client.ok('room:leave')
  bus.publish = publish
  store.leave = leave
  await bob.ok('room:join', { roomId: 'r1' })

  const left = ({ events }: TestClient) => events.filter(({ type }) => type === 'room:userLeft').map(({ data }) => data.userId)
  await until(() => left(watcher).length > 0)
  await (await b.connect('carol')).ok('room:join', { roomId: 'r1' })
  for (const client of [neighbour, watcher]) await client.event('room:userJoined', ({ userId }) => userId === 'carol')
  t.same(left(watcher), ['ada'], 'a user who has returned is not announced as left')
  t.same(left(neighbour), ['ada', 'bob'], 'members on the same server receive each leave once')
})

t.test('announces a user who returns before the store has run the leave', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' }, timings: shortTimings })
  const [ada, bob] = [await server.connect('ada'), await server.connect('bob')]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await ada.event('room:userJoined')
  const { store } = server.app
  const leave = store.leave.bind(store)
  store.leave = async () => { throw unavailable('Redis cannot be reached') }
  await bob.ok('room:leave')
  store.leave = leave
  t.match(await ada.event('room:userLeft'), { userId: 'bob' })
  // The store still lists the user, so it does not report a new user.
  await bob.ok('room:join', { roomId: 'r1' })
  t.match(await ada.event('room:userJoined'), { user: { userId: 'bob' } })
})
