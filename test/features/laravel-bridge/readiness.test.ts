import t from 'tap'
import { eventsChannel, startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { stopwatch } from '../../support/pace.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { silenceableProxy } from './support.ts'

const readiness = async (server: TestServer) => {
  const response = await fetch(`${server.url}/readyz`)
  return { status: response.status, body: await response.json() as { checks?: Record<string, { ok: boolean, error?: string }> } }
}
const relayCheck = async (server: TestServer) => (await readiness(server)).body.checks?.relay?.ok

t.test('a server is unready while its subscription is dead', async (t) => {
  const redis = await startRedis(t)
  const network = await silenceableProxy(t, redis.port)
  const backend = await startBackend(t, { redisUrl: redis.url })
  const server = await build(t, { env: { ...backend.env, REDIS_URL: network.url } })
  const ada = await server.connect(1)
  await until(async () => (await readiness(server)).status === 200)

  network.silence(true)
  const deaf = stopwatch()
  await until(async () => (await readiness(server)).status === 503)
  const deafMs = deaf()
  t.ok(deafMs < 10_000, `unready after ${deafMs} ms`)
  t.match((await server.admin('GET', '/health')).body, { checks: { relay: { ok: false, error: /does not receive/ }, store: { ok: true }, pubsub: { ok: true } } })

  network.restore()
  const mendedAt = Date.now()
  await until(async () => (await readiness(server)).status === 200)
  t.comment(`unready after ${deafMs} ms, ready after ${Date.now() - mendedAt} ms`)
  await backend.publish('level.up', { user_id: 1, payload: { level: 2 } })
  t.same(await ada.event('level.up'), { level: 2 })

  // Only the current connection becomes silent, so the server recovers by opening a new connection.
  network.silence(false)
  const silent = stopwatch()
  let level = 3
  await until(async () => {
    await backend.publish('level.up', { user_id: 1, payload: { level: ++level } })
    return ada.events.some(({ data }) => Number(data.level) > 3)
  })
  const silentMs = silent()
  t.ok(silentMs < 10_000, `a silent connection was replaced after ${silentMs} ms`)
  await until(async () => (await readiness(server)).status === 200)
})

t.test('renews a broken subscription', async (t) => {
  const redis = await startRedis(t)
  const backend = await startBackend(t, { redisUrl: redis.url })
  const server = await build(t, { env: { ...backend.env, REDIS_URL: redis.url } })
  const ada = await server.connect(1)
  await server.app.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await until(async () => await backend.publish('level.up', { user_id: 1, payload: {} }) === 1)
  await ada.event('level.up')

  await redis.kill()
  await until(async () => await relayCheck(server) === false)
  await redis.start()
  await until(async () => await relayCheck(server) === true)
  t.equal(await backend.publish('level.up', { user_id: 1, payload: { again: true } }), 1)
  t.same(await ada.event('level.up', ({ again }) => again === true), { again: true })

  redis.process.kill('SIGSTOP')
  await until(async () => await relayCheck(server) === false)
  redis.process.kill('SIGCONT')
  await until(async () => await relayCheck(server) === true)
})

t.test('a server ignores the canaries of other servers', async (t) => {
  const redis = await startRedis(t)
  const backend = await startBackend(t, { redisUrl: redis.url })
  const env = { ...backend.env, REDIS_URL: redis.url }
  const servers = [await build(t, { env }), await build(t, { env })]
  const ada = await servers[0]?.connect(1)
  const canaries: string[] = []
  const listener = servers[0]?.app.redis.duplicate({ enableOfflineQueue: true })
  t.teardown(() => listener?.disconnect())
  listener?.on('message', (_channel: string, text: string) => canaries.push(text))
  await listener?.subscribe(eventsChannel)
  await until(() => canaries.length >= 4)
  t.match(JSON.parse(canaries[0] ?? ''), { event: 'msab:canary', user_id: 0, room_id: null, payload: {}, timestamp: String, correlation_id: String }, 'a valid envelope')
  t.same(ada?.events, ada?.events.filter(({ type }) => type === 'session:ready'))
  for (const server of servers) t.notMatch(await server.app.metrics.registry.metrics(), /flylive_laravel_events_dropped_total\{/)
})

t.test('without Redis, there is neither a relay nor a readiness check for it', async (t) => {
  const backend = await startBackend(t)
  const server = await build(t, { env: backend.env })
  const { status, body } = await readiness(server)
  t.equal(status, 200)
  t.notOk('relay' in (body.checks ?? {}))
})
