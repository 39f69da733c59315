import { join } from 'node:path'
import t from 'tap'
import { createRedisOutbox } from '../../../features/gifts/outbox.redis.ts'
import { createSqliteOutbox } from '../../../features/gifts/outbox.sqlite.ts'
import type { Outcome } from '../../../features/gifts/outbox.ts'
import { giftOf } from '../../contracts/gift-outbox.ts'
import { backendKey } from '../../support/backend.ts'
import { adminKey, build, onEveryStore, tokenFor } from '../../support/build.ts'
import { until } from '../../support/retry.ts'

// The backend is unreachable, so queued gifts stay queued.
const env = { FEATURES: 'auth,gifts', LARAVEL_API_URL: 'http://127.0.0.1:9', LARAVEL_INTERNAL_KEY: backendKey }

onEveryStore(t, 'lists records in pages, and replays some or all of them', async (t, store) => {
  const folder = t.testdir()
  const server = await build(t, { env: { ...env, ...store, DATA_DIR: folder } })
  const outbox = server.app.hasDecorator('redis') ? createRedisOutbox(server.app.redis) : createSqliteOutbox(join(folder, 'gifts.sqlite'))
  t.teardown(() => outbox.close())
  const outcomes: Outcome[] = [
    { to: 'deadLetters', reason: 'HTTP 500', at: 3 },
    { to: 'failed', code: 4002, reason: 'Insufficient balance', at: 4 },
    { to: 'ledger', at: 5 }
  ]
  const gifts = Array.from({ length: 21 }, () => giftOf())
  for (const gift of gifts) await outbox.add(gift)
  const batch = await outbox.take([100], 60_000)
  await outbox.settle(batch.token, new Map(gifts.map(({ transactionId }, i) => [transactionId, outcomes[i % 3] as Outcome])))
  t.same((await server.admin('GET', '/admin/gifts')).body, { queued: 0, deadLetters: 7, failed: 7, ledger: 7 })

  const kinds = [['dead-letters', 'deadLetters', { tries: 1, reason: 'HTTP 500', deadAt: 3 }], ['failed', 'failed', { code: 4002, reason: 'Insufficient balance', failedAt: 4 }], ['ledger', 'ledger', { recordedAt: 5 }]] as const
  for (const [i, [path, name, details]] of kinds.entries()) {
    const expected = gifts.filter((_, n) => n % 3 === i).map((gift) => ({ ...gift, ...details }))
    t.same((await server.admin('GET', `/admin/gifts/${path}`)).body, { [name]: expected, nextCursor: null, total: 7 })
    const paged: unknown[] = []
    for (let cursor: string | null = '', pages = 0; cursor !== null; pages++) {
      t.ok(pages < 3)
      const { body } = await server.admin('GET', `/admin/gifts/${path}?limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`)
      paged.push(...body?.[name] as unknown[])
      cursor = body?.nextCursor as string | null
    }
    t.same(paged, expected)
    for (const query of ['limit=0', 'limit=201', 'limit=x', `cursor=${'x'.repeat(513)}`]) t.equal((await server.admin('GET', `/admin/gifts/${path}?${query}`)).status, 400, query)
    t.match((await server.admin('GET', `/admin/gifts/${path}?cursor=nonsense`)).status, 200)
  }

  const replay = (body?: unknown) => server.admin('POST', '/admin/gifts/dead-letters/replay', body)
  const dead = gifts.filter((_, n) => n % 3 === 0).map(({ transactionId }) => transactionId)
  for (const body of [{ transactionIds: 'all' }, { transactionIds: ['x'] }, { transactionIds: [1] }]) t.match(await replay(body), { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } })
  t.same((await replay({ transactionIds: [] })).body, { replayed: 0 })
  t.same((await replay({ transactionIds: [dead[2], gifts[1]?.transactionId, dead[2]] })).body, { replayed: 1 }, 'only dead letters are replayed')
  t.same((await server.admin('GET', '/admin/gifts')).body, { queued: 1, deadLetters: 6, failed: 7, ledger: 7 })
  t.same((await replay({})).body, { replayed: 6 })
  t.same((await replay()).body, { replayed: 0 })
  t.same((await server.admin('GET', '/admin/gifts')).body, { queued: 7, deadLetters: 0, failed: 7, ledger: 7 })
  await until(async () => /^flylive_gift_queue_size 7$/m.test(await (await fetch(`${server.url}/metrics`)).text()))
})

t.test('replays more dead letters than fit into one batch', async (t) => {
  const folder = t.testdir()
  const server = await build(t, { env: { ...env, DATA_DIR: folder } })
  const outbox = createSqliteOutbox(join(folder, 'gifts.sqlite'))
  t.teardown(() => outbox.close())
  await Promise.all(Array.from({ length: 1234 }, () => outbox.add(giftOf())))
  const batch = await outbox.take([5000], 60_000)
  await outbox.settle(batch.token, new Map(batch.gifts.map(({ transactionId }) => [transactionId, { to: 'deadLetters', reason: '', at: 1 }])))
  t.same((await server.admin('POST', '/admin/gifts/dead-letters/replay')).body, { replayed: 1234 })
  t.same((await server.admin('GET', '/admin/gifts')).body, { queued: 1234, deadLetters: 0, failed: 0, ledger: 0 })
})

t.test('requires the admin key', async (t) => {
  const server = await build(t, { env })
  for (const [method, path] of [['GET', ''], ['GET', '/dead-letters'], ['GET', '/failed'], ['GET', '/ledger'], ['POST', '/dead-letters/replay']] as const) {
    for (const authorization of ['', `Bearer ${adminKey}x`, `Bearer ${tokenFor(1, { roles: ['admin'] })}`]) {
      t.equal((await fetch(`${server.url}/admin/gifts${path}`, { method, headers: { authorization } })).status, 401, `${method} ${path}`)
    }
  }
})
