import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { StartError } from '../../../config/error.ts'
import { createPool } from '../../../plugins/media/pool.ts'
import type { MediaWorker, PoolOptions } from '../../../plugins/media/pool.ts'
import { createMetrics } from '../../../plugins/metrics.ts'
import { build } from '../../support/build.ts'
import { until } from '../../support/retry.ts'

const minPort = 20_000 + process.pid % 20_000

function poolOf (t: Test, options: Partial<PoolOptions> = {}) {
  const metrics = createMetrics()
  /** The workers that died, and whether the pool was ready at that time. */
  const died: { worker: MediaWorker, wasReady: boolean }[] = []
  const pool = createPool({
    size: 2, warm: false, listenIp: '127.0.0.1', announced: [], minPort, maxPort: 59_999, maxRouters: 2, ...options
  }, metrics, Fastify().log, (worker) => died.push({ worker, wasReady: pool.ready }))
  t.teardown(() => pool.close())
  const routersPerWorker = async () => (await metrics.gauge('flylive_mediasoup_routers_per_worker', '', ['worker']).get())
    .values.map(({ labels, value }) => [labels.worker, value])
  return { pool, died, routersPerWorker }
}

t.test('a lazy pool starts a worker for its first router, and another only if that worker is in use', async (t) => {
  const { pool, routersPerWorker } = poolOf(t)
  await pool.start()
  t.same(pool.alive(), [])
  t.equal(pool.ready, true)
  t.same(await routersPerWorker(), [[0, 0], [1, 0]], 'the series exist before the workers')

  const first = await pool.take()
  t.same(pool.alive().map(({ index }) => index), [0])
  pool.release(first)
  t.equal(await pool.take(), first, 'an idle worker is used before another is started')
  t.not(await pool.take(), first)
  await Promise.all([pool.take(), pool.take()])
  t.same(await routersPerWorker(), [[0, 2], [1, 2]])
  await t.rejects(pool.take(), { code: 'OVERLOADED' })
})

t.test('concurrent first routers share the first workers', async (t) => {
  const { pool } = poolOf(t)
  const taken = await Promise.all([pool.take(), pool.take(), pool.take(), pool.take()])
  t.equal(taken.length, 4)
  t.same(pool.alive().map(({ routers }) => routers), [2, 2])
})

t.test('a pool is not ready while its only worker is replaced', async (t) => {
  const { pool, died, routersPerWorker } = poolOf(t, { size: 1 })
  const worker = await pool.take()
  process.kill(worker.worker.pid, 'SIGKILL')
  await until(() => died.length === 1)
  t.equal(died[0]?.wasReady, false)
  t.same(await routersPerWorker(), [[0, 0]])
  pool.release(worker)
  const replacement = await pool.take()
  t.equal(pool.ready, true)
  t.equal(replacement.port, worker.port)
  t.same(await routersPerWorker(), [[0, 1]], 'a router of the dead worker does not count')
})

t.test('a warm pool starts all workers and fails if one cannot start', async (t) => {
  const { pool } = poolOf(t, { warm: true })
  await pool.start()
  t.equal(pool.alive().length, 2)
  await t.rejects(poolOf(t, { warm: true, maxPort: minPort }).pool.start(), { constructor: StartError, message: /found no free port from \d+ to \d+\. Stop the program .*MEDIASOUP_RTC_MIN_PORT/ })
  await t.rejects(poolOf(t, { warm: true, listenIp: '192.0.2.77' }).pool.start(), { constructor: StartError, message: 'MEDIASOUP_LISTEN_IP: 192.0.2.77 is not an address of this machine' })
})

t.test('a closed pool rejects waiting callers', async (t) => {
  const { pool } = poolOf(t, { size: 1 })
  const calls = [pool.take(), pool.take()].map((call) => t.rejects(call, { code: 'UNAVAILABLE' }))
  pool.close()
  await Promise.all(calls)
})

t.test('a server starts its workers before it listens, unless workers start on first use', async (t) => {
  t.equal((await build(t, { warmWorkers: true })).app.sfu.workers().length, 1)
  const lazy = await build(t)
  t.same(lazy.app.sfu.workers(), [])
  t.match(await (await fetch(`${lazy.url}/readyz`)).json(), { status: 'ok', checks: { workers: { ok: true } } })
})

t.test('workers keep running when the process receives a signal, because clients still send and receive', async (t) => {
  const signals = ['SIGINT', 'SIGTERM'] as const
  const before = signals.map((signal) => process.listenerCount(signal))
  const { pool } = poolOf(t, { warm: true })
  await pool.start()
  t.same(signals.map((signal) => process.listenerCount(signal)), before)
})
