import t from 'tap'
import { unavailable } from '../../../plugins/errors/codes.ts'
import { build, shortTimings } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

t.test('announces on all servers that a user left while Redis was unreachable', async (t) => {
  const env = { FEATURES: 'auth', REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env, timings: shortTimings }), await build(t, { env, timings: shortTimings })]
  const watcher = await b.connect('watcher')
  await watcher.ok('room:join', { roomId: 'r1' })
  const [ada, bob] = [await a.connect('ada'), await a.connect('bob')]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })

  // Redis removes the users from the room, but the server does not receive the replies.
  const { bus, store } = a.app
  const { publish } = bus
  const leave = store.leave.bind(store)
  bus.publish = async () => false
  store.leave = async (...args) => {
    await leave(...args)
    throw unavailable('The reply was lost')
  }
  for (const client of [ada, bob]) await client.ok('room:leave')
  bus.publish = publish
  store.leave = leave
  await bob.ok('room:join', { roomId: 'r1' })

  const left = () => watcher.events.filter(({ type }) => type === 'room:userLeft').map(({ data }) => data.userId)
  await until(() => left().length > 0)
  t.same(left(), ['ada'], 'a user who has returned is not announced as left')
})
