import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { createMemoryJobStore } from '../../../plugins/jobs/memory.ts'
import { createRedisJobStore } from '../../../plugins/jobs/redis.ts'
import { createJobs } from '../../../plugins/jobs/runner.ts'
import type { JobHandler } from '../../../plugins/jobs/runner.ts'
import type { JobStore } from '../../../plugins/jobs/store.ts'
import { Registrations, RegistrationTable } from '../../../plugins/registrations.ts'
import { defaultTimings } from '../../../plugins/timings.ts'
import { build } from '../../support/build.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const silent = { debug () {}, info () {}, warn () {}, error () {}, fatal () {}, trace () {}, silent () {}, level: 'silent', child: () => silent } as never

function jobsOf (t: Test, store: JobStore, timings = defaultTimings, registrations = new RegistrationTable()) {
  const jobs = createJobs(store, registrations, silent, timings)
  t.teardown(() => jobs.stop())
  return jobs
}

async function pair (t: Test): Promise<[JobStore, JobStore]> {
  const { port } = await startRedis(t)
  const stores = await Promise.all(['a', 'b'].map(async () => {
    const client = new Redis({ port, lazyConnect: true })
    t.teardown(() => client.disconnect())
    await client.connect()
    return createRedisJobStore(client)
  }))
  return stores as [JobStore, JobStore]
}

/** @returns a handler that does not finish until `release` is called, and the keys of the jobs that have started */
function held () {
  const started: string[] = []
  const waiting: PromiseWithResolvers<void>[] = []
  const handler: JobHandler = async (key) => {
    started.push(key)
    const gate = Promise.withResolvers<void>()
    waiting.push(gate)
    await gate.promise
  }
  return { started, handler, release: () => { for (const { resolve } of waiting.splice(0)) resolve() } }
}

t.test('runs a job once when it is due', async (t) => {
  const jobs = jobsOf(t, createMemoryJobStore())
  const done = new Map<string, number[]>()
  jobs.on('job', async (key) => { done.set(key, [...done.get(key) ?? [], Date.now()]) })
  jobs.on('marker', async () => { done.set('marker', []) })
  const now = Date.now()
  await jobs.schedule('job', 'soon', now + 400)
  await jobs.schedule('job', 'at once', now - 1)
  await jobs.schedule('other', 'nobody does it', 0)
  await until(() => done.has('soon'))
  t.ok((done.get('soon')?.[0] ?? 0) >= now + 400)
  // If a job were still queued, the poll that runs the marker would run the job again.
  await jobs.schedule('marker', '', 0)
  await until(() => done.has('marker'))
  t.same([...done].map(([key, times]) => [key, times.length]), [['at once', 1], ['soon', 1], ['marker', 0]])
})

t.test('runs due jobs without delay', async (t) => {
  // If each poll ran only one batch of 100 jobs, all jobs together would take 20 s.
  const jobs = jobsOf(t, createMemoryJobStore(), { ...defaultTimings, jobPollIntervalMs: 1000 })
  const many = 2000
  const done: string[] = []
  jobs.on('job', async (key) => { done.push(key) })
  for (let i = 0; i < many; i++) await jobs.schedule('job', String(i), i)
  await until(() => done.length >= many)
  // If a job were still queued, the poll that runs the marker would run the job again.
  jobs.on('marker', async () => { done.push('marker') })
  await jobs.schedule('marker', '', 0)
  await until(() => done.includes('marker'))
  t.equal(done.length, many + 1, 'each job runs once')
  t.equal(new Set(done).size, many + 1)
})

t.test('retries a failed job without blocking others', async (t) => {
  const jobs = jobsOf(t, createMemoryJobStore())
  const tries = new Map<string, number[]>()
  jobs.on('job', async (key) => {
    const mine = [...tries.get(key) ?? [], performance.now()]
    tries.set(key, mine)
    if (key === 'hard' && mine.length < 3) throw new Error('not yet')
  })
  for (const key of ['hard', 'easy']) await jobs.schedule('job', key, 0)
  await until(() => tries.get('hard')?.length === 3)
  t.equal(tries.get('easy')?.length, 1)
  const [first = 0, second = 0, third = 0] = tries.get('hard') ?? []
  t.ok(second - first > 900 && third - second > 900, 'each retry runs about a second later')
})

t.test('if a job is rescheduled while it is running, it runs again afterwards', async (t) => {
  const jobs = jobsOf(t, createMemoryJobStore())
  const { started, handler, release } = held()
  jobs.on('job', handler)
  t.teardown(release)
  await jobs.schedule('job', 'k', 0)
  await until(() => started.length === 1)
  await jobs.schedule('job', 'k', 0)
  await jobs.schedule('job', 'other', 0)
  await until(() => started.includes('other'))
  t.same(started, ['k', 'other'], 'other jobs run during the delay')
  release()
  await until(() => started.length === 3)
  t.same(started, ['k', 'other', 'k'])
})

t.test('one of two servers runs a job, never both', async (t) => {
  const servers = (await pair(t)).map((store) => jobsOf(t, store))
  const running = new Set<string>()
  const done = new Map<string, number>()
  const faults: string[] = []
  for (const jobs of servers) {
    jobs.on('job', async (key) => {
      if (running.has(key)) faults.push(key)
      running.add(key)
      await new Promise((resolve) => setImmediate(resolve))
      running.delete(key)
      done.set(key, (done.get(key) ?? 0) + 1)
    })
  }
  const [a, b] = servers
  for (let i = 0; i < 150; i++) await (i % 2 ? a : b)?.schedule('job', `k${i}`, 0)
  await until(() => done.size === 150)
  t.ok([...done.values()].every((times) => times <= 2), 'a second run only for rescheduled jobs')
  t.same(faults, [])
})

