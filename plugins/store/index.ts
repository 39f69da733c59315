import fp from 'fastify-plugin'
import { createMemoryStore } from './memory/index.ts'
import { createRedisStore } from './redis/index.ts'
import type { RoomStore } from './store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    store: RoomStore
  }
}

/** Selects the room store: Redis if it is configured, otherwise this process's memory. */
export default fp(async function store (app) {
  app.decorate('store', app.hasDecorator('redis') ? createRedisStore(app.redis, app.nodeId, app.leases, app.timings.recoveryMs, app.clock) : await createMemoryStore(app.kv, app.clock))
}, { name: 'store', dependencies: ['redis', 'clock', 'cluster', 'kv'] })
