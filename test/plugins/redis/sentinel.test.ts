import { once } from 'node:events'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { build, shortTimings, tokenFor } from '../../support/build.ts'
import { freePort, redisCommand, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { followFailover } from './failover.ts'

/**
 * Starts a Sentinel that fails over after the primary has been down for one second. Stops the Sentinel after the test.
 */
async function startSentinel (t: Test, primaryPort: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-sentinel-'))
  const port = await freePort()
  const file = join(folder, 'sentinel.conf')
  writeFileSync(file, [
    `port ${port}`, 'bind 127.0.0.1', `dir ${folder}`,
    `sentinel monitor rooms 127.0.0.1 ${primaryPort} 1`,
    'sentinel down-after-milliseconds rooms 1000', 'sentinel failover-timeout rooms 3000'
  ].join('\n'))
  const child = spawn('redis-server', [file, '--sentinel'], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
    rmSync(folder, { recursive: true })
  })
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) if (String(chunk).includes('Sentinel ID is')) break
  child.stdout.resume()
  return port
}

/** Starts a primary, a replica and a Sentinel. */
async function startPair (t: Test) {
  const [primary, replica] = [await startRedis(t), await startRedis(t)]
  await redisCommand(replica.port, 'REPLICAOF', '127.0.0.1', String(primary.port))
  const sentinel = await startSentinel(t, primary.port)
  await until(async () => /slave0:.*state=online/.test(String(await redisCommand(primary.port, 'INFO', 'replication'))))
  await until(async () => JSON.stringify(await redisCommand(sentinel, 'SENTINEL', 'replicas', 'rooms')).includes(String(replica.port)))
  return { primary, replica, env: { REDIS_SENTINELS: `127.0.0.1:${sentinel}`, REDIS_SENTINEL_NAME: 'rooms', REDIS_DB: '2' } }
}

t.test('two servers follow a failover of Sentinel: rooms, gifts and audio between the servers continue', async (t) => {
  const { primary, replica, env } = await startPair(t)
  await followFailover(t, env, primary)
  t.match(await redisCommand(replica.port, 'ROLE'), ['master'])
})

t.test('if the primary becomes a replica, the client reconnects and the server is not ready', async (t) => {
  const [primary, other] = [await startRedis(t), await startRedis(t)]
  const server = await build(t, { timings: shortTimings, env: { FEATURES: 'auth,seats', REDIS_URL: primary.url } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  let reconnects = 0
  server.app.redis.on('reconnecting', () => reconnects++)
  await redisCommand(primary.port, 'REPLICAOF', '127.0.0.1', String(other.port))
  await until(async () => (await fetch(`${server.url}/readyz`)).status === 503)
  t.equal((await ada.request('seat:take', { seatIndex: 0 })).error?.code, 'UNAVAILABLE')
  await redisCommand(primary.port, 'REPLICAOF', 'NO', 'ONE')
  await until(async () => (await fetch(`${server.url}/readyz`)).status === 200)
  await until(async () => (await ada.request('seat:take', { seatIndex: 0 })).error === undefined)
  t.ok(reconnects > 0)
})

for (const [name, setting, value] of [['has no memory left', 'maxmemory', '1'], ['lacks replicas', 'min-replicas-to-write', '1']] as const) {
  t.test(`a server whose Redis ${name} is not ready, and recovers`, async (t) => {
    const redis = await startRedis(t)
    const server = await build(t, { timings: shortTimings, env: { FEATURES: 'auth,seats', REDIS_URL: redis.url } })
    const token = tokenFor(3)
    const [ada, bob, carl] = [await server.connect(1), await server.connect(2), await server.connect(3, { token })]
    for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
    await redisCommand(redis.port, 'CONFIG', 'SET', setting, value)
    await until(async () => (await fetch(`${server.url}/readyz`)).status === 503)
    t.equal((await ada.request('seat:take', { seatIndex: 0 })).error?.code, 'UNAVAILABLE')
    t.match(await server.admin('POST', '/admin/rooms/r1/kick', { userId: 2, banSeconds: 60 }), { status: 503, body: { error: { code: 'UNAVAILABLE', message: /removed, but storing the ban failed/ } } })
    t.match(await bob.closed, { code: 4403 }, 'the user is still removed')
    t.match(await server.admin('POST', '/admin/tokens/revoke', { token }), { status: 503, body: { error: { message: /closed, but storing the revocation failed/ } } })
    t.match(await carl.closed, { code: 4401 }, 'the sessions of the token are still closed')
    await redisCommand(redis.port, 'CONFIG', 'SET', setting, '0')
    await until(async () => (await fetch(`${server.url}/readyz`)).status === 200)
    await ada.ok('seat:take', { seatIndex: 0 })
  })
}

t.test('a Redis that may evict keys is reported at startup and in /health', async (t) => {
  const redis = await startRedis(t)
  await redisCommand(redis.port, 'CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth', REDIS_URL: redis.url }, log: (line) => lines.push(line) })
  t.ok(lines.some(({ level, msg }) => level === 40 && /Redis has the maxmemory-policy allkeys-lru/.test(String(msg))))
  const health = (await server.admin('GET', '/health')).body as unknown as { status: string, warnings: string[] }
  t.match(health, { status: 'ok', warnings: [/allkeys-lru/] })
})
