import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'

const root = join(import.meta.dirname, '..', '..')

/**
 * Runs a script of this checkout with Node.
 *
 * @returns the exit code and output
 */
export async function run (file: string, args: string[], cwd = root) {
  const { TEST_WITHOUT, ...env } = process.env
  const child = spawn(process.execPath, [resolve(root, file), ...args], { cwd, env: { ...env, INIT_CWD: cwd }, stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => { out += String(chunk) })
  child.stderr.on('data', (chunk) => { err += String(chunk) })
  const [status] = await once(child, 'close') as [number]
  return { status, out, err }
}

/** Runs `npm run feature:new`. */
export const featureNew = (args: string[], cwd?: string) => run('scripts/feature-new.ts', args, cwd)
