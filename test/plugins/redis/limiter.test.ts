import t from 'tap'
import { createLimiter, MinuteCounter } from '../../../plugins/redis/limiter.ts'
import { build } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'

t.test('servers share counts on Redis, and count separately while Redis is down', async (t) => {
  const redis = await startRedis(t)
  const limiterOf = async () => createLimiter((await build(t, { env: { REDIS_URL: redis.url } })).app.redis, { name: 'wave', max: 2, windowSeconds: 60 })
  const [a, b] = [await limiterOf(), await limiterOf()]
  t.equal(await a.read('ada'), undefined)
  await a.consume('ada')
  t.match(await b.add('ada'), { used: 2, msLeft: Number })
  t.match(await a.read('ada'), { used: 2 })
  const limited = { code: 'RATE_LIMITED', details: { retryAfterMs: Number } }
  await t.rejects(a.check('ada'), limited)
  await t.rejects(a.consume('ada'), limited)
  t.match(await b.add('ada', 5), { used: 8 })
  await redis.kill()
  await a.consume('ada')
  await a.consume('ada')
  await t.rejects(a.consume('ada'), limited)
})

t.test('the one-minute window of a key ends even if the count came from another server', async (t) => {
  let now = 0
  const counter = new MinuteCounter(() => now)
  const limited = (retryAfterMs: number) => ({ code: 'RATE_LIMITED', details: { retryAfterMs } })
  for (let i = 0; i < 2; i++) counter.add('ada')
  t.throws(() => counter.check('ada', 2), limited(60_000))
  counter.set('ada', { used: 1, msLeft: 60_000 })
  t.equal(counter.used('ada'), 2, 'a count does not decrease within a minute')
  counter.set('ada', { used: 9, msLeft: 5000 })
  now = 4000
  t.throws(() => counter.check('ada', 9), limited(1000))
  now = 5000
  counter.check('ada', 1)
  counter.add('ada')
  now = 64_999
  t.throws(() => counter.check('ada', 1), limited(1))
  now = 65_000
  counter.check('ada', 1)
})
