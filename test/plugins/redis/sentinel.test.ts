import { once } from 'node:events'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { build, shortTimings, tokenFor } from '../../support/build.ts'
import { freePort, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { rtpReceiver, sendSilence } from '../../support/rtp-packets.ts'

/** Starts a Sentinel that fails over when the primary has been down for a second. Stops the Sentinel after the test. */
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

/** Sends one command to a Redis or a Sentinel. */
async function command (port: number, ...args: [string, ...string[]]): Promise<unknown> {
  const redis = new Redis(port, '127.0.0.1', { lazyConnect: true, retryStrategy: () => null })
  redis.on('error', () => { /* The promise rejects. */ })
  try {
    await redis.connect()
    return await redis.call(...args)
  } finally {
    redis.disconnect()
  }
}

t.test('two servers follow a failover of Sentinel: rooms, gifts and audio between the servers continue', async (t) => {
  const [primary, replica] = [await startRedis(t), await startRedis(t)]
  await command(replica.port, 'REPLICAOF', '127.0.0.1', String(primary.port))
  const sentinel = await startSentinel(t, primary.port)
  await until(async () => /slave0:.*state=online/.test(String(await command(primary.port, 'INFO', 'replication'))))
  await until(async () => JSON.stringify(await command(sentinel, 'SENTINEL', 'replicas', 'rooms')).includes(String(replica.port)))

  const env = { FEATURES: 'auth,seats,chat,media,gifts', REDIS_SENTINELS: `127.0.0.1:${sentinel}`, REDIS_SENTINEL_NAME: 'rooms', REDIS_DB: '2' }
  const [server, second] = [await build(t, { timings: shortTimings, env }), await build(t, { timings: shortTimings, env })]
  const [ada, bob] = [await server.connect(1), await second.connect(2)]
  for (const client of [ada, bob]) await until(async () => (await client.request('room:join', { roomId: 'r1' })).ok)
  await ada.ok('seat:take', { seatIndex: 0 })
  const gifts = [await ada.ok('gift:send', { giftId: 7, recipientId: 2 })]
  const speak = async (ssrc: number) => {
    const injection = await server.app.sfu.inject('r1', { userId: 1, userKey: '1', nodeId: server.app.nodeId, kind: 'service' }, { ssrc })
    sendSilence(t, ssrc, injection)
    return injection.producerId
  }
  const receiver = await rtpReceiver(t)
  const tap = await second.app.sfu.tap('r1', { port: receiver.port, follows: () => true })
  const flows = async (producerId: string) => {
    await until(() => tap.voices.some((voice) => voice.producerId === producerId), 30_000)
    const heard = () => receiver.packets.filter(({ ssrc }) => ssrc === tap.voices.find((voice) => voice.producerId === producerId)?.ssrc)
    const before = heard().length
    await until(() => heard().length > before + 10)
    return heard()
  }
  const voice = await speak(101)
  await flows(voice)

  // Writes that the replica has not received would be lost with the primary.
  await until(async () => await command(primary.port, 'WAIT', '1', '1000') === 1)
  await primary.kill()
  await until(async () => (await ada.request('seat:take', { seatIndex: 1 })).error === undefined, 30_000)
  for (const { url } of [server, second]) await until(async () => (await fetch(`${url}/readyz`)).status === 200, 30_000)
  t.match(await bob.event('seat:updated', ({ seatIndex }) => seatIndex === 1), { userId: 1 })
  await bob.ok('chat:message', { content: 'still here' })
  t.match(await ada.event('chat:message'), { content: 'still here' })
  gifts.push(await bob.ok('gift:send', { giftId: 8, recipientId: 1 }))
  for (const { transactionId } of gifts) await until(async () => JSON.stringify((await server.admin('GET', '/admin/gifts/ledger')).body).includes(String(transactionId)), 30_000)
  t.match((await server.admin('GET', '/admin/gifts')).body, { queued: 0, deadLetters: 0, ledger: 2 }, 'each gift once')

  const packets = await flows(voice)
  t.equal(packets.findIndex(({ sequenceNumber }, i) => i > 0 && sequenceNumber !== (((packets[i - 1]?.sequenceNumber ?? 0) + 1) & 0xffff)), -1, 'the audio was not interrupted')
  await flows(await speak(102))
  t.match(await command(replica.port, 'ROLE'), ['master'])
})

t.test('a primary that became a replica makes the client reconnect, and the server unready', async (t) => {
  const [primary, other] = [await startRedis(t), await startRedis(t)]
  const server = await build(t, { timings: shortTimings, env: { FEATURES: 'auth,seats', REDIS_URL: primary.url } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  let reconnects = 0
  server.app.redis.on('reconnecting', () => reconnects++)
  await command(primary.port, 'REPLICAOF', '127.0.0.1', String(other.port))
  await until(async () => (await fetch(`${server.url}/readyz`)).status === 503)
  t.equal((await ada.request('seat:take', { seatIndex: 0 })).error?.code, 'UNAVAILABLE')
  await command(primary.port, 'REPLICAOF', 'NO', 'ONE')
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
    await command(redis.port, 'CONFIG', 'SET', setting, value)
    await until(async () => (await fetch(`${server.url}/readyz`)).status === 503)
    t.equal((await ada.request('seat:take', { seatIndex: 0 })).error?.code, 'UNAVAILABLE')
    t.match(await server.admin('POST', '/admin/rooms/r1/kick', { userId: 2, banSeconds: 60 }), { status: 503, body: { error: { code: 'UNAVAILABLE', message: /removed, but storing the ban failed/ } } })
    t.match(await bob.closed, { code: 4403 }, 'the user is removed nevertheless')
    t.match(await server.admin('POST', '/admin/tokens/revoke', { token }), { status: 503, body: { error: { message: /closed, but storing the revocation failed/ } } })
    t.match(await carl.closed, { code: 4401 }, 'the sessions of the token are closed nevertheless')
    await command(redis.port, 'CONFIG', 'SET', setting, '0')
    await until(async () => (await fetch(`${server.url}/readyz`)).status === 200)
    await ada.ok('seat:take', { seatIndex: 0 })
  })
}

t.test('an evicting Redis is reported at startup and in /health', async (t) => {
  const redis = await startRedis(t)
  await command(redis.port, 'CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth', REDIS_URL: redis.url }, log: (line) => lines.push(line) })
  t.ok(lines.some(({ level, msg }) => level === 40 && /Redis has the maxmemory-policy allkeys-lru/.test(String(msg))))
  const health = (await server.admin('GET', '/health')).body as unknown as { status: string, warnings: string[] }
  t.match(health, { status: 'ok', warnings: [/allkeys-lru/] })
})

t.test('a Redis Cluster is refused at startup', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-cluster-'))
  const port = await freePort()
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--dir', folder, '--save', ''], { stdio: 'ignore' })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
    rmSync(folder, { recursive: true })
  })
  await until(async () => await command(port, 'PING').then(() => true, () => false))
  await t.rejects(build(t, { env: { FEATURES: 'auth', REDIS_URL: `redis://127.0.0.1:${port}` } }), /Redis Cluster, which is not supported/)
})
