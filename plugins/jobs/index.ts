import fp from 'fastify-plugin'
import { createMemoryJobStore } from './memory.ts'
import { createRedisJobStore } from './redis.ts'
import { createJobs } from './runner.ts'
import type { Jobs } from './runner.ts'
import type { JobStore } from './store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    jobs: Jobs
    jobStore: JobStore
  }
}

/** The job queue of all servers, and its runner on this one. */
export default fp(async function jobs (app) {
  const store = app.hasDecorator('redis') ? createRedisJobStore(app.redis) : createMemoryJobStore()
  app.decorate('jobStore', store)
  const created = createJobs(store, app.log, app.timings, app.clock)
  app.decorate('jobs', created)
  // Runs before the features are unloaded, because a running job may need one.
  app.addHook('preClose', () => created.stop())
}, { name: 'jobs', dependencies: ['redis', 'timings', 'clock'] })
