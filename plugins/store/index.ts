import { randomUUID } from 'node:crypto'
import fp from 'fastify-plugin'
import { createMemoryStore } from './memory.ts'
import { createRedisStore } from './redis.ts'
import type { Store } from './store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    store: Store
    /** This process among the servers: NODE_ID, and what tells it from an earlier start. */
    nodeId: string
  }
}

/** Chooses the store: Redis when one is configured, else this process. */
export default fp(async function store (app) {
  const nodeId = `${app.config.NODE_ID}-${randomUUID().slice(0, 8)}`
  app.decorate('nodeId', nodeId)
  const chosen = app.hasDecorator('redis') ? createRedisStore(app.redis, nodeId) : createMemoryStore(app.config.DATA_DIR)
  app.decorate('store', chosen)
  app.addHook('onClose', async () => chosen.close())
}, { name: 'store', dependencies: ['config', 'redis'] })
