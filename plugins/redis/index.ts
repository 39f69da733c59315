import fp from 'fastify-plugin'
import type { Redis } from 'ioredis'
import { StartError } from '../../config/error.ts'
import type { Config } from '../../config/load.ts'
import { withTimeout } from '../errors/timeout.ts'
import { databaseOf } from './database.ts'
import { checkPermissions, isNoDatabase, isRefusal, refusedBy } from './permissions.ts'

// @fastify/redis declares `app.redis`. If Redis is not configured, the decorator does not exist, so check
// `app.hasDecorator('redis')` first.

/** How long a starting server waits for Redis, in milliseconds. */
const timeoutMs = 30_000

declare module '../hooks.ts' {
  interface KernelHooks {
    /**
     * Returns warnings for /health. Each warning is one sentence about a problem that an operator should fix although
     * the server still works.
     */
    'health:warnings': () => string[]
  }
}

/**
 * Connects to Redis if it is configured. Commands fail immediately while the connection is down. Commands also fail if
 * Redis has sent nothing for `redisCommandMs` (plugins/timings.ts). The caller of a failed command returns UNAVAILABLE
 * instead of waiting. The client keeps trying to reconnect.
 */
export default fp(async function redis (app) {
  if (!isConfigured(app.config)) return
  // Use a dynamic import, so that a server without Redis does not load the client.
  const [{ createRedisClient }, { default: fastifyRedis }] = await Promise.all([import('./client.ts'), import('@fastify/redis')])
  const client = createRedisClient(app.config, app.timings.redisCommandMs)

  let lastError = ''
  client.on('error', (err: Error) => {
    // Log an error only if its message differs from that of the last error, because each reconnect may fail in the same
    // way.
    if (err.message !== lastError) app.log.warn({ err }, 'redis connection failed')
    lastError = err.message
    // Reconnect, because the client would otherwise use database 0.
    if (isNoDatabase(err)) client.disconnect(true)
  })
  client.on('ready', () => {
    lastError = ''
    app.log.info('redis connected')
  })

  client.connect().catch(() => { /* The `error` handler logs the failure, and the client retries. */ })
  await ready(client)
  await checkServer(client)
  const { NODE_ID } = app.config
  await checkPermissions(client, { channel: `msab:${databaseOf(app.config, client)}:check:${NODE_ID}`, key: `msab:check:${NODE_ID}` }).catch((error: unknown) => {
    client.disconnect()
    throw error
  })
  await app.register(fastifyRedis, { client })
  app.addHook('onClose', async () => client.disconnect())

  /** @throws if Redis is part of a Redis Cluster, but REDIS_CLUSTER_NODES is not set */
  async function checkServer (redis: Redis): Promise<void> {
    const info = await redis.info().catch(() => '')
    if (/^cluster_enabled:1/m.test(info) && app.config.REDIS_CLUSTER_NODES.length === 0) {
      redis.disconnect()
      throw new StartError('REDIS_URL or REDIS_HOST is a node of a Redis Cluster: set REDIS_CLUSTER_NODES instead')
    }
    const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? 'noeviction'
    if (policy === 'noeviction') return
    const warning = `Redis has the maxmemory-policy ${policy}, so it deletes rooms, bans and gifts when its memory is full; set it to noeviction`
    app.log.warn(warning)
    app.hooks.on('health:warnings', () => [warning])
  }

  async function ready (redis: Redis): Promise<void> {
    if (redis.status === 'ready') return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    redis.once('ready', resolve)
    // Fail immediately if the password or the database is wrong, because a retry cannot succeed.
    const refused = (error: Error) => {
      if (isRefusal(error)) reject(refusedBy(error))
      if (isNoDatabase(error)) reject(new StartError(`Redis does not have the database ${databaseOf(app.config, redis)}: ${error.message}. Change the number at the end of REDIS_URL, or REDIS_DB`))
    }
    redis.on('error', refused)
    await withTimeout(promise, timeoutMs, () => {
      redis.disconnect()
      throw new StartError(`Redis was unreachable for ${timeoutMs / 1000} s: ${lastError || redis.status}`)
    }).finally(() => redis.off('error', refused)).catch((error: unknown) => {
      redis.disconnect()
      throw error
    })
  }
}, { name: 'redis', dependencies: ['config', 'hooks', 'timings'] })

const isConfigured = ({ REDIS_URL, REDIS_HOST, REDIS_SENTINELS, REDIS_CLUSTER_NODES }: Config) =>
  REDIS_URL !== undefined || REDIS_HOST !== undefined || REDIS_SENTINELS.length > 0 || REDIS_CLUSTER_NODES.length > 0
