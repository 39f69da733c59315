import { createHook } from 'node:async_hooks'
import type { EventEmitter } from 'node:events'
import type { Test } from 'tap'
import { startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { collectGarbage } from '../../support/garbage.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// Reloads every feature in turn, many times, and checks that the process retains no
// more resources than before.

/** Collects garbage repeatedly, because finalizers release more objects. */
async function collectAllGarbage (): Promise<void> {
  for (let i = 0; i < 3; i++) {
    collectGarbage()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Counts the active resources by type, including unreferenced timers. */
function watchResources () {
  const alive = new Map<number, string>()
  const hook = createHook({
    init (id, type) {
      if (/^(Timeout|TCPWRAP|TCPSERVERWRAP|PIPEWRAP|PROCESSWRAP|FSEVENTWRAP|HTTPPARSER)$/.test(type)) alive.set(id, type)
    },
    destroy (id) {
      alive.delete(id)
    }
  }).enable()
  return {
    counts () {
      const counts: Record<string, number> = {}
      for (const type of alive.values()) counts[type] = (counts[type] ?? 0) + 1
      return counts
    },
    stop: () => hook.disable()
  }
}

const listeners = (emitter: EventEmitter) => Object.fromEntries(emitter.eventNames().map((name) => [String(name), emitter.listenerCount(name)]))

/** @param reloads total number of reloads */
export async function reloadsLeaveNothing (t: Test, reloads: number): Promise<void> {
  const redis = await startRedis(t)
  const backend = await startBackend(t, { redisUrl: redis.url })
  backend.rooms.set('r1', 1)
  const folder = featureFolder(t)
  // A feature that allocates every kind of resource that must be released when a feature closes.
  folder.write('hoards', {
    'index.ts': saying('hoards', 'mine', {
      before: `
  const timer = setInterval(() => {}, 1000)
  app.addHook('onClose', async () => clearInterval(timer))
  app.metrics.counter('flylive_hoards_total', 'Hoarded', ['kind']).inc({ kind: 'coins' })
  app.hooks.on('session:open', () => {})
  app.jobs.on('hoards', async () => {})
  app.cluster.on('hoards', () => {})`
    })
  })
  const resources = watchResources()
  t.teardown(() => resources.stop())
  const server = await build(t, { env: { REDIS_URL: redis.url, ...backend.env, FEATURES_PATH: folder.path, FEATURES: '' } })
  const { app } = server
  // The second client is not the owner, so the server also requests a role from the backend.
  const [client, guest] = [await server.connect(1), await server.connect(2)]
  const names = app.features.enabled()
  t.ok(names.length >= 8, names.join(' '))

  const countSeries = async () => (await app.metrics.registry.metrics()).split('\n').filter((line) => /^flylive_/.test(line)).length
  const look = async () => ({
    server: listeners(app.server),
    process: listeners(process),
    redis: listeners(app.redis),
    routes: app.features.list().map(({ name, routes, messages }) => ({ name, routes, messages })),
    redisClients: Number(/connected_clients:(\d+)/.exec(await app.redis.info('clients'))?.[1]),
    resources: { ...resources.counts(), series: await countSeries() } as Record<string, number>
  })
  const round = async () => { for (const name of names) await app.features.reload(name) }
  const work = async () => {
    t.equal((await client.request('hoards:say', {})).ok, true)
    for (const one of [client, guest]) await one.ok('room:join', { roomId: 'r1' })
    await client.ok('chat:message', { content: 'x' })
    for (const one of [client, guest]) await one.ok('room:leave')
  }

  // Before counting, create the resources that are created on first use.
  await round()
  await work()
  await until(() => backend.calls('status') > 0)
  await collectAllGarbage()
  const before = await look()
  const heap = process.memoryUsage().heapUsed
  const times: number[] = []
  for (let done = 0; done < reloads;) {
    for (const name of names) {
      const begin = performance.now()
      await app.features.reload(name)
      times.push(performance.now() - begin)
      done++
    }
  }
  await work()
  await collectAllGarbage()
  const grown = (process.memoryUsage().heapUsed - heap) / times.length
  times.sort((a, b) => a - b)
  const percentile = (share: number) => Math.round((times[Math.floor(times.length * share)] ?? NaN) * 10) / 10
  t.comment(`${times.length} reloads: p50 ${percentile(0.5)} ms, p99 ${percentile(0.99)} ms; heap +${Math.round(grown / 1024)} KiB per reload`)
  t.ok(grown < 300 * 1024, 'only the code of an old generation stays in memory')

  const { resources: earlier, ...same } = before
  const after = await until(async () => {
    await collectAllGarbage()
    const { resources: now, ...rest } = await look()
    // The numbers of connections and timers vary slightly, and metric series appear on first use. If every reload of a
    // feature leaked one resource, the increase would be larger than the permitted margin.
    const more = Object.entries(now).filter(([type, count]) => count > (earlier[type] ?? 0) + Math.min(10, reloads / names.length - 1))
    if (more.length > 0) throw new Error(`More resources than before, ${JSON.stringify(earlier)}: ${JSON.stringify(now)}`)
    return { rest, now }
  })
  t.comment(`before ${JSON.stringify(earlier)}, after ${JSON.stringify(after.now)}`)
  t.strictSame(after.rest, same)
  for (const { generation } of app.features.list().filter(({ state }) => state === 'enabled')) t.ok(generation > reloads / names.length)
}
