import { Redis } from 'ioredis'
import type { FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { createRedisBus } from '../../../plugins/cluster/bus.redis.ts'
import { build } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

t.test('delivers messages in the same order on all servers, and only locally while Redis is down', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const buses = [(await build(t, { env })).app.bus, (await build(t, { env })).app.bus] as const
  const heard: string[][] = [[], []]
  for (const [i, bus] of buses.entries()) await bus.subscribe('c', (message) => heard[i]?.push(message))

  await Promise.all(Array.from({ length: 200 }, (_, i) => buses[i % 2 as 0 | 1].publish('c', `m${i}`)))
  await until(() => heard.every((list) => list.length === 200))
  t.same(heard[0], heard[1], 'both servers receive each message once, in the same order')

  await redis.kill()
  await t.rejects(buses[0].check(), { code: 'UNAVAILABLE' })
  t.equal(await buses[0].publish('c', 'alone'), false)
  t.equal(heard[0]?.at(-1), 'alone')
  t.equal(heard[1]?.length, 200)

  const healed = new Promise<void>((resolve) => buses[1].onHealed(resolve))
  await redis.start()
  await healed
  for (const bus of buses) await until(() => bus.check().then(() => true))
  t.equal(await buses[0].publish('c', 'together'), true)
  await until(() => heard.every((list) => list.at(-1) === 'together'))
  t.equal(heard[0]?.length, 202, 'no message is repeated')

  t.test('publishes a message that has no subscribers', async (t) => {
    t.equal(await buses[0].publish('nobody', 'x'), true)
  })
})

t.test('treats a hanging Redis as down', async (t) => {
  const redis = await startRedis(t)
  const { app } = await build(t, { env: { REDIS_URL: redis.url } })
  const heard: string[] = []
  await app.bus.subscribe('c', (message) => heard.push(message))
  process.kill(redis.process.pid as number, 'SIGSTOP')
  const published = app.bus.publish('c', 'm')
  await t.rejects(app.store.check(), { code: 'UNAVAILABLE' })
  await t.rejects(app.bus.check(), { code: 'UNAVAILABLE' })
  t.equal(await published, false)
  t.same(heard, ['m'])
  process.kill(redis.process.pid as number, 'SIGCONT')
  await until(() => app.bus.check().then(() => true))
  t.same(heard, ['m'], 'the late copy is not delivered again')
})

t.test('renews the subscriptions of a new connection again if the renewal fails', async (t) => {
  const redis = await startRedis(t)
  let warnings = 0
  const env = { REDIS_URL: redis.url, FEATURES: 'auth' }
  const { app } = await build(t, { env, log: ({ msg }) => { if (String(msg).startsWith('failed to renew')) warnings++ } })
  const [, connection] = /^id=(\d+)/.exec(String(await app.redis.call('CLIENT', 'LIST', 'TYPE', 'pubsub'))) ?? []
  const other = await build(t, { env })
  const heard: string[] = []
  await app.bus.subscribe('c', (message) => heard.push(message))
  await other.app.bus.subscribe('c', () => {})
  const healed = new Promise<void>((resolve) => app.bus.onHealed(resolve))
  await app.redis.call('ACL', 'SETUSER', 'default', '-subscribe')
  await app.redis.call('CLIENT', 'KILL', 'ID', String(connection))
  await until(() => warnings > 0)
  t.equal(await app.bus.publish('c', 'm'), true)
  t.same(heard, ['m'], 'the server delivers its own messages although the new connection has no subscriptions')
  await app.redis.call('ACL', 'SETUSER', 'default', '+subscribe')
  await healed
  await app.bus.check()
})

t.test('the start fails if Redis does not accept the subscriptions in time', async (t) => {
  const redis = await startRedis(t)
  const client = new Redis(redis.url)
  t.teardown(() => client.disconnect())
  await client.config('SET', 'maxclients', '1')
  await t.rejects(createRedisBus(client, 0, 'a', { debug () {}, warn () {} } as unknown as FastifyBaseLogger, 500), { name: 'StartError', message: /^Redis did not accept the server's subscriptions within 0\.5 s: \w/ })
})

t.test('retries a single subscription that Redis has rejected', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url, FEATURES: 'auth' }
  const { app } = await build(t, { env })
  const other = await build(t, { env })
  const heard: string[] = []
  const healed = new Promise<void>((resolve) => app.bus.onHealed(resolve))
  await app.redis.call('ACL', 'SETUSER', 'default', '-subscribe')
  await app.bus.subscribe('c', (message) => heard.push(message))
  await app.bus.publish('c', 'own')
  t.same(heard, ['own'])
  await app.redis.call('ACL', 'SETUSER', 'default', '+subscribe')
  await healed
  await other.app.bus.publish('c', 'of another server')
  await until(() => heard.length === 2)
  t.same(heard, ['own', 'of another server'])
})

t.test('delivers a message that was in flight while Redis rejected the subscription of its channel', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url, FEATURES: 'auth' }
  const { app } = await build(t, { env })
  const other = await build(t, { env })
  const heard: string[] = []
  await other.app.bus.subscribe('c', () => {})
  await app.redis.call('ACL', 'SETUSER', 'default', '-subscribe')
  const subscribed = app.bus.subscribe('c', (message) => heard.push(message))
  await app.bus.publish('c', 'own')
  await subscribed
  t.same(heard, ['own'])
})
