import { accessSync, constants, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { StartError } from '../../config/error.ts'

/** Result code of SQLite: another connection holds the lock. */
const busy = 5

/**
 * @param what the start of the error message, before the reason
 * @throws {StartError} if the call fails
 */
export function orStartError<T> (what: string, call: () => T): T {
  try {
    return call()
  } catch (cause) {
    if (cause instanceof StartError) throw cause
    throw new StartError(`${what}: ${(cause as Error).message}`, { cause })
  }
}

/** @throws {StartError} if the folder cannot be created or written to */
export function makeWritable (folder: string): void {
  orStartError(`Cannot write to DATA_DIR (${resolve(folder)})`, () => {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
  })
}

/**
 * Locks the folder for this server. The operating system releases the lock when the process ends, even if it is killed.
 *
 * @returns a function that releases the lock; undefined if another server has locked the folder
 * @throws {StartError} if the server cannot write to the folder
 */
export function claimFolder (folder: string): (() => void) | undefined {
  makeWritable(folder)
  const path = join(folder, 'server.lock')
  return orStartError(`Cannot use ${resolve(path)}`, () => {
    const file = new DatabaseSync(path)
    try {
      file.exec('BEGIN EXCLUSIVE')
      return () => file.close()
    } catch (error) {
      file.close()
      if ((error as { errcode?: number }).errcode !== busy) throw error
    }
  })
}
