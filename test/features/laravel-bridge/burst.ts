import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Test } from 'tap'
import { startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { valueOf } from './support.ts'

/** @param total number of events that the backend publishes at once; a multiple of 20 */
export async function assertBurst (t: Test, total: number): Promise<void> {
  const redis = await startRedis(t)
  const backend = await startBackend(t, { redisUrl: redis.url })
  backend.everyRoom = () => 1
  const server = await build(t, { env: { ...backend.env, REDIS_URL: redis.url } })
  const users = await Promise.all(Array.from({ length: 20 }, (_, i) => server.connect(i + 1)))
  for (const client of users.slice(0, 5)) await client.ok('room:join', { roomId: '7' })
  const ada = users[0]
  if (!ada) throw new Error('No user is connected')
  const delays = monitorEventLoopDelay({ resolution: 5 })
  const heap = process.memoryUsage().heapUsed
  delays.enable()
  const started = performance.now()
  const sent = Array.from({ length: total }, (_, n) => n % 10 === 9
    ? backend.publish('room.level_up', { room_id: 7, payload: { n } })
    : backend.publish('balance.updated', { user_id: n % 20 + 1, payload: { n, coins: n * 3 } }))
  const slowest = ada.request('user:getRoom', { userId: 1 })
  await Promise.all(sent)
  const received = () => users.reduce((sum, client) => sum + client.events.filter(({ type }) => type === 'balance.updated' || type === 'room.level_up').length, 0)
  await slowest
  await until(() => received() === total * 0.9 + total * 0.1 * 5, 60_000)
  delays.disable()
  t.comment(`${Math.round(performance.now() - started)} ms, longest pause of publisher, server and clients in one process ${Math.round(delays.max / 1e6)} ms, p99 ${Math.round(delays.percentile(99) / 1e6)} ms, heap +${Math.round((process.memoryUsage().heapUsed - heap) / 1048576)} MiB`)
  for (const [i, client] of users.entries()) {
    const own = client.events.filter(({ type }) => type === 'balance.updated').map(({ data }) => Number(data.n))
    t.same(own, Array.from({ length: total }, (_, n) => n).filter((n) => n % 10 !== 9 && n % 20 === i), `user ${i + 1}`)
    const room = client.events.filter(({ type }) => type === 'room.level_up').map(({ data }) => Number(data.n))
    t.same(room, i < 5 ? Array.from({ length: total / 10 }, (_, n) => n * 10 + 9) : [])
  }
  t.equal(await valueOf(server.app.metrics, 'flylive_laravel_events_in_flight'), 0)
  t.equal(await valueOf(server.app.metrics, 'flylive_laravel_events_dropped_total{reason="overflow"}'), undefined)
}
