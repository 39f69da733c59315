import t from 'tap'
import { createMemoryJobStore } from '../../../plugins/jobs/memory.ts'
import { createRedisJobStore } from '../../../plugins/jobs/redis.ts'
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
