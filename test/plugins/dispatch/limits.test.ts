import t from 'tap'
import { build, onBothStores } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'

onBothStores(t, 'limits per key and returns the retry delay', async (t, env) => {
  const { limits } = (await build(t, { env })).app.messages
  for (let i = 0; i < 3; i++) await limits.consume('wave', 'ada', 3)
  const error: unknown = await limits.consume('wave', 'ada', 3).catch((error: unknown) => error)
  t.match(error, { code: 'RATE_LIMITED', details: { retryAfterMs: Number } })
  await limits.consume('wave', 'bob', 3)
  await limits.consume('nod', 'ada', 3)
})

t.test('servers count together on Redis, and alone while it is down', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const [a, b] = [(await build(t, { env })).app.messages.limits, (await build(t, { env })).app.messages.limits]
  await a.consume('wave', 'ada', 2)
  await b.consume('wave', 'ada', 2)
  await t.rejects(a.consume('wave', 'ada', 2), { code: 'RATE_LIMITED' })
  await redis.kill()
  await a.consume('wave', 'ada', 2)
  await a.consume('wave', 'ada', 2)
  await t.rejects(a.consume('wave', 'ada', 2), { code: 'RATE_LIMITED' })
})
