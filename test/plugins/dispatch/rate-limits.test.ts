import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { createRateLimits } from '../../../plugins/dispatch/rate-limits.ts'
import { build, onBothStores } from '../../support/build.ts'
import { redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const limitsOf = ({ app }: { app: FastifyInstance }) => createRateLimits(app.hasDecorator('redis') ? app.redis : undefined)

onBothStores(t, 'limits messages per key and returns the retry delay', async (t, env) => {
  const limits = limitsOf(await build(t, { env }))
  for (let i = 0; i < 3; i++) await limits.consume('wave', 'ada', 3)
  await t.rejects(limits.consume('wave', 'ada', 3), { code: 'RATE_LIMITED', details: { retryAfterMs: Number } })
  await limits.consume('wave', 'ada', 5)
  await limits.consume('wave', 'bob', 3)
  await limits.consume('nod', 'ada', 3)
})

onBothStores(t, 'count() applies the limit without waiting for the store', async (t, env) => {
  const limits = limitsOf(await build(t, { env }))
  for (let i = 0; i < 3; i++) limits.count('wave', 'ada', 3)
  t.throws(() => limits.count('wave', 'ada', 3), { code: 'RATE_LIMITED', details: { retryAfterMs: Number } })
  limits.count('wave', 'ada', 4)
  limits.count('wave', 'bob', 3)
  limits.count('nod', 'ada', 3)
})

t.test('servers share counts on Redis, and count separately while Redis is down', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const [first, second] = [await build(t, { env }), await build(t, { env })]
  const [a, b] = [limitsOf(first), limitsOf(second)]
  await a.consume('wave', 'ada', 3)
  a.count('wave', 'ada', 3)
  await until(async () => await first.app.redis?.get('msab:ratelimit:wave:ada') === '2')
  await b.consume('wave', 'ada', 3)
  await t.rejects(b.consume('wave', 'ada', 3), { code: 'RATE_LIMITED' })
  for (let i = 0; i < 30; i++) b.count('nod', 'ada', 40)
  await until(async () => await first.app.redis?.get('msab:ratelimit:nod:ada') === '30')
  let accepted = 0
  await until(async () => {
    try {
      await a.count('nod', 'ada', 30)
      accepted++
      return false
    } catch {
      return true
    }
  })
  t.ok(accepted <= 1, 'the first server receives the count of the second one when it reports its own')
  await redis.kill()
  for (let i = 0; i < 2; i++) await a.consume('wave', 'bob', 2)
  await t.rejects(a.consume('wave', 'bob', 2), { code: 'RATE_LIMITED' })
})

t.test('a user who is connected to two servers cannot exceed a limit in a burst', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const servers = [limitsOf(await build(t, { env })), limitsOf(await build(t, { env }))]
  const admitted = async (perMinute: number) => {
    const counted = Array.from({ length: perMinute * 2 }, async () => {
      const outcomes = await Promise.allSettled(servers.map(async (limits) => await limits.count(`burst${perMinute}`, 'ada', perMinute)))
      return outcomes.filter(({ status }) => status === 'fulfilled').length
    })
    return (await Promise.all(counted)).reduce((sum, count) => sum + count, 0)
  }
  for (const perMinute of [2, 30, 240]) {
    const count = await admitted(perMinute)
    t.ok(count >= perMinute && count <= perMinute + Math.max(1, perMinute / 20), `${count} of ${perMinute}`)
  }
})

t.test('requests start in order even if some wait for the count of a rate limit', async (t) => {
  const { app, connect } = await build(t, { env: { FEATURES: 'auth', REDIS_URL: await redisDatabase() } })
  const started: unknown[] = []
  const options = { request: z.object({ n: z.int() }), reply: z.object({}), room: false } as const
  const handler = ({ n }: { n: number }) => {
    started.push(n)
    return {}
  }
  app.messages.on('wave', { ...options, limit: { perMinute: 40, eventual: true } }, handler)
  app.messages.on('nod', options, handler)
  const client = await connect(1)
  const replies = await Promise.all(Array.from({ length: 60 }, (_, n) => client.request(n % 2 === 0 ? 'wave' : 'nod', { n })))
  t.ok(replies.every(({ ok }) => ok))
  t.same(started, Array.from({ length: 60 }, (_, n) => n))
})
