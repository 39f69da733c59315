import { monitorEventLoopDelay } from 'node:perf_hooks'
import t from 'tap'
import { createQueue } from '../../../features/laravel-bridge/queue.ts'
import { startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { valueOf } from './support.ts'

t.test('delivers 10,000 events at once in order while the server keeps responding', async (t) => {
  const redis = await startRedis(t)
  const backend = await startBackend(t, { redisUrl: redis.url })
  backend.everyRoom = () => 1
  const server = await build(t, { env: { ...backend.env, REDIS_URL: redis.url } })
  const users = await Promise.all(Array.from({ length: 20 }, (_, i) => server.connect(i + 1)))
  for (const client of users.slice(0, 5)) await client.ok('room:join', { roomId: '7' })
  const ada = users[0]
  if (!ada) return t.fail()
  const total = 10_000
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
    const mine = client.events.filter(({ type }) => type === 'balance.updated').map(({ data }) => Number(data.n))
    t.same(mine, Array.from({ length: total }, (_, n) => n).filter((n) => n % 10 !== 9 && n % 20 === i), `user ${i + 1}`)
    const room = client.events.filter(({ type }) => type === 'room.level_up').map(({ data }) => Number(data.n))
    t.same(room, i < 5 ? Array.from({ length: total / 10 }, (_, n) => n * 10 + 9) : [])
  }
  t.equal(await valueOf(server.app.metrics, 'flylive_laravel_events_in_flight'), 0)
  t.equal(await valueOf(server.app.metrics, 'flylive_laravel_events_dropped_total{reason="overflow"}'), undefined)
})

t.test('the queue is bounded and processed in slices', async (t) => {
  const done: string[] = []
  const turns: number[] = []
  let turn = 0
  const queue = createQueue({
    maxItems: 1000,
    maxLength: 10_000,
    sliceMs: 1000,
    handle (text) {
      done.push(text)
      turns.push(turn)
    }
  })
  const taken = Array.from({ length: 3000 }, (_, i) => queue.push(String(i))).filter(Boolean).length
  t.equal(taken, 1000)
  t.equal(queue.size, 1000)
  const count = setInterval(() => {}, 1000)
  while (queue.size > 0) await new Promise((resolve) => setImmediate(() => resolve(++turn)))
  clearInterval(count)
  t.same(done, Array.from({ length: 1000 }, (_, i) => String(i)))
  t.ok(new Set(turns).size >= 5, 'over several turns of the event loop')
  t.ok(queue.push('x'.repeat(6000)))
  t.notOk(queue.push('x'.repeat(6000)), 'in characters, too')
  queue.close()
  t.equal(queue.size, 0)
  t.equal(done.at(-1)?.length, 6000, 'what waits at the end is dealt with')
  t.notOk(queue.push('late'))

  const slow: string[] = []
  const slices: number[] = []
  const patient = createQueue({
    maxItems: 10_000,
    maxLength: 10_000_000,
    sliceMs: 2,
    handle (text) {
      const end = performance.now() + 1
      while (performance.now() < end) { /* Something that takes a while. */ }
      slow.push(text)
    }
  })
  for (let i = 0; i < 20; i++) patient.push(String(i))
  while (patient.size > 0) {
    const before = slow.length
    await new Promise((resolve) => setImmediate(resolve))
    slices.push(slow.length - before)
  }
  t.equal(slow.length, 20)
  t.ok(Math.max(...slices) <= 6, `a slice ends when its time is over: ${slices.join(' ')}`)
})
