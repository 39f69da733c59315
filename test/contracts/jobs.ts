import type { Test } from 'tap'
import type { JobStore } from '../../plugins/jobs/store.ts'

/**
 * Runs the tests that every job store must pass.
 *
 * @param make creates an empty store that is closed after the test
 */
export function jobStoreContract (t: Test, make: (t: Test) => Promise<JobStore>): void {
  t.test('a job runs at the earliest of several due times', async (t) => {
    const store = await make(t)
    const keys = async (now: number, limit = 10) => (await store.takeDue('a', now, limit, now + 1_000_000)).map(({ key }) => key)
    t.same(await keys(1e12), [])
    await store.schedule('a', 'k', 3000)
    await store.schedule('a', 'k', 2000)
    await store.schedule('a', 'k', 4000)
    await store.schedule('a', 'later', 2500)
    await store.schedule('b', 'k', 1)
    t.same(await keys(1999), [], 'no job before its due time')
    t.same(await keys(2000), ['k'])
    await store.schedule('a', 'first', 1)
    await store.schedule('a', 'second', 2)
    t.same(await keys(2500, 2), ['first', 'second'], 'the oldest first, up to the limit')
    t.same(await keys(2500), ['later'])
    t.same(await keys(5000), [], 'the later due times do not make a taken job due again')
  })

  t.test('a taken job cannot be taken again until it is settled or its lease expires', async (t) => {
    const store = await make(t)
    await store.schedule('a', 'k', 1000)
    const [job] = await store.takeDue('a', 1000, 10, 5000)
    t.match(job, { key: 'k', token: Number })
    if (!job) return
    t.same(await store.takeDue('a', 4999, 10, 9000), [])
    await store.settle('b', job)
    await store.settle('a', { ...job, token: job.token + 1 })
    t.same(await store.takeDue('a', 4999, 10, 9000), [], 'a job can be settled only with its name and token')
    await store.settle('a', job)
    t.same(await store.takeDue('a', 1e12, 10, 2e12), [], 'the job is settled')
    await store.settle('a', job, 1)
    t.same(await store.takeDue('a', 1e12, 10, 2e12), [], 'once')

    await store.schedule('a', 'k', 1000)
    const [again] = await store.takeDue('a', 2000, 10, 6000)
    if (again) await store.settle('a', again, 7000)
    t.same(await store.takeDue('a', 6999, 10, 9000), [])
    t.match(await store.takeDue('a', 7000, 10, 9000), [{ key: 'k' }], 'a job to retry is due at the retry time')
  })

  t.test('if a job is rescheduled while it is running, it runs again afterwards', async (t) => {
    const store = await make(t)
    await store.schedule('a', 'k', 1000)
    const [job] = await store.takeDue('a', 1000, 10, 60_000)
    await store.schedule('a', 'k', 1500)
    await store.schedule('a', 'k', 3000)
    t.same(await store.takeDue('a', 2000, 10, 60_001), [], 'the two runs are not concurrent')
    // While the next run of job `k` waits for the end of the current run, other jobs run without delay.
    await store.schedule('a', 'other', 1800)
    const [other] = await store.takeDue('a', 2000, 1, 60_002)
    t.match(other, { key: 'other' })
    if (job) await store.settle('a', job)
    const [again] = await store.takeDue('a', 2000, 10, 60_003)
    t.match(again, { key: 'k' })
    // A job that has both a scheduled time and a retry time runs at the earlier time.
    await store.schedule('a', 'k', 5000)
    if (again) await store.settle('a', again, 9000)
    t.same(await store.takeDue('a', 4999, 10, 60_004), [])
    t.match(await store.takeDue('a', 5000, 10, 60_005), [{ key: 'k' }])
  })

  t.test('a job that is not settled in time becomes due again', async (t) => {
    const store = await make(t)
    await store.schedule('a', 'k', 1000)
    const [lost] = await store.takeDue('a', 1000, 10, 5000)
    t.same(await store.takeDue('a', 4999, 10, 9000), [])
    const [again] = await store.takeDue('a', 5000, 10, 9000)
    t.match(again, { key: 'k' })
    if (!lost || !again) return
    await store.settle('a', lost)
    await store.settle('a', lost, 1)
    t.same(await store.takeDue('a', 8999, 10, 12_000), [], 'an expired token cannot settle the job')
    await store.settle('a', again)
    t.same(await store.takeDue('a', 1e12, 10, 2e12), [])
  })

  t.test('concurrent calls to takeDue() return each job once', async (t) => {
    const store = await make(t)
    for (let i = 0; i < 30; i++) await store.schedule('a', `k${i}`, i)
    const taken = await Promise.all(Array.from({ length: 20 }, (_, i) => store.takeDue('a', 1000, 2, 50_000 + i)))
    const keys = taken.flatMap((jobs) => jobs.map(({ key }) => key))
    t.equal(keys.length, 30)
    t.equal(new Set(keys).size, 30)
  })
}
