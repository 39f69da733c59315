import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { createClock } from '../clock.ts'
import { withTimeout } from '../errors/timeout.ts'
import type { Clock } from '../clock.ts'
import type { RegistrationTable } from '../registrations.ts'
import { defaultTimings } from '../timings.ts'
import type { DueJob, JobStore } from './store.ts'

/** Runs a job. If the handler throws, the job is retried after `jobRetryMs`. */
export type JobHandler = (key: string) => Promise<void>

/** The job queue API for features. */
export interface JobsRegistrar {
  /** Registers this server's handler for jobs of one kind. When a feature is unloaded, its handlers are removed. */
  on (name: string, handler: JobHandler): void
  /**
   * Schedules a job. If the job is already scheduled, the earlier time applies. If the job is running, it runs once
   * more after the current run.
   *
   * @param at when the job is due, in epoch milliseconds according to `app.clock`
   * @throws UNAVAILABLE
   */
  schedule (name: string, key: string, at: number): Promise<void>
}

/**
 * Scheduled work that any server may run, such as releasing a seat or calling the backend. Only one server at a time
 * runs a given job, unless the job runs longer than its lease. If a server dies during a job, another server runs the
 * job again.
 */
export interface Jobs extends JobsRegistrar {}

declare module '../registrations.ts' {
  interface RegistrationKinds {
    /** Job handlers, by the name of the jobs. */
    job: JobHandler
  }
}

/** How long a job may run before another server takes it over, in milliseconds. */
const leaseMs = 60_000
/**
 * How long a stopping server waits for its running jobs, in milliseconds. Other servers take over unfinished jobs when
 * the jobs' leases expire.
 */
const stopMs = 5000
/** Maximum number of concurrent jobs of one kind on this server. */
const maxRunning = 100

/** @returns a runner that polls until it is stopped; `stop` waits at most 5 s for the running jobs */
export function createJobs (store: JobStore, registrations: RegistrationTable, log: FastifyBaseLogger, { jobPollIntervalMs, jobRetryMs } = defaultTimings, clock: Clock = createClock()): Jobs & { stop (): Promise<void> } {
  const handlers = registrations.inService('job')
  const running = new Map<string, Set<Promise<void>>>()
  // Kinds of jobs of which more may be due, because the last poll took as many jobs as it could.
  const behind = new Set<string>()
  let polling: Promise<void> | undefined
  const stopping = new AbortController()

  /** If several owners have registered the same kind of jobs, the first owner runs them, with its newest handler. */
  function handlerOf (name: string): JobHandler | undefined {
    const all = handlers.get(name)
    return all?.findLast(({ owner }) => owner === all[0]?.owner)?.value
  }

  async function run (name: string, job: DueJob): Promise<void> {
    let retryAt: number | undefined
    try {
      // Look up the handler again: the feature may have been unloaded since the job was taken.
      const handler = handlerOf(name)
      if (handler) await handler(job.key)
      else retryAt = clock.now() + jobRetryMs
    } catch (err) {
      log.debug({ err, queue: name, key: job.key }, 'job failed, will retry')
      retryAt = clock.now() + jobRetryMs
    }
    await settle(name, job, retryAt)
  }

  /**
   * Records the result of a job. If the store is unavailable, retries until the store is available again, because a job
   * that is not settled cannot run again until its lease expires.
   */
  async function settle (name: string, job: DueJob, retryAt: number | undefined): Promise<void> {
    for (;;) {
      try {
        return await store.settle(name, job, retryAt)
      } catch (err) {
        if (stopping.signal.aborted) throw err
        log.debug({ err, queue: name, key: job.key }, 'failed to record the result of a job, will retry')
        await delay(jobRetryMs, undefined, { signal: stopping.signal }).catch(() => { /* The runner is stopping, so the loop makes one last attempt. */ })
      }
    }
  }

  async function takeJobs (name: string, busy: Set<Promise<void>>): Promise<void> {
    const now = clock.now()
    const free = maxRunning - busy.size
    const jobs = await store.takeDue(name, now, free, now + leaseMs)
    if (jobs.length === free) behind.add(name)
    else behind.delete(name)
    for (const job of jobs) {
      const done = run(name, job).catch((err: unknown) => log.debug({ err, queue: name }, 'failed to record the result of a job: the job becomes due again when its lease expires')).finally(() => {
        busy.delete(done)
        // More jobs may be due, so poll again without waiting for the next interval.
        if (behind.has(name) && busy.size <= maxRunning / 2) poll()
      })
      busy.add(done)
    }
  }

  async function takeAll (): Promise<void> {
    // Wait for all kinds of jobs, even if taking jobs of one kind fails, so that polls never overlap.
    await Promise.all([...handlers.keys()].map(async (name) => {
      const busy = running.get(name) ?? new Set()
      running.set(name, busy)
      if (busy.size < maxRunning) await takeJobs(name, busy).catch((err: unknown) => log.debug({ err, queue: name }, 'job queue unavailable'))
    }))
    polling = undefined
  }

  function poll (): void {
    if (!stopping.signal.aborted) polling ??= takeAll()
  }
  const timer = setInterval(poll, jobPollIntervalMs)

  return {
    on: (name, handler) => { registrations.kernel.add('job', name, handler) },
    schedule: (name, key, at) => store.schedule(name, key, at),
    async stop () {
      stopping.abort()
      clearInterval(timer)
      // Wait for a poll that is in progress: this server must run the jobs that the poll takes.
      await polling
      await withTimeout(Promise.all([...running.values()].flatMap((busy) => [...busy])), stopMs, () => {
        log.warn({ queues: [...running].filter(([, busy]) => busy.size > 0).map(([name]) => name) }, 'stopped while jobs were running')
      })
    }
  }
}
