import { createHash } from 'node:crypto'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { note } from './report.mjs'

// Locks held by this process. Containers reuse process ids: if a lock file contains this process's id but is not in
// this set, an earlier run left the file behind.
const held = new Set()

// If a lock file contains no process id, a process may still be writing the file. After this time, in milliseconds,
// such a file is stale.
const writtenWithinMs = 5000

/**
 * Runs `work` while holding a lock for the checkout, because a server and the tests may start in two terminals at the
 * same time. Ignores the lock of a dead process.
 *
 * @template T
 * @param {string} root the checkout
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withSetupLock (root, work) {
  const file = join(tmpdir(), `flylive-set-up-${createHash('sha256').update(root).digest('hex').slice(0, 16)}.lock`)
  let noted = false
  while (!take(file)) {
    if (!noted) note('waiting for another setup of this checkout')
    noted = true
    await delay(200)
  }
  held.add(file)
  const release = () => {
    held.delete(file)
    rmSync(file, { force: true })
  }
  process.once('exit', release)
  try {
    return await work()
  } finally {
    release()
    process.removeListener('exit', release)
  }
}

/**
 * @param {string} file
 * @returns {boolean} whether this process has acquired the lock
 */
function take (file) {
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
  }
  const holder = readHolder(file)
  if (holder === process.pid ? held.has(file) : holder > 0 ? runs(holder) : isFresh(file)) return false
  rmSync(file, { force: true })
  return take(file)
}

/** @param {string} file */
function readHolder (file) {
  try {
    return Number(readFileSync(file, 'utf8'))
  } catch {
    return NaN
  }
}

/** @param {string} file */
function isFresh (file) {
  const { mtimeMs } = statSync(file, { throwIfNoEntry: false }) ?? { mtimeMs: 0 }
  return Date.now() - mtimeMs < writtenWithinMs
}

/** @param {number} pid */
function runs (pid) {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return error.code === 'EPERM'
  }
}
