import fp from 'fastify-plugin'
import type { FastifyBaseLogger } from 'fastify'
import type { Store } from './store/store.ts'

/** Does a job. When it throws, the job is tried again a second later. */
export type JobHandler = (key: string) => Promise<void>

/** What features see of the job queue. */
export interface JobsRegistrar {
  /** Does the jobs of one kind on this server. Withdrawn with its feature. */
  on (name: string, handler: JobHandler): void
  /**
   * Notes that a job is to be done at a time. Of several times the earliest
   * counts. A job that is noted while it is being done is done once more after.
   *
   * @param at epoch milliseconds
   * @throws UNAVAILABLE
   */
  schedule (name: string, key: string, at: number): Promise<void>
}

/**
 * What is to be done at a time, whichever server then does it: seats that wait
 * for their user, what the backend must hear. A job is done by one server at a
 * time, and by another one when that dies.
 */
export interface Jobs extends JobsRegistrar {
  /** Replaces all that an owner does by a new set, at once. */
  install (owner: string, handlers: ReadonlyMap<string, JobHandler>): void
}

declare module 'fastify' {
  interface FastifyInstance {
    jobs: Jobs
  }
}

/** How late a job may be where there are not too many, in milliseconds: the time between two looks. */
const lookMs = 250
/** How long a job may take before another server takes it for lost, in milliseconds. */
const leaseMs = 60_000
const retryMs = 1000
/** Jobs of a kind that this server does at a time. */
const most = 100

export function createJobs (store: Pick<Store, 'scheduleJob' | 'takeDueJobs' | 'settleJob'>, log: FastifyBaseLogger): Jobs & { stop (): Promise<void> } {
  const owners = new Map<string, ReadonlyMap<string, JobHandler>>()
  const running = new Map<string, Set<Promise<void>>>()
  // Kinds of which more was due than could be taken.
  const behind = new Set<string>()
  const kernel = new Map<string, JobHandler>()

  async function work (name: string, busy: Set<Promise<void>>): Promise<void> {
    const now = Date.now()
    const free = most - busy.size
    const jobs = await store.takeDueJobs(name, now, free, now + leaseMs)
    if (jobs.length === free) behind.add(name)
    else behind.delete(name)
    for (const job of jobs) {
      const done = (async () => {
        let retryAt: number | undefined
        try {
          // Looked up now: who did it when they were taken may be gone.
          const handler = handlerOf(name)
          if (handler) await handler(job.key)
          else retryAt = Date.now() + retryMs
        } catch (err) {
          log.debug({ err, queue: name, key: job.key }, 'a job is put off')
          retryAt = Date.now() + retryMs
        }
        await store.settleJob(name, job, retryAt)
      })().catch((err: unknown) => log.debug({ err, queue: name }, 'a job is settled by its lease')).finally(() => {
        busy.delete(done)
        // There is more to do: it does not wait for the next look.
        if (behind.has(name) && busy.size <= most / 2) lookNow()
      })
      busy.add(done)
    }
  }

  const handlerOf = (name: string) => [...owners.values()].find((handlers) => handlers.has(name))?.get(name)

  let looking: Promise<void> | undefined
  let stopped = false
  function lookNow (): void {
    if (!stopped) looking ??= look()
  }
  async function look (): Promise<void> {
    try {
      await Promise.all([...owners.values()].flatMap((handlers) => [...handlers.keys()]).map(async (name) => {
        const busy = running.get(name) ?? new Set()
        running.set(name, busy)
        if (busy.size < most) await work(name, busy)
      }))
    } catch (err) {
      log.debug({ err }, 'the job queue cannot be read')
    } finally {
      looking = undefined
    }
  }
  const timer = setInterval(lookNow, lookMs)

  return {
    on (name, handler) {
      kernel.set(name, handler)
      this.install('kernel', kernel)
    },
    schedule: (name, key, at) => store.scheduleJob(name, key, at),
    install (owner, handlers) {
      if (handlers.size === 0) owners.delete(owner)
      else owners.set(owner, handlers)
    },
    async stop () {
      stopped = true
      clearInterval(timer)
      // What a look that is under way takes is this server's to do.
      await looking
      await Promise.all([...running.values()].flatMap((busy) => [...busy]))
    }
  }
}

export default fp(async function jobs (app) {
  const created = createJobs(app.store, app.log)
  app.decorate('jobs', created)
  // Before the features are unloaded: a job that runs may need one.
  app.addHook('preClose', () => created.stop())
}, { name: 'jobs', dependencies: ['store'] })
