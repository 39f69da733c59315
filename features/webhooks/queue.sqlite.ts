import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { deadLetterId, failingClosed, queueFull } from './queue.ts'
import type { Delivery, Overflow, QueueState, StorageOptions, WebhookStorage } from './queue.ts'

/** How long to wait while another process writes to the file, in milliseconds. */
const busyMs = 2000

const tables = `
  CREATE TABLE IF NOT EXISTS rooms (room TEXT PRIMARY KEY, version INTEGER NOT NULL, expires INTEGER) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS fields (room TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (room, name)) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS targets (id TEXT PRIMARY KEY, url TEXT NOT NULL, pending INTEGER NOT NULL DEFAULT 0, error TEXT) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, room TEXT NOT NULL, id TEXT NOT NULL, queued INTEGER NOT NULL, body TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0) STRICT;
  CREATE INDEX IF NOT EXISTS events_room ON events (target, room, seq);
  CREATE INDEX IF NOT EXISTS events_age ON events (target, seq);
  CREATE TABLE IF NOT EXISTS lanes (target TEXT NOT NULL, room TEXT NOT NULL, due INTEGER NOT NULL, turn INTEGER NOT NULL, lease TEXT, PRIMARY KEY (target, room)) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS lanes_due ON lanes (target, due, turn);
  CREATE TABLE IF NOT EXISTS dead (id TEXT PRIMARY KEY, target TEXT NOT NULL, room TEXT NOT NULL, event TEXT NOT NULL, body TEXT NOT NULL, tries INTEGER NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`

export interface SqliteOptions extends StorageOptions {
  /** Identifies the process. Leases from earlier processes are invalid. */
  process: string
}

/**
 * A webhook storage for a single server, in a SQLite file. A commit survives a crash of the process. After a power
 * failure, the last commits may be missing. The reconciler (reconciler.ts) then finds most of the missing changes.
 *
 * @param file path of the SQLite file; the file and its folder are created if missing
 */
