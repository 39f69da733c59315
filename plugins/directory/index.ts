import fp from 'fastify-plugin'
import type { SessionDirectory } from './directory.ts'
import { createMemoryDirectory } from './memory.ts'
import { createRedisDirectory } from './redis.ts'
import { createRenewal, renewalIntervalMs } from './renewal.ts'

declare module 'fastify' {
  interface FastifyInstance {
    directory: SessionDirectory
  }
}

/** The session directory, kept in Redis if Redis is configured, otherwise in this process. */
export default fp(async function directory (app) {
  if (!app.hasDecorator('redis')) {
    app.decorate('directory', createMemoryDirectory())
    return
  }
  app.decorate('directory', createRedisDirectory(app.redis, app.leases))
  const timer = setInterval(createRenewal(app), renewalIntervalMs).unref()
  app.addHook('onClose', async () => clearInterval(timer))
}, { name: 'directory', dependencies: ['redis', 'cluster', 'sockets'] })