t.test('another server runs the job of a dead server', async (t) => {
  const [a, b] = await pair(t)
  // Simulate a server that takes a job and dies. The lease of the job expires after 700 ms.
  await a.schedule('job', 'k', 0)
  const now = Date.now()
  const expiry = now + 700
  t.equal((await a.takeDue('job', now, 10, expiry)).length, 1)
  const done: number[] = []
  jobsOf(t, b).on('job', async () => { done.push(Date.now()) })
  await until(() => done.length === 1)
  t.ok((done[0] ?? 0) >= expiry, 'the job does not run before the lease expires')
})

t.test('records the result of a job when the store is available again', async (t) => {
  const store = createMemoryJobStore()
  let isDown = false
  const attempts: string[] = []
  const jobs = jobsOf(t, {
    schedule: store.schedule,
    takeDue: store.takeDue,
    async settle (queue, job, retryAt) {
      attempts.push(job.key)
      if (isDown) throw new Error('the store is down')
      await store.settle(queue, job, retryAt)
    }
  }, { ...defaultTimings, jobPollIntervalMs: 20, jobRetryMs: 20 })
  const { started, handler, release } = held()
  jobs.on('job', handler)
  t.teardown(release)
  await jobs.schedule('job', 'k', 0)
  await until(() => started.length === 1)
  await jobs.schedule('job', 'k', 0)
  isDown = true
  release()
  await until(() => attempts.length >= 3)
  t.equal(started.length, 1)
  isDown = false
  await until(() => started.length === 2)
  t.pass('the rescheduled job does not wait until the lease expires')
})

t.test('stop() waits for running jobs and starts no more', async (t) => {
  const store = createMemoryJobStore()
  const taking = Promise.withResolvers<void>()
  const go = Promise.withResolvers<void>()
  let looks = 0
  const jobs = jobsOf(t, {
    schedule: store.schedule,
    settle: store.settle,
    async takeDue (...args) {
      if (++looks === 1) {
        taking.resolve()
        await go.promise
      }
      return await store.takeDue(...args)
    }
  })
  const { started, handler, release } = held()
  jobs.on('job', handler)
  await jobs.schedule('job', 'k', 0)
  await taking.promise
  let stopped = false
  const stopping = jobs.stop().then(() => { stopped = true })
  go.resolve()
  await until(() => started.length === 1)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(stopped, false, 'taken jobs are completed')
  release()
  await stopping
  t.same(await store.takeDue('job', 1e15, 10, 2e15), [], 'the jobs are settled')
  await jobs.schedule('job', 'later', 0)
  t.match(await store.takeDue('job', 1e15, 10, 2e15), [{ key: 'later' }])
})

t.test('a feature does not take over the jobs of the kernel or of another feature', async (t) => {
  const registrations = new RegistrationTable()
  const jobs = jobsOf(t, createMemoryJobStore(), defaultTimings, registrations)
  const done: string[] = []
  const handler = (by: string): JobHandler => async (key) => { done.push(`${by} ${key}`) }
  for (const [owner, ...names] of [['first', 'kernel-job', 'job'], ['second', 'kernel-job', 'job']] as const) {
    const own = new Registrations(owner)
    for (const name of names) own.add('job', name, handler(owner))
    registrations.install(owner, own)
  }
  jobs.on('kernel-job', handler('kernel'))
  await jobs.schedule('kernel-job', '1', 0)
  await jobs.schedule('job', '2', 0)
  await until(() => done.length === 2)
  t.same(done.sort(), ['first 2', 'kernel 1'])

  registrations.install('first', undefined)
  await jobs.schedule('job', '3', 0)
  await until(() => done.length === 3)
  t.equal(done[2], 'second 3')
})

t.test('runs a feature\'s jobs while the feature runs', async (t) => {
  const store = createMemoryJobStore()
  const registrations = new RegistrationTable()
  const jobs = jobsOf(t, store, defaultTimings, registrations)
  const done: string[] = []
  function handlers (generation: string): Registrations {
    const own = new Registrations('feature')
    own.add('job', 'job', async (key) => { done.push(`${generation} ${key}`) })
    return own
  }
  registrations.install('feature', handlers('first'))
  await jobs.schedule('job', '1', 0)
  await until(() => done.length === 1)
  registrations.install('feature', handlers('second'))
  await jobs.schedule('job', '2', 0)
  await until(() => done.length === 2)
  registrations.install('feature', undefined)
  jobs.on('marker', async () => { done.push('marker') })
  await jobs.schedule('job', '3', 0)
  await jobs.schedule('marker', '', 0)
  await until(() => done.length === 3)
  t.same(done, ['first 1', 'second 2', 'marker'])
  registrations.install('feature', handlers('third'))
  await until(() => done.length === 4)
  t.equal(done[3], 'third 3', 'an unfinished job stays scheduled')
})

t.test('jobs survive an outage of the store', async (t) => {
  const redis = await startRedis(t)
  const { app } = await build(t, { env: { REDIS_URL: redis.url } })
  const done: string[] = []
  app.jobs.on('job', async (key) => { done.push(key) })
  await redis.kill()
  await t.rejects(app.jobs.schedule('job', 'k', 0), { code: 'UNAVAILABLE' })
  await redis.start()
  await until(() => app.jobs.schedule('job', 'k', 0).then(() => true))
  await until(() => done.length === 1)
})
