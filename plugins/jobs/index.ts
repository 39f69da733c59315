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

/** The job queue that all servers share, and the runner that executes jobs on this server. */
export default fp(async function jobs (app) {
  const store = app.hasDecorator('redis') ? createRedisJobStore(app.redis) : createMemoryJobStore()
  app.decorate('jobStore', store)
  const created = createJobs(store, app.registrations, app.log, app.timings, app.clock)
  app.decorate('jobs', created)
  // Stop the runner before the features are unloaded, because a running job may need its feature.
  app.addHook('preClose', () => created.stop())
}, { name: 'jobs', dependencies: ['redis', 'registrations', 'timings', 'clock'] })
