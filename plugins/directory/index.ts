import fp from 'fastify-plugin'
import type { SessionDirectory } from './directory.ts'
import { createMemoryDirectory } from './memory.ts'
import { createRedisDirectory } from './redis.ts'

declare module 'fastify' {
  interface FastifyInstance {
    directory: SessionDirectory
  }
}

/** The session directory, kept in Redis if Redis is configured, otherwise in this process. */
export default fp(async function directory (app) {
  app.decorate('directory', app.hasDecorator('redis') ? createRedisDirectory(app.redis, app.leases) : createMemoryDirectory())
}, { name: 'directory', dependencies: ['redis', 'cluster'] })
