import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { loadConfig } from '../../../config/load.ts'
import { createRedisClient } from '../../../plugins/redis/client.ts'
import { build } from '../../support/build.ts'
import { blockFor } from '../../support/block.ts'
import { collectGarbage } from '../../support/garbage.ts'
import { freePort, redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

t.test('writes the commands of one turn of the event loop together and in order', async (t) => {
  const { app } = await build(t, { env: { REDIS_URL: await redisDatabase() } })
  const { redis } = app
  const replies = [redis.set('a', '1'), redis.append('a', '2'), redis.get('a')]
  t.equal(redis.stream.writableCorked, 1, 'one write is pending')
  t.same(await Promise.all(replies), ['OK', 2, '12'])
})

t.test('reruns a script that Redis has forgotten', async (t) => {
  const { app } = await build(t, { env: { REDIS_URL: await redisDatabase() } })
  const { redis } = app
  redis.defineCommand('echoed', { numberOfKeys: 1, lua: "return redis.call('GET', KEYS[1])" })
  const commands = redis as unknown as Record<string, (key: string) => Promise<unknown>>
  await redis.set('a', '1')
  t.equal(await commands.echoed?.('a'), '1')
  await redis.script('FLUSH')
  t.same(await Promise.all([commands.echoed?.('a'), redis.get('a')]), ['1', '1'])
})

t.test('reads the database from the URL or from REDIS_DB', async (t) => {
  const { hostname, port } = new URL(await redisDatabase())
  const url = `redis://${hostname}:${port}`
  for (const [env, database] of [
    [{ REDIS_URL: url }, 0],
    [{ REDIS_URL: `${url}/5`, REDIS_DB: '4' }, 5],
    [{ REDIS_HOST: hostname, REDIS_PORT: port }, 3],
    [{ REDIS_HOST: hostname, REDIS_PORT: port, REDIS_DB: '4' }, 4]
  ] as const) {
    const { app } = await build(t, { env })
    t.match(await app.redis.client('INFO'), new RegExp(` db=${database} `))
  }
})

t.test('reads the reply of a command if the process was blocked until the command\'s timeout', async (t) => {
  const { app } = await build(t, { env: { REDIS_URL: await redisDatabase() }, timings: { redisCommandMs: 1000 } })
  const late = app.redis.ping()
  // The command has not been written to the socket yet.
  blockFor(1300)
  t.equal(await late, 'PONG')
  const written = app.redis.ping()
  await new Promise((resolve) => setImmediate(resolve))
  blockFor(1300)
  t.equal(await written, 'PONG')
})

/** Sends scripts that each keep Redis busy for some time. */
function sendSlow ({ redis }: FastifyInstance, count: number, ms: number): Promise<unknown>[] {
  const busy = `
    local function ms () local time = redis.call('TIME') return time[1] * 1000 + time[2] / 1000 end
    local start = ms()
    while ms() - start < ${ms} do end
    return 'done'
  `
  // Redis reads 16 KiB at a time, and replies together to all commands in one read, so make each command as large as a
  // read.
  return Array.from({ length: count }, async () => await redis.eval(busy, 0, 'x'.repeat(16_384)))
}

t.test('does not time out a command that waits for earlier commands', async (t) => {
  const timings = { redisCommandMs: 3000 }
  const { app } = await build(t, { env: { REDIS_URL: (await startRedis(t)).url }, timings })
  t.same(await Promise.all(sendSlow(app, 8, 500)), Array(8).fill('done'), 'the last reply arrives after the timeout')
})

t.test('times out a command after 15 times the timeout, although Redis replies to earlier commands', async (t) => {
  const { app } = await build(t, { env: { REDIS_URL: (await startRedis(t)).url }, timings: { redisCommandMs: 200 } })
  const last = (await Promise.allSettled(sendSlow(app, 60, 60))).at(-1)
  t.match(last, { status: 'rejected', reason: { message: 'Command timed out' } })
})

t.test('while Redis hangs, commands of the client and of its duplicates time out', async (t) => {
  const { url, process } = await startRedis(t)
  const { app } = await build(t, { env: { REDIS_URL: url }, timings: { redisCommandMs: 500 } })
  const duplicate = app.redis.duplicate({ enableOfflineQueue: true, lazyConnect: true })
  t.teardown(() => duplicate.disconnect())
  await duplicate.connect()
  process.kill('SIGSTOP')
  const timedOut = { message: 'Command timed out' }
  await Promise.all([t.rejects(app.redis.ping(), timedOut), t.rejects(duplicate.ping(), timedOut)])
  process.kill('SIGCONT')
  t.same(await until(async () => await Promise.all([app.redis.ping(), duplicate.ping()]).catch(() => false)), ['PONG', 'PONG'])
})

t.test('a command fails when the connection breaks, even if the client may retry forever', async (t) => {
  const redis = await startRedis(t)
  const { app } = await build(t, { env: { REDIS_URL: redis.url, FEATURES: 'auth' }, timings: { redisCommandMs: 60_000 } })
  const client = app.redis.duplicate({ maxRetriesPerRequest: null, lazyConnect: true })
  t.teardown(() => client.disconnect())
  client.on('error', () => { /* Expected: Redis is dead. */ })
  await client.connect()
  const failed = t.rejects(client.blpop('nothing', 0), { message: 'Connection is closed' })
  await redis.kill()
  await failed
})

t.test('keeps no command that failed because Redis cannot be reached', async (t) => {
  const env = { NODE_ENV: 'test', REDIS_SENTINELS: `127.0.0.1:${await freePort()}`, REDIS_SENTINEL_NAME: 'primary' }
  const client = createRedisClient(loadConfig(env), 2000)
  t.teardown(() => client.disconnect())
  client.on('error', () => { /* Expected: no Sentinel replies. */ })
  client.connect().catch(() => { /* Fails when the test disconnects the client. */ })
  await until(() => client.status === 'connecting')
  const commands: WeakRef<object>[] = []
  const send = client.sendCommand.bind(client)
  client.sendCommand = (command, stream) => {
    commands.push(new WeakRef(command))
    return send(command, stream)
  }
  for (let i = 0; i < 1000; i++) await client.set('a', '1').catch(() => {})
  t.equal(commands.length, 1000)
  await until(() => {
    collectGarbage()
    return commands.every((command) => command.deref() === undefined)
  })
})
