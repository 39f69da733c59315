import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { createSqliteOutbox } from '../../../features/gifts/outbox.sqlite.ts'
import { giftOf, giftOutboxContract } from '../../contracts/gift-outbox.ts'

const modulePath = pathToFileURL(join(import.meta.dirname, '../../../features/gifts/outbox.sqlite.ts')).href

const folder = t.testdir()
let files = 0
giftOutboxContract(t, async (t, kept) => {
  const clock = { now: 1_000_000 }
  const file = join(folder, `gifts-${++files}.sqlite`)
  const now = () => clock.now
  const options = { now, ...(kept === undefined ? {} : { keptLedger: kept, keptFailed: kept }) }
  const [a, b] = [createSqliteOutbox(file, options), createSqliteOutbox(file, options)]
  t.teardown(() => Promise.all([a.close(), b.close()]))
  return { a, b, clock }
})

t.test('the gifts of a failed batch stay together', async (t) => {
  let ms = 0
  const outbox = createSqliteOutbox(join(folder, `gifts-${++files}.sqlite`), { now: () => ms++ })
  t.teardown(() => outbox.close())
  await Promise.all([giftOf(), giftOf(), giftOf()].map((gift) => outbox.add(gift)))
  const { token, gifts } = await outbox.take([3], 1000)
  const settledAt = ms
  await outbox.settle(token, new Map(gifts.map(({ transactionId }) => [transactionId, { to: 'queue', delayMs: 1000, counted: true }])))
  ms = settledAt + 999
  t.same((await outbox.take([3], 1000)).gifts, [])
  ms = settledAt + 1000
  t.equal((await outbox.take([3], 1000)).gifts.length, 3)
})

t.test('acknowledged gifts survive kill -9', async (t) => {
  const file = join(t.testdir(), 'gifts.sqlite')
  // The program stores gifts, several at a time, and prints the id of each stored gift until the program is killed.
  const program = `
    import { createSqliteOutbox } from ${JSON.stringify(modulePath)}
    const outbox = createSqliteOutbox(${JSON.stringify(file)})
    for (let n = 0; ; n++) {
      await Promise.all(Array.from({ length: n % 7 + 1 }, async (_, i) => {
        const transactionId = n + '-' + i
        await outbox.add({ transactionId, roomId: 'r', senderId: 1, recipientId: 2, giftId: 3, quantity: 1, timestamp: 1 })
        process.stdout.write(transactionId + '\\n')
      }))
    }
  `
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  const enough = Promise.withResolvers<void>()
  child.stdout.on('data', (chunk) => {
    output += String(chunk)
    if (output.length > 20_000) enough.resolve()
  })
  await enough.promise
  child.kill('SIGKILL')
  await once(child, 'close')

  const acknowledged = output.slice(0, output.lastIndexOf('\n')).split('\n')
  const outbox = createSqliteOutbox(file)
  t.teardown(() => outbox.close())
  const there = new Set<string>()
  for (let batch; (batch = await outbox.take([1000], 60_000)).gifts.length > 0;) for (const gift of batch.gifts) there.add(gift.transactionId)
  t.ok(acknowledged.length > 1000)
  t.same(acknowledged.filter((id) => !there.has(id)), [], `${acknowledged.length} acknowledged, ${there.size} stored`)
})

t.test('creates the file with the right settings', async (t) => {
  const file = join(t.testdir(), 'a', 'b', 'gifts.sqlite')
  const outbox = createSqliteOutbox(file)
  await outbox.add(giftOf())
  const look = new DatabaseSync(file)
  t.match(look.prepare('PRAGMA journal_mode').get(), { journal_mode: 'wal' })
  t.same(look.prepare('SELECT name, strict FROM pragma_table_list WHERE schema = \'main\' AND name NOT LIKE \'sqlite%\' ORDER BY name').all().map((row) => ({ ...row })),
    ['counted', 'dead_letters', 'failed', 'ledger', 'queue', 'totals'].map((name) => ({ name, strict: 1 })))
  look.close()
  const last = outbox.add(giftOf())
  await outbox.close()
  await outbox.close()
  await last
  await t.rejects(outbox.add(giftOf()), { code: 'UNAVAILABLE', details: { retryable: true } })
  await t.rejects(outbox.take([1], 1), { code: 'UNAVAILABLE' })
  const again = createSqliteOutbox(file)
  t.teardown(() => again.close())
  t.match(await again.counts(), { queued: 2 }, 'a gift that is being added during close() is stored')
})

t.test('forgets counted gifts that can no longer be repeated', async (t) => {
  const file = join(t.testdir(), 'gifts.sqlite')
  const clock = { now: 1_000_000 }
  const outbox = createSqliteOutbox(file, { now: () => clock.now })
  t.teardown(() => outbox.close())
  const look = new DatabaseSync(file)
  t.teardown(() => look.close())
  const counted = () => look.prepare('SELECT id FROM counted ORDER BY expires').all().map(({ id }) => id)
  const gifts = [giftOf(), giftOf(), giftOf()] as const
  await outbox.add(gifts[0], 1, 1000)
  await outbox.add(gifts[1], 1, 2000)
  t.same(counted(), [gifts[0].transactionId, gifts[1].transactionId])
  clock.now += 1000
  await outbox.add(gifts[2], 1)
  t.same(counted(), [gifts[1].transactionId])
})

t.test('rejects gifts while the database is locked', async (t) => {
  const file = join(t.testdir(), 'gifts.sqlite')
  const outbox = createSqliteOutbox(file)
  t.teardown(() => outbox.close())
  await outbox.add(giftOf())
  const other = new DatabaseSync(file)
  other.exec('BEGIN IMMEDIATE')
  const begin = Date.now()
  const calls = await Promise.allSettled([outbox.add(giftOf()), outbox.add(giftOf())])
  t.match(calls, [{ status: 'rejected', reason: { code: 'UNAVAILABLE' } }, { status: 'rejected', reason: { code: 'UNAVAILABLE' } }], 'both gifts of a group are rejected')
  t.ok(Date.now() - begin < 10_000)
  other.exec('ROLLBACK')
  other.close()
  await outbox.add(giftOf())
  t.match(await outbox.counts(), { queued: 2 }, 'neither gift is stored')
})
