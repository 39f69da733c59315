import { join } from 'node:path'
import t from 'tap'
import { createRedisStorage } from '../../../features/webhooks/queue.redis.ts'
import { createSqliteStorage } from '../../../features/webhooks/queue.sqlite.ts'
import { storageLimits, webhookStorageContract } from '../../contracts/webhook-storage.ts'
import { databaseClient } from '../../support/redis.ts'

const start = 1_800_000_000_000

t.test('SQLite', async (t) => {
  webhookStorageContract(t, async (t) => {
    const clock = { now: start }
    const file = join(t.testdir({}), 'webhooks.sqlite')
    const open = () => createSqliteStorage(file, { now: () => clock.now, process: 'p', ...storageLimits })
    const [a, b] = [open(), open()]
    t.teardown(async () => await Promise.all([a.close(), b.close()]))
    return { a, b, clock }
  })

  t.test('the leases of an earlier process are void; the leases of an earlier feature instance remain valid', async (t) => {
    const file = join(t.testdir({}), 'webhooks.sqlite')
    const open = (process: string) => createSqliteStorage(file, { process, ...storageLimits })
    const first = open('p1')
    await first.register([{ id: 'one', shownUrl: 'https://one' }])
    await first.commitRoom({ roomId: 'r1', version: 0, set: new Map(), remove: new Set(), events: [{ id: 'x', queuedAt: 1, body: '{}' }] }, ['one'])
    t.equal((await first.take('one', 1, 60_000)).deliveries.length, 1)
    const second = open('p1')
    t.equal((await second.take('one', 1, 60_000)).deliveries.length, 0)
    const restarted = open('p2')
    t.equal((await restarted.take('one', 1, 60_000)).deliveries.length, 1)
    await Promise.all([first, second, restarted].map(async (storage) => await storage.close()))
  })
})

t.test('Redis', async (t) => {
  webhookStorageContract(t, async (t) => {
    const clock = { now: start }
    const redis = await databaseClient(t)
    const options = { now: () => clock.now, ...storageLimits }
    return { a: createRedisStorage(redis, options), b: createRedisStorage(redis, options), clock }
  })
})
