import { createHash } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { note } from './report.mjs'

/**
 * Runs `work` while no other process does so for the same checkout: a server
 * and the tests may be started in two terminals at once. A holder that died is
 * passed over.
 *
 * @template T
 * @param {string} root the checkout
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function alone (root, work) {
  const file = join(tmpdir(), `flylive-set-up-${createHash('sha256').update(root).digest('hex').slice(0, 16)}.lock`)
  let told = false
  while (!take(file)) {
    if (!told) note('waiting for another set-up of this checkout')
    told = true
    await delay(200)
  }
  const release = () => rmSync(file, { force: true })
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
 * @returns {boolean} whether this process has it now
 */
function take (file) {
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
  }
  if (runs(readHolder(file))) return false
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

/** @param {number} pid */
function runs (pid) {
  // Just taken: the number is not written yet.
  if (!(pid > 0)) return true
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return error.code === 'EPERM'
  }
}
