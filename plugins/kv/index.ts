import { resolve } from 'node:path'
import fp from 'fastify-plugin'
import { claimFolder } from './folder.ts'
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
  if (app.hasDecorator('redis')) return
  const leave = claimFolder(app.config.DATA_DIR)
  if (leave) app.addHook('onClose', async () => leave())
  else app.log.error({ code: 'DATA_DIR_IN_USE', folder: resolve(app.config.DATA_DIR) }, 'another server uses the same DATA_DIR, so the two servers delete each other\'s rooms: stop one of them, or set DATA_DIR to a different folder; several servers need Redis')
}, { name: 'kv', dependencies: ['config', 'redis', 'clock'] })
