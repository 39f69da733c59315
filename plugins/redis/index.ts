import fastifyRedis from '@fastify/redis'
import fp from 'fastify-plugin'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import type { Config } from '../../config/load.ts'

// @fastify/redis declares `app.redis`; here it is absent when no Redis is
// configured, which is what `app.hasDecorator('redis')` tells.

/** How long a starting server waits for its Redis before it gives up. */
const patienceMs = 30_000

/** Whether the configuration names a Redis. */
export function usesRedis (config: Config): boolean {
  return config.REDIS_URL !== undefined || config.REDIS_HOST !== undefined
}

/**
 * Connects to Redis when one is configured. Commands fail at once while the
 * connection is down, and after two seconds when Redis hangs: callers answer
 * UNAVAILABLE rather than wait. Reconnecting goes on for ever.
 */
export default fp(async function redis (app) {
  const { config } = app
  if (!usesRedis(config)) return

  const options: RedisOptions = {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: 2000,
    connectTimeout: 2000,
    // Commands issued in one turn of the event loop travel as one round trip.
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
    // One line a kind of failure; reconnecting would repeat it many times a second.
    if (err.message !== lastError) app.log.warn({ err }, 'redis connection')
    lastError = err.message
  })
  client.on('ready', () => {
    lastError = ''
    app.log.info('redis connected')
  })

  client.connect().catch(() => { /* The error event has told; retrying goes on. */ })
  await ready(client)
  await app.register(fastifyRedis, { client })
  app.addHook('onClose', async () => client.disconnect())

  async function ready (redis: Redis): Promise<void> {
    if (redis.status === 'ready') return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    redis.once('ready', resolve)
    const timer = setTimeout(() => {
      redis.disconnect()
      reject(new Error(`Redis could not be reached within ${patienceMs / 1000} s: ${lastError || redis.status}`))
    }, patienceMs)
    await promise.finally(() => clearTimeout(timer))
  }
}, { name: 'redis', dependencies: ['config'] })

/**
 * A pipeline knows the commands there were when it was begun, and ioredis ends
 * the process when a later one is put into it. So a command that is defined
 * travels on its own until the pipeline that is being filled has been answered.
 */
function letCommandsBeDefinedAnyTime (redis: Redis): void {
  const define = redis.defineCommand.bind(redis)
  const alone = redis.options.autoPipeliningIgnoredCommands as string[]
  redis.defineCommand = (name, definition) => {
    define(name, definition)
    alone.push(name)
    const together = () => alone.splice(alone.indexOf(name), 1)
    // The ping goes into that pipeline.
    redis.ping().then(together, together)
  }
}
