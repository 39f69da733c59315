import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { createRateLimits, MinuteCounter } from '../../../plugins/redis/limiter.ts'
import { build, onBothStores } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const limitsOf = ({ app }: { app: FastifyInstance }) => createRateLimits(app.hasDecorator('redis') ? app.redis : undefined)

onBothStores(t, 'limits events per key and returns the retry delay', async (t, env) => {
  const limits = limitsOf(await build(t, { env }))
  for (let i = 0; i < 3; i++) await limits.consume('wave', 'ada', 3)
  const error: unknown = await limits.consume('wave', 'ada', 3).catch((error: unknown) => error)
  t.match(error, { code: 'RATE_LIMITED', details: { retryAfterMs: Number } })
  await limits.consume('wave', 'bob', 3)
  await limits.consume('nod', 'ada', 3)
})

t.test('servers share counts on Redis, and count separately while Redis is down', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const [a, b] = [limitsOf(await build(t, { env })), limitsOf(await build(t, { env }))]
  await a.consume('wave', 'ada', 2)
  await b.consume('wave', 'ada', 2)
  await t.rejects(a.consume('wave', 'ada', 2), { code: 'RATE_LIMITED' })
  await redis.kill()
  await a.consume('wave', 'ada', 2)
  await a.consume('wave', 'ada', 2)
  await t.rejects(a.consume('wave', 'ada', 2), { code: 'RATE_LIMITED' })
})

onBothStores(t, 'counts without waiting, and returns the retry delay', async (t, env) => {
  const limits = limitsOf(await build(t, { env }))
  for (let i = 0; i < 3; i++) limits.count('wave', 'ada', 3)
  t.throws(() => limits.count('wave', 'ada', 3), { code: 'RATE_LIMITED' })
  limits.count('wave', 'bob', 3)
  limits.count('nod', 'ada', 3)
})

t.test('counts of other servers apply after a round trip', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const [a, b] = [limitsOf(await build(t, { env })), limitsOf(await build(t, { env }))]
  for (let i = 0; i < 3; i++) a.count('wave', 'ada', 3)
  b.count('wave', 'ada', 3)
  await until(() => {
    try {
      b.count('wave', 'ada', 100)
      return false
    } catch {
      return true
    }
  })
})

t.test('a minute ends for a key that was exhausted', async (t) => {
  let now = 0
  const counter = new MinuteCounter(() => now)
  const limited = (retryAfterMs: number) => ({ code: 'RATE_LIMITED', details: { retryAfterMs } })
  for (let i = 0; i < 2; i++) counter.add('ada')
  t.throws(() => counter.check('ada', 2), limited(60_000))
  counter.exhaust('ada', 5000)
  now = 4000
  t.throws(() => counter.check('ada', 100), limited(1000))
  now = 5000
  counter.check('ada', 2)
  counter.add('ada')
  now = 64_999
  counter.check('ada', 2)
  t.throws(() => counter.check('ada', 1), limited(1))
  now = 65_000
  counter.check('ada', 1)
})
