import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createClock } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { failClosed } from '../errors/fail-closed.ts'
import { makeWritable, orStartError } from './folder.ts'
import { expiryTime, oncePerName } from './kv.ts'
import type { Expiry, KeyValue, Namespace } from './kv.ts'

const schema = 'CREATE TABLE IF NOT EXISTS kv (namespace TEXT, key TEXT, value TEXT NOT NULL, expires_at INTEGER, PRIMARY KEY (namespace, key)) STRICT, WITHOUT ROWID'
const alive = '(expires_at IS NULL OR expires_at > ?)'
const sweepIntervalMs = 60_000

/**
 * @param folder the folder that contains the SQLite file
 * @throws {StartError} if the server cannot write to the folder or the file
 */
function openFile (folder: string) {
  makeWritable(folder)
  const path = join(folder, 'kv.sqlite')
  const file = orStartError(`Cannot use ${resolve(path)}`, () => {
    const file = new DatabaseSync(path)
    // In WAL mode, a completed write survives a crash of the process. `synchronous = NORMAL` avoids a disk flush for
    // each write.
    file.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; ${schema}`)
    return file
  })
  return {
    close: () => file.close(),
    select: file.prepare(`SELECT value FROM kv WHERE namespace = ? AND key = ? AND ${alive}`),
    keys: file.prepare(`SELECT key FROM kv WHERE namespace = ? AND ${alive}`),
    upsert: file.prepare('INSERT INTO kv (namespace, key, value, expires_at) VALUES (?, ?, ?, ?) ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at'),
    remove: file.prepare(`DELETE FROM kv WHERE namespace = ? AND key = ? AND ${alive}`),
    sweep: file.prepare('DELETE FROM kv WHERE expires_at <= ?')
  }
}

function createNamespace (file: ReturnType<typeof openFile>, clock: Clock, name: string): Namespace {
  const read = (key: string) => file.select.get(name, key, clock.now())?.value as string | undefined
  const write = (key: string, value: string, expiry?: Expiry) => { file.upsert.run(name, key, value, expiryTime(expiry, clock) ?? null) }
  return {
    get: async (key) => read(key),
    getMany: async (keys) => keys.map(read),
    set: async (key, value, expiry) => write(key, value, expiry),
    async compareAndSet (key, expected, value, expiry) {
      if (read(key) !== expected) return false
      write(key, value, expiry)
      return true
    },
    delete: async (key) => Number(file.remove.run(name, key, clock.now()).changes) > 0,
    list: async () => file.keys.all(name, clock.now()).map((row) => String(row.key))
  }
}

/**
 * The key-value store of a single server, kept in a SQLite file.
 *
 * @param folder the folder that contains the SQLite file
 * @param failed called if a periodic sweep fails to delete expired values. Reads still return no expired values, and a
 *   later sweep deletes them
 */
export function createMemoryKeyValue (folder: string, clock: Clock = createClock(), failed: (error: unknown) => void = () => {}): KeyValue {
  const file = openFile(folder)
  function sweep (): void {
    try {
      file.sweep.run(clock.now())
    } catch (error) {
      failed(error)
    }
  }
  sweep()
  const timer = setInterval(sweep, sweepIntervalMs).unref()
  const namespaceOf = (name: string) => failClosed(createNamespace(file, clock, name), 'The server cannot read or write its data')
  return {
    namespace: oncePerName(namespaceOf),
    plainKeys: oncePerName(namespaceOf),
    close () {
      clearInterval(timer)
      file.close()
    }
  }
}
