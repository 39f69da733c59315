import fastifyRedis from '@fastify/redis'
import fp from 'fastify-plugin'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import { withTimeout } from '../errors/timeout.ts'

// @fastify/redis declares `app.redis`. Absent if Redis is not configured; check `app.hasDecorator('redis')`.

/** How long a starting server waits for its Redis, in milliseconds. */
const timeoutMs = 30_000

/**
 * Connects to Redis if one is configured. While the connection is down, commands fail immediately; if
 * Redis hangs, they fail after two seconds. Callers then return UNAVAILABLE instead of waiting. The client reconnects without limit.
 */
export default fp(async function redis (app) {
  const { config } = app
  if (config.REDIS_URL === undefined && config.REDIS_HOST === undefined) return

  const options: RedisOptions = {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: 2000,
    connectTimeout: 2000,
    // Commands of one turn of the event loop share one round trip.
    enableAutoPipelining: true,
    retryStrategy: (attempt) => Math.min(50 * 2 ** attempt, 1000),
    autoPipeliningIgnoredCommands: [],
    connectionName: `flylive:${config.NODE_ID}`
  }
  const client = config.REDIS_URL !== undefined
    ? new Redis(config.REDIS_URL, options)
    : new Redis({
      ...options,
      host: config.REDIS_HOST,
      port: config.REDIS_PORT,
      db: config.REDIS_DB,
      ...(config.REDIS_PASSWORD === undefined ? {} : { password: config.REDIS_PASSWORD }),
      ...(config.REDIS_TLS ? { tls: {} } : {})
    })

  letCommandsBeDefinedAnyTime(client)

  let lastError = ''
  client.on('error', (err: Error) => {
    // Logs one line per kind of failure, because each reconnect would repeat it.
    if (err.message !== lastError) app.log.warn({ err }, 'redis connection failed')
    lastError = err.message
  })
  client.on('ready', () => {
    lastError = ''
    app.log.info('redis connected')
  })

  client.connect().catch(() => { /* Logged by the error event; the client retries. */ })
  await ready(client)
  await app.register(fastifyRedis, { client })
  app.addHook('onClose', async () => client.disconnect())

  async function ready (redis: Redis): Promise<void> {
    if (redis.status === 'ready') return
    const { promise, resolve } = Promise.withResolvers<void>()
    redis.once('ready', resolve)
    await withTimeout(promise, timeoutMs, () => {
      redis.disconnect()
      throw new Error(`Redis was not reachable within ${timeoutMs / 1000} s: ${lastError || redis.status}`)
    })
  }
}, { name: 'redis', dependencies: ['config'] })

/**
 * A pipeline knows only the commands that were defined when it was created, and ioredis crashes if a
 * newer one is added. So a new command bypasses the current pipeline.
 */
function letCommandsBeDefinedAnyTime (redis: Redis): void {
  const define = redis.defineCommand.bind(redis)
  const alone = redis.options.autoPipeliningIgnoredCommands as string[]
  redis.defineCommand = (name, definition) => {
    define(name, definition)
    alone.push(name)
    const together = () => alone.splice(alone.indexOf(name), 1)
    // The ping is added to the current pipeline.
    redis.ping().then(together, together)
  }
}
