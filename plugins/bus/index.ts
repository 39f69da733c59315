import fp from 'fastify-plugin'
import type { Bus } from './bus.ts'
import { createLocalBus } from './local.ts'
import { createRedisBus } from './redis.ts'

declare module 'fastify' {
  interface FastifyInstance {
    bus: Bus
  }
}

/** Chooses the bus: Redis pub/sub when a Redis is configured, else within this process. */
export default fp(async function bus (app) {
  const chosen = app.hasDecorator('redis')
    ? await createRedisBus(app.redis, app.redis.options.db ?? 0, app.nodeId, app.log)
    : createLocalBus()
  app.decorate('bus', chosen)
  app.addHook('onClose', async () => chosen.close())
}, { name: 'bus', dependencies: ['redis', 'store'] })
