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
 * Runs test files with test clients that use socket.io-client.
 *
 * @param files paths relative to the project's folder
 */
export async function runOverSocketIo (files: readonly string[]): Promise<RunResult> {
  const child = spawn(process.execPath, [join(root, 'scripts', 'test.ts'), ...files], {
    cwd: root,
    env: { ...process.env, TEST_FACE: 'socket.io' },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { output += String(chunk) })
  const [code] = await once(child, 'close')
  const passed = Number(/^(\d+) passed, \d+ failed/.exec(output.trimEnd().split('\n').at(-1) ?? '')?.[1] ?? 0)
  return { passed, failures: code === 0 && passed > 0 ? '' : output }
}
