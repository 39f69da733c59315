import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { createRateLimits } from '../../../plugins/dispatch/rate-limits.ts'
import { build, onBothStores } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const limitsOf = ({ app }: { app: FastifyInstance }) => createRateLimits(app.hasDecorator('redis') ? app.redis : undefined)

onBothStores(t, 'limits messages per key and returns the retry delay', async (t, env) => {
  const limits = limitsOf(await build(t, { env }))
  for (let i = 0; i < 3; i++) await limits.consume('wave', 'ada', 3)
  t.throws(() => limits.consume('wave', 'ada', 3), { code: 'RATE_LIMITED', details: { retryAfterMs: Number } })
  await limits.consume('wave', 'bob', 3)
  await limits.consume('nod', 'ada', 3)
})

onBothStores(t, 'counts without waiting', async (t, env) => {
  const limits = limitsOf(await build(t, { env }))
  for (let i = 0; i < 3; i++) limits.count('wave', 'ada', 3)
  t.throws(() => limits.count('wave', 'ada', 3), { code: 'RATE_LIMITED', details: { retryAfterMs: Number } })
  limits.count('wave', 'bob', 3)
  limits.count('nod', 'ada', 3)
})

t.test('servers share counts on Redis, and count separately while Redis is down', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const [first, second] = [await build(t, { env }), await build(t, { env })]
  const [a, b] = [limitsOf(first), limitsOf(second)]
  const shared = async () => Number(await first.app.redis?.get('msab:ratelimit:wave:ada'))
  await a.consume('wave', 'ada', 40)
  t.equal(a.consume('wave', 'ada', 40), undefined, 'only the first message of a minute waits for Redis')
  await until(async () => await shared() === 2)
  for (let i = 0; i < 38; i++) await b.consume('wave', 'ada', 40)
  t.throws(() => b.consume('wave', 'ada', 40), { code: 'RATE_LIMITED' }, 'the second server knows the count of the first one at once')
  await until(async () => await shared() === 40)
  a.count('wave', 'ada', 40)
  await until(async () => await shared() === 41)
  let accepted = 0
  await until(() => {
    try {
      a.count('wave', 'ada', 40)
      accepted++
      return false
    } catch {
      return true
    }
  })
  t.ok(accepted < 37, 'the first server receives the count of the second one with its own report')
  await redis.kill()
  for (let i = 0; i < 2; i++) await a.consume('wave', 'bob', 2)
  t.throws(() => a.consume('wave', 'bob', 2), { code: 'RATE_LIMITED' })
})
