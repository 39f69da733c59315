import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { UserId } from 'flylive-audio-server/feature'
import { detailsOf, failingClosed, maxFailed, maxLedger, maxTrimmed } from './outbox.ts'
import type { Found, Gift, Outbox, OutboxOptions, RecordKind, Records } from './outbox.ts'

/** How long to wait while another process writes to the file, in milliseconds. */
const busyMs = 2000

// Gifts and details are stored as JSON, which preserves the type of ids (number or string). Queries read and write this
// JSON only as a whole.
const tables = `
  CREATE TABLE IF NOT EXISTS queue (id TEXT PRIMARY KEY, gift TEXT NOT NULL, tries INTEGER NOT NULL, due INTEGER NOT NULL, lease TEXT) STRICT;
  CREATE INDEX IF NOT EXISTS queue_due ON queue (due, id);
  CREATE TABLE IF NOT EXISTS ledger (id TEXT PRIMARY KEY, gift TEXT NOT NULL, details TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS failed (id TEXT PRIMARY KEY, gift TEXT NOT NULL, details TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS totals (room TEXT NOT NULL, created_at INTEGER NOT NULL, recipient TEXT NOT NULL, quantity INTEGER NOT NULL, PRIMARY KEY (room, created_at, recipient)) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS counted (id TEXT PRIMARY KEY, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS counted_expires ON counted (expires);
  CREATE TABLE IF NOT EXISTS dead_letters (id TEXT PRIMARY KEY, gift TEXT NOT NULL, details TEXT NOT NULL) STRICT;
`
const tableOf: Record<RecordKind, string> = { ledger: 'ledger', failed: 'failed', deadLetters: 'dead_letters' }

/**
 * The outbox of a single server: a SQLite file. When `add` resolves, the gift is on disk and survives a crash or a
 * power failure. Gifts added in the same turn of the event loop share one transaction and one disk flush.
 *
 * @param file path of the SQLite file; the file and its folder are created if missing
 * @param now returns the current time in epoch milliseconds, to set and compare due times
 * @param keptLedger maximum number of gifts to keep in the ledger; if there are more, the oldest gifts are deleted
 * @param keptFailed maximum number of failed gifts to keep; if there are more, the oldest gifts are deleted
 */
