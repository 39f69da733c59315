import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** Short texts by book and key, in a file. */
export interface Notes {
  get (book: string, key: string): string | undefined
  /** @param text undefined forgets it */
  set (book: string, key: string, text: string | undefined): void
  keys (book: string): string[]
  close (): void
}

/**
 * Notes for the embedded store: what must be known after a crash of what was
 * going on before it.
 *
 * @param folder where the file is kept
 */
export function createNotes (folder: string): Notes {
  mkdirSync(folder, { recursive: true })
  const file = new DatabaseSync(join(folder, 'notes.sqlite'))
  // As for marks: written when the call returns, also when the process is killed.
  file.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE IF NOT EXISTS notes (book TEXT, key TEXT, text TEXT NOT NULL, PRIMARY KEY (book, key)) STRICT, WITHOUT ROWID')
  const select = file.prepare('SELECT text FROM notes WHERE book = ? AND key = ?')
  const list = file.prepare('SELECT key FROM notes WHERE book = ?')
  const insert = file.prepare('INSERT INTO notes (book, key, text) VALUES (?, ?, ?) ON CONFLICT (book, key) DO UPDATE SET text = excluded.text')
  const remove = file.prepare('DELETE FROM notes WHERE book = ? AND key = ?')

  return {
    get: (book, key) => select.get(book, key)?.text as string | undefined,
    set (book, key, text) {
      if (text === undefined) remove.run(book, key)
      else insert.run(book, key, text)
    },
    keys: (book) => list.all(book).map((row) => String(row.key)),
    close: () => file.close()
  }
}
