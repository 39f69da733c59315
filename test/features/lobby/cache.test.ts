import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { createCache } from '../../../features/lobby/cache.ts'

t.test('concurrent callers share one result', async (t) => {
  const cache = createCache<number>(60_000, 10)
  let asked = 0
  const ask = async () => ++asked
  t.same(await Promise.all([cache.get('a', ask), cache.get('a', ask), cache.get('b', ask)]), [1, 1, 2])
  t.equal(await cache.get('a', ask), 1)
})

t.test('refreshes an expired result', async (t) => {
  const cache = createCache<number>(20, 10)
  let asked = 0
  const ask = async () => ++asked
  t.equal(await cache.get('a', ask), 1)
  await wait(30)
  t.equal(await cache.get('a', ask), 2)
  t.equal(cache.size, 1)
  const none = createCache<number>(0, 10)
  t.same([await none.get('a', ask), await none.get('a', ask)], [3, 4], 'without caching, each call is made')
})

t.test('reports a failure to its callers and does not cache it', async (t) => {
  const cache = createCache<string>(60_000, 10)
  const failing = async () => { throw new Error('away') }
  const results = await Promise.allSettled([cache.get('a', failing), cache.get('a', async () => 'not asked')])
  t.match(results, [{ status: 'rejected', reason: { message: 'away' } }, { status: 'rejected' }])
  t.equal(cache.size, 0)
  t.equal(await cache.get('a', async () => 'back'), 'back')
})

t.test('a failure does not remove a newer result', async (t) => {
  const cache = createCache<string>(0, 10)
  const slow = Promise.withResolvers<string>()
  const first = cache.get('a', () => slow.promise)
  const second = cache.get('a', async () => 'young')
  slow.reject(new Error('away'))
  await t.rejects(first)
  t.equal(await second, 'young')
  t.equal(cache.size, 1)
})

t.test('keeps the newest results', async (t) => {
  const cache = createCache<number>(60_000, 3)
  for (let i = 0; i < 100; i++) await cache.get(`key ${i}`, async () => i)
  t.equal(cache.size, 3)
  let asked = 0
  for (const key of ['key 97', 'key 98', 'key 99']) await cache.get(key, async () => ++asked)
  t.equal(asked, 0)
  await cache.get('key 96', async () => ++asked)
  t.equal(asked, 1)
  t.equal(cache.size, 3)
})
