import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyBaseLogger } from 'fastify'
import { createRedisBus } from '../plugins/cluster/bus.redis.ts'
import { createRedisClient } from '../plugins/redis/client.ts'
import { loadConfig } from '../config/load.ts'
import { startRedis, startServer, stopAll } from './support.ts'

// Measures the cost of load reports from many servers: the CPU time of Redis and of one receiving server, and the time
// that this server takes to list all servers. The benchmark's own process publishes the reports of simulated servers.

const sizes = [10, 100, 1000]
/** Reports per measurement. */
const published = 20_000
/** A server sends a load report once per this interval, in seconds (`nodeReportMs` in plugins/timings.ts). */
const intervalSeconds = 5
const lists = 50
const adminKey = 'an-admin-key-for-benchmarks-that-is-long-enough'
/** Files in /proc report CPU times in clock ticks; this is the number of ticks per second. */
const ticks = 100

/** Returns the CPU time that a process has used, in milliseconds. */
function cpuMs ({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 1000 / ticks
}

export default async function nodes (): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-bench-'))
  const processes: ChildProcess[] = []
  const redisUrl = `redis://127.0.0.1:${await startRedis(folder, processes)}/3`
  const ws = await startServer(processes, { redisUrl, folder, env: { FEATURES: 'auth', ADMIN_API_KEY: adminKey, NODE_ID: 'own' } })
  const [redisProcess, server] = processes as [ChildProcess, ChildProcess]
  const url = ws.replace(/^ws/, 'http').replace(/\/ws$/, '')
  const silent = { debug () {}, info () {}, warn () {}, error () {} } as unknown as FastifyBaseLogger
  const redis = createRedisClient(loadConfig({ NODE_ENV: 'test', REDIS_URL: redisUrl, JWT_SECRET: adminKey }), 10_000)
  await redis.connect()
  const bus = await createRedisBus(redis, 3, 'bench', silent)
  const report = (i: number, connections: number) => JSON.stringify({
    kind: 'node:report',
    data: { nodeId: `node-${i}`, name: `node-${i}`, state: 'ready', connections, maxConnections: 20_000, rooms: 100, consumers: 1000, workersCpu: Array.from({ length: 8 }, () => 0.123), relayPorts: { used: 10, total: 1000 }, isFull: false }
  })
  const listed = async () => {
    const response = await fetch(`${url}/admin/nodes`, { headers: { authorization: `Bearer ${adminKey}` } })
    return (await response.json() as { nodes: { name: string, connections: number }[] }).nodes
  }
  /** Waits until the server has received the last report. */
  const received = async (last: number, connections: number) => {
    while ((await listed()).find(({ name }) => name === `node-${last}`)?.connections !== connections) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  try {
    console.log(`  a report has ${report(1, 100).length} bytes; servers send one every ${intervalSeconds} s`)
    for (const size of sizes) {
      const rounds = Math.ceil(published / size)
      for (let i = 0; i < size; i++) await bus.publish('control', report(i, 0))
      await received(size - 1, 0)
      const before = [cpuMs(server), cpuMs(redisProcess)] as const
      for (let round = 1; round <= rounds; round++) {
        await Promise.all(Array.from({ length: size }, (_, i) => bus.publish('control', report(i, round))))
      }
      await received(size - 1, rounds)
      const count = rounds * size
      const [read, passed] = [(cpuMs(server) - before[0]) / count, (cpuMs(redisProcess) - before[1]) / count]
      const times: number[] = []
      for (let i = 0; i < lists; i++) {
        const begin = performance.now()
        await listed()
        times.push(performance.now() - begin)
      }
      const perSecond = size / intervalSeconds
      console.log(`  ${String(size).padStart(5)} servers: a report costs its receiver ${(read * 1000).toFixed(0)} µs, ${(perSecond * read / 10).toFixed(2)} % of a core in total; Redis ${(passed * 1000).toFixed(0)} µs for one receiver, ${(perSecond * size * passed / 10).toFixed(1)} % of a core for all; the list takes ${(times.toSorted((a, b) => a - b)[lists / 2] ?? 0).toFixed(1)} ms`)
    }
  } finally {
    await bus.close()
    redis.disconnect()
    await stopAll(processes)
    rmSync(folder, { recursive: true, force: true })
  }
}
