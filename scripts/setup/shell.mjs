import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { homedir } from 'node:os'

/**
 * Returns a path in the cache for downloads and builds (Node, the media worker). All checkouts of the project share
 * this cache. It is safe to delete.
 *
 * @param {...string} parts path inside the cache
 * @returns {string} absolute path
 */
export function cachePath (...parts) {
  const base = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  return join(base, 'flylive-audio-server', ...parts)
}

/**
 * @param {...string} names commands in order of preference
 * @returns {string | undefined} absolute path of the first of these commands that is on the PATH
 */
export function findCommand (...names) {
  for (const name of names) {
    for (const folder of (process.env.PATH || '').split(delimiter)) {
      const path = join(folder, name)
      try {
        accessSync(path, constants.X_OK)
        return path
      } catch {}
    }
  }
}

/**
 * Runs a command until the command exits. The output is not printed, but if the command fails, the error contains the
 * output.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnOptions & { onLine?: (line: string) => void }} [options]
 * @returns {Promise<string>} stdout and stderr combined
 * @throws if the command does not start or its exit code is not 0
 */
export function run (command, args, { onLine, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
    let output = ''
    let rest = ''
    const take = (chunk) => {
      output += chunk
      if (!onLine) return
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      lines.forEach((line) => onLine(line))
    }
    child.stdout?.setEncoding('utf8').on('data', take)
    child.stderr?.setEncoding('utf8').on('data', take)
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code === 0) return resolve(output)
      const tail = output.trim().split('\n').slice(-25).join('\n')
      reject(new Error(`${command} ${args.join(' ')} exited with ${signal ?? code}\n${tail}`))
    })
  })
}
