import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const script = join(import.meta.dirname, '..', '..', 'scripts', 'features.ts')

/**
 * Runs `npm run features` in a folder, with the variables of `env` and Node's compile cache.
 *
 * @returns the exit code and output
 */
export async function run (cwd: string, args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [script, ...args], { cwd, env: { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => { out += String(chunk) })
  child.stderr.on('data', (chunk) => { err += String(chunk) })
  const [status] = await once(child, 'close') as [number]
  return { status, out, err }
}
