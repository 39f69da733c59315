import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** Keys remembered until a time. */
export interface Marks {
  set (key: string, until: number): void
  /** @returns epoch milliseconds, or undefined when the key is not remembered (any more) */
  get (key: string): number | undefined
  delete (key: string): boolean
  /** Removes what is over. */
  sweep (now: number): void
  close (): void
}

/**
 * Marks for the embedded store: bans and revoked tokens, which must outlive a
 * crash once they were acknowledged. They are few, so all are held in memory
 * and the file is only written.
 *
 * @param folder where the file is kept
 */
export function createMarks (folder: string): Marks {
  mkdirSync(folder, { recursive: true })
  const file = new DatabaseSync(join(folder, 'marks.sqlite'))
  // In WAL mode a write is in the file when the call returns, also when the
  // process is killed right after; NORMAL spares the disk a flush each time.
  file.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE IF NOT EXISTS marks (key TEXT PRIMARY KEY, until INTEGER NOT NULL) STRICT')
  const removeOver = file.prepare('DELETE FROM marks WHERE until <= ?')
  removeOver.run(Date.now())
  const marks = new Map(file.prepare('SELECT key, until FROM marks').all().map((row) => [String(row.key), Number(row.until)]))
  const insert = file.prepare('INSERT INTO marks (key, until) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET until = excluded.until')
  const remove = file.prepare('DELETE FROM marks WHERE key = ?')

  return {
    set (key, until) {
      insert.run(key, until)
      marks.set(key, until)
    },
    get (key) {
      const until = marks.get(key)
      if (until === undefined || until > Date.now()) return until
      remove.run(key)
      marks.delete(key)
    },
    delete (key) {
      const there = this.get(key) !== undefined
      remove.run(key)
      marks.delete(key)
      return there
    },
    sweep (now) {
      if (Number(removeOver.run(now).changes) === 0) return
      for (const [key, until] of marks) if (until <= now) marks.delete(key)
    },
    close () {
      file.close()
    }
  }
}
