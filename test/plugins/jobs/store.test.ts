import t from 'tap'
import { createMemoryJobStore } from '../../../plugins/jobs/memory.ts'
import { createRedisJobStore } from '../../../plugins/jobs/redis.ts'
import type { JobStore } from '../../../plugins/jobs/store.ts'
import { jobStoreContract } from '../../contracts/jobs.ts'
import { databaseClient } from '../../support/redis.ts'

t.test('memory', async (t) => jobStoreContract(t, async () => createMemoryJobStore()))
t.test('redis', async (t) => jobStoreContract(t, async (t) => createRedisJobStore(await databaseClient(t))))

t.test('one of two servers takes a job; once the lease expires, the other takes it over', async (t) => {
  const client = await databaseClient(t)
  const [a, b] = [createRedisJobStore(client), createRedisJobStore(client)]
  for (let i = 0; i < 50; i++) await (i % 2 ? a : b).schedule('a', `k${i}`, i)
  const taken = await Promise.all([a.takeDue('a', 1000, 30, 5000), b.takeDue('a', 1000, 30, 5000)])
  t.equal(new Set(taken.flatMap((jobs) => jobs.map(({ key }) => key))).size, 50)
  t.equal(taken.flat().length, 50)
  for (const job of taken[0]) await a.settle('a', job)
  t.same(await a.takeDue('a', 4999, 50, 9000), [])
  const inherited = await a.takeDue('a', 5000, 50, 9000)
  t.same(inherited.map(({ key }) => key).sort(), taken[1].map(({ key }) => key).sort())
})

t.test('the jobs of a call whose reply is lost are due again at the next call', async (t) => {
  const client = await databaseClient(t)
  const [a, b] = [createRedisJobStore(client), createRedisJobStore(client)]
  const { msabTakeDueJobs } = client
  const keysOf = async (store: JobStore, now: number) => (await store.takeDue('a', now, 10, now + 60_000)).map(({ key }) => key)

  for (const key of ['k1', 'k2']) await a.schedule('a', key, 1)
  client.msabTakeDueJobs = async (...args) => {
    await msabTakeDueJobs.apply(client, args)
    throw new Error('Command timed out')
  }
  await t.rejects(keysOf(a, 1000), { code: 'UNAVAILABLE' })
  client.msabTakeDueJobs = msabTakeDueJobs
  t.same(await keysOf(b, 1000), [], 'another server does not know that the reply was lost')
  t.same((await keysOf(a, 1001)).sort(), ['k1', 'k2'])
  t.same(await keysOf(a, 1002), [], 'the jobs are running')

  // Redis runs the failed call after the next call.
  await a.schedule('a', 'late', 1)
  let runLate = async (): Promise<unknown> => undefined
  client.msabTakeDueJobs = async (...args) => {
    runLate = async () => await msabTakeDueJobs.apply(client, args)
    throw new Error('Command timed out')
  }
  await t.rejects(keysOf(a, 1003), { code: 'UNAVAILABLE' })
  client.msabTakeDueJobs = msabTakeDueJobs
  t.same(await keysOf(a, 1004), ['late'])
  await a.schedule('a', 'later', 1)
  t.same(await runLate(), ['later'])
  t.same(await keysOf(a, 1005), ['later'])
})
