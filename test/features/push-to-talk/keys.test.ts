import { Redis } from 'ioredis'
import t from 'tap'
import { build } from '../../support/build.ts'
import { connectRadio } from '../../support/radio.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

t.test('each key that the feature writes has a time to live or belongs to a room', async (t) => {
  const url = await redisDatabase()
  const server = await build(t, { env: { FEATURES: 'auth,push-to-talk', REDIS_URL: url, PTT_SELF_JOIN: 'true' } })
  const redis = new Redis(url)
  t.teardown(() => redis.disconnect())
  const before = new Set(await redis.keys('*'))
  const [ada, bob] = [await connectRadio(t, server.url, 1, { claims: { channelIds: [5] } }), await connectRadio(t, server.url, 2, { claims: { channelIds: [5] } })]
  ada.send(0, 4, 1, 0, 'push-token')
  ada.send(0, 17, 1, 5, 'text')
  ada.send(1, 17, 1, 2, 'text')
  ada.send(0, 15, 1, 6)
  ada.send(0, 1, 1, 5)
  ada.send(0, 2, 1, 5)
  await ada.next(7)
  await redis.publish('vp:membership_updates', JSON.stringify({ eventId: 'e', userId: 2, channelIds: [], action: 'set_user_channels' }))
  await until(async () => (await redis.exists('msab:kv:{push-to-talk:channels}:2')) + (await redis.keys('*push-to-talk:channels*')).length > 1)
  await bob.close()
  const written = (await redis.keys('*')).filter((key) => !before.has(key))
  const ttls = await Promise.all(written.map(async (key) => [key, await redis.pttl(key), await redis.type(key)] as const))
  const forever = ttls.filter(([, ttl]) => ttl === -1).map(([key]) => key)
  const ofFeature = written.filter((key) => key.includes('push-to-talk'))
  t.ok(ofFeature.length >= 5, ofFeature.join(' '))
  // Skip room state and scheduled jobs: room state is deleted with the room, and the kernel deletes jobs.
  t.same(forever.filter((key) => key.includes('push-to-talk') && !key.startsWith('msab:room:') && !key.startsWith('msab:jobs:')), [])
  await server.close()
})
