import fp from 'fastify-plugin'
import type { KeyValue } from './kv.ts'
import { createMemoryKeyValue } from './memory.ts'
import { createRedisKeyValue } from './redis.ts'

declare module 'fastify' {
  interface FastifyInstance {
    kv: KeyValue
  }
}

/** Selects the key-value store: Redis if it is configured, otherwise a file in DATA_DIR. */
export default fp(async function kv (app) {
  const chosen = app.hasDecorator('redis') ? createRedisKeyValue(app.redis, app.clock) : createMemoryKeyValue(app.config.DATA_DIR, app.clock, (err) => app.log.warn({ err }, 'failed to delete expired values'))
  app.decorate('kv', chosen)
  app.addHook('onClose', async () => chosen.close())
}, { name: 'kv', dependencies: ['config', 'redis', 'clock'] })
