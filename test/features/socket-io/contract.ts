import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..', '..', '..')

export interface RunResult {
  passed: number
  /** The failures; empty if there are none. */
  failures: string
}

/**
 * Runs test files in one process, with test clients that speak through socket.io-client.
 *
 * @param files paths relative to the project's folder
 */
export async function runOverSocketIo (files: readonly string[]): Promise<RunResult> {
  const program = 'for (const file of process.argv.slice(1)) await import(file)'
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, ...files.map((file) => join(root, file))], {
    cwd: root,
    env: { ...process.env, TEST_FACE: 'socket.io', TAP_TIMEOUT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A file that hangs must not hide the results of the others.
    timeout: 300_000,
    killSignal: 'SIGKILL'
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { output += String(chunk) })
  const [code] = await once(child, 'close')
  const passed = output.match(/^ *ok /gm)?.length ?? 0
  const failures = output.split('\n').filter((line) => /not ok|Error|code:|message/.test(line)).join('\n') || output
  return { passed, failures: code === 0 && passed > 0 ? '' : failures }
}