export function createSqliteOutbox (file: string, { now = Date.now, keptLedger = maxLedger, keptFailed = maxFailed }: OutboxOptions = {}): Outbox {
  mkdirSync(dirname(file), { recursive: true })
  const database = new DatabaseSync(file, { timeout: busyMs })
  // With `synchronous = FULL`, SQLite flushes each commit to disk, so that a power failure loses no accepted gift.
  database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; ${tables}`)

  const whereIs = database.prepare(`
    SELECT 'queue' AS place, gift, '{}' AS details FROM queue WHERE id = :id
    ${Object.entries(tableOf).map(([kind, table]) => `UNION ALL SELECT '${kind}', gift, details FROM ${table} WHERE id = :id`).join(' ')}
  `)
  const insert = database.prepare('INSERT INTO queue (id, gift, tries, due) VALUES (?, ?, 0, ?) ON CONFLICT (id) DO NOTHING')
  const addTotal = database.prepare('INSERT INTO totals (room, created_at, recipient, quantity) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity')
  // The gifts that have been added to the totals and that their senders can repeat.
  const markCounted = database.prepare('INSERT INTO counted (id, expires) VALUES (?, ?) ON CONFLICT (id) DO NOTHING')
  const forgetCounted = database.prepare('DELETE FROM counted WHERE id IN (SELECT id FROM counted WHERE expires <= ? LIMIT ?)')
  const totalsOf = database.prepare('SELECT recipient, quantity FROM totals WHERE room = ? AND created_at = ? ORDER BY quantity DESC LIMIT ?')
  const forget = database.prepare('DELETE FROM totals WHERE room = ? AND created_at = ?')
  const due = database.prepare('SELECT id, gift, tries FROM queue WHERE due <= ? ORDER BY due, id LIMIT ?')
  const lease = database.prepare('UPDATE queue SET lease = ?, due = ? WHERE id = ?')
  const held = database.prepare('SELECT gift, tries FROM queue WHERE id = ? AND lease = ?')
  const remove = database.prepare('DELETE FROM queue WHERE id = ?')
  const putBack = database.prepare('UPDATE queue SET lease = NULL, due = ?, tries = tries + ? WHERE id = ?')
  const sizes = database.prepare('SELECT (SELECT count(*) FROM queue) AS queued, (SELECT count(*) FROM dead_letters) AS deadLetters')
  const allSizes = database.prepare('SELECT (SELECT count(*) FROM ledger) AS ledger, (SELECT count(*) FROM failed) AS failed')
  // Row ids are consecutive and only the oldest rows are deleted, so the difference between two
  // row ids is the number of rows between them.
  const trim = (table: string) => database.prepare(`
    DELETE FROM ${table} WHERE rowid IN (
      SELECT rowid FROM ${table} WHERE rowid <= (SELECT max(rowid) FROM ${table}) - ? ORDER BY rowid LIMIT ?
    )
  `)
  const [trimLedger, trimFailed] = [trim('ledger'), trim('failed')]
  const revive = database.prepare('DELETE FROM dead_letters WHERE id = ? RETURNING gift')
  const records = Object.fromEntries(Object.entries(tableOf).map(([kind, table]) => [kind, {
    insert: database.prepare(`INSERT INTO ${table} (id, gift, details) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING`),
    page: database.prepare(`SELECT gift, details FROM ${table} WHERE id > ? ORDER BY id LIMIT ?`)
  }])) as unknown as Record<RecordKind, Record<'insert' | 'page', ReturnType<typeof database.prepare>>>

  function transact<T> (fn: () => T): T {
    database.exec('BEGIN IMMEDIATE')
    try {
      const result = fn()
      database.exec('COMMIT')
      return result
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK')
      throw error
    }
  }

  /** Adds a gift to the totals of its room, unless the gift has already been added. */
  function count ({ transactionId, roomId, recipientId, quantity }: Gift, roomCreatedAt: number, repeatableMs: number, at: number): void {
    if (repeatableMs > 0 && markCounted.run(transactionId, at + Math.ceil(repeatableMs)).changes === 0) return
    addTotal.run(roomId, roomCreatedAt, JSON.stringify(recipientId), quantity)
  }

  let waiting: { gift: Gift, roomCreatedAt: number | undefined, repeatableMs: number, resolve: (found: Found | undefined) => void, reject: (error: unknown) => void }[] = []
  let restUntil = 0

  function commit (): void {
    const group = waiting
    waiting = []
    if (group.length === 0) return
    const begin = performance.now()
    try {
      const at = now()
      const found = transact(() => {
        forgetCounted.run(at, maxTrimmed)
        return group.map(({ gift, roomCreatedAt, repeatableMs }) => {
          const row = whereIs.get({ id: gift.transactionId })
          if (row) return { place: row.place, gift: parse(row) } as Found
          insert.run(gift.transactionId, JSON.stringify(gift), at)
          if (roomCreatedAt !== undefined) count(gift, roomCreatedAt, repeatableMs, at)
          return undefined
        })
      })
      for (const [i, { resolve }] of group.entries()) resolve(found[i])
    } catch (error) {
      for (const { reject } of group) reject(error)
    }
    // A commit blocks the event loop. The next commit is delayed by the time that this commit took, so that the event
    // loop has at least half of the time for other work. Gifts that arrive during the delay are committed together.
    const end = performance.now()
    restUntil = end + (end - begin)
  }

  const parse = (row: Record<string, unknown>) => ({
    ...JSON.parse(String(row.gift)) as Gift,
    ...JSON.parse(String(row.details)) as object
  })

  function size () {
    const row = sizes.get() ?? {}
    return { queued: Number(row.queued), deadLetters: Number(row.deadLetters) }
  }

  return {
    add: (gift, roomCreatedAt, repeatableMs = 0) => failingClosed(() => new Promise<Found | undefined>((resolve, reject) => {
      if (waiting.push({ gift, roomCreatedAt, repeatableMs, resolve, reject }) > 1) return
      const rest = restUntil - performance.now()
      if (rest < 1) setImmediate(commit)
      else setTimeout(commit, rest)
    })),
    totals: (roomId, roomCreatedAt, limit) => failingClosed(() =>
      totalsOf.all(roomId, roomCreatedAt, limit).map(({ recipient, quantity }) => ({ recipientId: JSON.parse(String(recipient)) as UserId, quantity: Number(quantity) }))),
    forgetTotals: (roomId, roomCreatedAt) => failingClosed(() => { forget.run(roomId, roomCreatedAt) }),
    take: (sizes, leaseMs) => failingClosed(() => {
      const at = now()
      const token = randomUUID()
      const nothing = { gifts: [], tries: 0, more: false }
      const taken = () => {
        const maxSize = Math.max(...sizes)
        const found = due.all(at, maxSize)
        const tries = Number(found[0]?.tries ?? 0)
        const batch = found.filter((row) => Number(row.tries) === tries).slice(0, sizes[tries] ?? sizes.at(-1))
        for (const { id } of batch) lease.run(token, at + leaseMs, id as string)
        return {
          gifts: batch.map((row) => JSON.parse(String(row.gift)) as Gift),
          tries,
          more: batch.length < found.length || found.length === maxSize
        }
      }
      // If no gift is due, skip the transaction and its disk write.
      return { token, ...(due.get(at, 1) === undefined ? nothing : transact(taken)), ...size() }
    }),
    settle: (token, outcomes) => failingClosed(() => transact(() => {
      const settled = []
      // Read the clock once, so that gifts of a batch with the same delay become due at the same time and can be leased
      // together.
      const at = now()
      for (const [id, outcome] of outcomes) {
        const row = held.get(id, token)
        if (!row) continue
        settled.push(id)
        if (outcome.to === 'queue') {
          putBack.run(at + outcome.delayMs, outcome.counted ? 1 : 0, id)
          continue
        }
        if (outcome.to !== 'processed') {
          const tries = outcome.to === 'deadLetters' ? { tries: Number(row.tries) + 1 } : {}
          records[outcome.to].insert.run(id, String(row.gift), JSON.stringify({ ...tries, ...detailsOf(outcome) }))
        }
        remove.run(id)
      }
      trimLedger.run(keptLedger, maxTrimmed)
      trimFailed.run(keptFailed, maxTrimmed)
      return settled
    })),
    counts: () => failingClosed(() => {
      const row = allSizes.get() ?? {}
      return { ...size(), ledger: Number(row.ledger), failed: Number(row.failed) }
    }),
    list: <K extends RecordKind>(kind: K, after: string, limit: number) => failingClosed(() =>
      records[kind].page.all(after, limit).map(parse) as unknown as Records[K][]),
    replay: (transactionIds) => failingClosed(() => transact(() => {
      const at = now()
      let count = 0
      for (const id of transactionIds) {
        const row = revive.get(id)
        if (row) count += Number(insert.run(id, String(row.gift), at).changes)
      }
      return count
    })),
    async close () {
      if (!database.isOpen) return
      commit()
      database.close()
    }
  }
}