export function createSqliteStorage (file: string, { now = Date.now, queueLimit, deadLetterLimit, process }: SqliteOptions): WebhookStorage {
  mkdirSync(dirname(file), { recursive: true })
  const database = new DatabaseSync(file, { timeout: busyMs })
  database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; ${tables}`)
  const sql = (text: string) => database.prepare(text)
  sql("UPDATE lanes SET lease = NULL, due = 0 WHERE lease IS NOT NULL AND lease NOT LIKE ? || ':%'").run(process)

  const version = sql('SELECT version FROM rooms WHERE room = ?')
  const setVersion = sql('INSERT INTO rooms (room, version, expires) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version, expires = excluded.expires')
  const fields = sql('SELECT name, value FROM fields WHERE room = ?')
  const field = sql('SELECT value FROM fields WHERE room = ? AND name = ?')
  const setField = sql('INSERT INTO fields (room, name, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value')
  const removeField = sql('DELETE FROM fields WHERE room = ? AND name = ?')
  const expired = sql('SELECT room FROM rooms WHERE expires < ? LIMIT 100')
  const removeRoom = sql('DELETE FROM rooms WHERE room = ?')
  const removeFields = sql('DELETE FROM fields WHERE room = ?')
  const rooms = sql("SELECT rooms.room, value FROM rooms JOIN fields ON fields.room = rooms.room AND name = 'room' WHERE rooms.room > ? AND expires IS NULL ORDER BY rooms.room LIMIT ?")

  const addTarget = sql('INSERT INTO targets (id, url) VALUES (?, ?) ON CONFLICT DO UPDATE SET url = excluded.url')
  const allTargets = sql('SELECT id, url, pending, error FROM targets ORDER BY id')
  const targetState = sql(`SELECT coalesce((SELECT pending FROM targets WHERE id = :target), 0) AS pending,
    (SELECT queued FROM events WHERE target = :target ORDER BY seq LIMIT 1) AS oldest, (SELECT count(*) FROM dead) AS dead`)
  const count = sql('UPDATE targets SET pending = pending + ? WHERE id = ?')
  const setError = sql('UPDATE targets SET error = ? WHERE id = ?')
  const removeTarget = sql('DELETE FROM targets WHERE id = ?')

  const addEvent = sql('INSERT INTO events (target, room, id, queued, body) VALUES (?, ?, ?, ?, ?)')
  const head = sql('SELECT seq, id, queued, body, tries FROM events WHERE target = ? AND room = ? ORDER BY seq LIMIT 1')
  const setTries = sql('UPDATE events SET tries = ? WHERE seq = ?')
  const removeEvent = sql('DELETE FROM events WHERE seq = ?')
  const removeEvents = sql('DELETE FROM events WHERE target = ?')
  const oldest = sql('SELECT events.room FROM events JOIN lanes ON lanes.target = events.target AND lanes.room = events.room WHERE events.target = ? ORDER BY (lease IS NOT NULL), seq LIMIT 1')
  // A lane holds one room's events for one target. The column `turn` orders lanes that are due in the same millisecond.
  const nextTurn = '(SELECT coalesce(max(turn), 0) + 1 FROM lanes)'
  const addLane = sql(`INSERT INTO lanes (target, room, due, turn) VALUES (?, ?, ?, ${nextTurn}) ON CONFLICT DO NOTHING`)
  const dueLanes = sql('SELECT room FROM lanes WHERE target = ? AND due <= ? ORDER BY due, turn LIMIT ?')
  const leaseOf = sql('SELECT lease FROM lanes WHERE target = ? AND room = ?')
  const setLane = sql(`UPDATE lanes SET due = ?, lease = ?, turn = ${nextTurn} WHERE target = ? AND room = ?`)
  const removeLane = sql('DELETE FROM lanes WHERE target = ? AND room = ?')
  const removeLanes = sql('DELETE FROM lanes WHERE target = ?')

  const addDead = sql('INSERT INTO dead (id, target, room, event, body, tries, reason, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING')
  const trimDead = sql('DELETE FROM dead WHERE id IN (SELECT id FROM dead ORDER BY id LIMIT max(0, (SELECT count(*) FROM dead) - ?))')
  const deadPage = sql('SELECT id, target, room, body, tries, reason, at FROM dead WHERE id > ? ORDER BY id LIMIT ?')
  const countDead = sql('SELECT count(*) AS count FROM dead')
  const takeDead = sql('DELETE FROM dead WHERE id = ? RETURNING target, room, event, body')
  const targetExists = sql('SELECT 1 FROM targets WHERE id = ?')

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

  function stateOf (target: string): QueueState {
    const row = targetState.get({ target }) ?? {}
    return { pending: Number(row.pending), oldestAt: row.oldest === null ? undefined : Number(row.oldest), deadLetters: Number(row.dead) }
  }

  function append (target: string, room: string, { id, queuedAt, body }: { id: string, queuedAt: number, body: string }): void {
    addEvent.run(target, room, id, queuedAt, body)
    addLane.run(target, room, now())
    count.run(1, target)
  }

  /** Removes a lane's first event. The lane's next event becomes due immediately. */
  function removeHead (target: string, room: string, seq: number): void {
    removeEvent.run(seq)
    count.run(-1, target)
    if (head.get(target, room)) setLane.run(now(), null, target, room)
    else removeLane.run(target, room)
  }

  /** @returns the number of deleted dead letters */
  function bury (target: string, room: string, reason: string): number {
    const row = head.get(target, room)
    if (!row) return 0
    addDead.run(deadLetterId(String(row.id), target), target, room, String(row.id), String(row.body), Number(row.tries) + (reason === queueFull ? 0 : 1), reason, now())
    removeHead(target, room, Number(row.seq))
    return Number(trimDead.run(deadLetterLimit).changes)
  }

  function trimQueue (target: string, overflow: Overflow): void {
    for (let { pending } = stateOf(target); pending > queueLimit; pending--) {
      const row = oldest.get(target)
      if (!row) return
      overflow.deleted += bury(target, String(row.room), queueFull)
      overflow.moved++
    }
  }

  return {
    register: (targets) => failingClosed(() => transact(() => { for (const { id, shownUrl } of targets) addTarget.run(id, shownUrl) })),
    readRoom: (roomId, names) => failingClosed(() => {
      const rows = names ? names.map((name) => ({ name, value: field.get(roomId, name)?.value })) : fields.all(roomId)
      return {
        version: Number(version.get(roomId)?.version ?? 0),
        fields: new Map(rows.filter(({ value }) => value !== undefined).map(({ name, value }) => [String(name), String(value)]))
      }
    }),
    commitRoom: (commit, targets) => failingClosed(() => transact(() => {
      const { roomId, set, remove, ttlMs, events } = commit
      if (Number(version.get(roomId)?.version ?? 0) !== commit.version) return undefined
      setVersion.run(roomId, commit.version + 1, ttlMs === undefined ? null : now() + ttlMs)
      for (const name of remove) removeField.run(roomId, name)
      for (const [name, value] of set) setField.run(roomId, name, value)
      const overflow = { moved: 0, deleted: 0 }
      for (const target of targets) {
        for (const event of events) append(target, roomId, event)
        if (events.length > 0) trimQueue(target, overflow)
      }
      if (ttlMs !== undefined) {
        for (const { room } of expired.all(now())) {
          removeRoom.run(String(room))
          removeFields.run(String(room))
        }
      }
      return overflow
    })),
    listRooms: (after, limit) => failingClosed(() => rooms.all(after, limit).map((row) => ({ roomId: String(row.room), room: String(row.value) }))),
    take: (target, limit, leaseMs) => failingClosed(() => {
      const token = `${process}:${randomUUID()}`
      const at = now()
      const due = dueLanes.all(target, at, limit)
      // If no event is due, skip the transaction and its disk write.
      const deliveries = due.length === 0
        ? []
        : transact(() => due.flatMap(({ room }): Delivery[] => {
          const row = head.get(target, String(room))
          if (!row) return []
          setLane.run(at + leaseMs, token, target, String(room))
          return [{ roomId: String(room), event: { id: String(row.id), queuedAt: Number(row.queued), body: String(row.body) }, tries: Number(row.tries), token }]
        }))
      return { deliveries, ...stateOf(target) }
    }),
    settle: (target, { roomId, token, tries }, outcome) => failingClosed(() => transact(() => {
      if (leaseOf.get(target, roomId)?.lease !== token) return undefined
      const overflow = { moved: 0, deleted: 0 }
      const first = head.get(target, roomId)
      if (!first) return overflow
      if (outcome.to !== 'sent' && outcome.reason !== undefined) setError.run(JSON.stringify({ at: now(), reason: outcome.reason }), target)
      if (outcome.to === 'retry') {
        setLane.run(now() + outcome.delayMs, null, target, roomId)
        if (outcome.reason !== undefined) setTries.run(tries + 1, Number(first.seq))
      } else if (outcome.to === 'dead') overflow.deleted = bury(target, roomId, outcome.reason)
      else removeHead(target, roomId, Number(first.seq))
      return overflow
    })),
    queues: () => failingClosed(() => allTargets.all().map((row) => ({
      queue: String(row.id),
      shownUrl: String(row.url),
      pending: Number(row.pending),
      oldestAt: stateOf(String(row.id)).oldestAt,
      lastError: row.error === null ? undefined : JSON.parse(String(row.error)) as { at: number, reason: string }
    }))),
    deleteQueue: (target) => failingClosed(() => transact(() => {
      removeLanes.run(target)
      removeTarget.run(target)
      return Number(removeEvents.run(target).changes)
    })),
    countDeadLetters: () => failingClosed(() => Number(countDead.get()?.count)),
    listDeadLetters: (after, limit) => failingClosed(() => deadPage.all(after, limit).map((row) => ({
      id: String(row.id), queue: String(row.target), roomId: String(row.room), body: String(row.body), tries: Number(row.tries), reason: String(row.reason), deadAt: Number(row.at)
    }))),
    retryDeadLetters: (ids) => failingClosed(() => transact(() => {
      let moved = 0
      for (const id of ids) {
        const row = takeDead.get(id)
        if (!row) continue
        if (!targetExists.get(String(row.target))) addTarget.run(String(row.target), String(row.target))
        append(String(row.target), String(row.room), { id: String(row.event), queuedAt: now(), body: String(row.body) })
        moved++
      }
      return moved
    })),
    deleteDeadLetters: (ids) => failingClosed(() => transact(() => ids.filter((id) => takeDead.get(id) !== undefined).length)),
    async close () {
      if (database.isOpen) database.close()
    }
  }
}
