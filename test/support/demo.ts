import { execFileSync, fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import type { Test } from 'tap'
import { gcOptions } from '../../scripts/test-lanes.ts'
import { until } from './retry.ts'

const root = resolve(import.meta.dirname, '../..')

/** `npm run demo` as a separate process. */
export interface Demo {
  child: ChildProcess
  output (): string
  exit: Promise<number | null>
}

/** Starts the demo on a free port and kills it after the test. */
export function startDemo (t: Test, args: readonly string[], env: Record<string, string> = {}): Demo {
  const child = fork(join(root, 'scripts/demo.ts'), [...args], {
    env: { ...process.env, TMPDIR: t.testdir({}), PORT: '0', FEATURES_WATCH: 'false', MEDIASOUP_RTC_MIN_PORT: String(20_000 + process.pid % 20_000), ...env },
    execArgv: [...gcOptions],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc']
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const exit = once(child, 'exit').then(([code]) => code as number | null)
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
  })
  return { child, output: () => output, exit }
}

/**
 * Waits until the talkers have joined.
 *
 * @returns the URL, room and admin key that the demo prints
 */
export async function ready (demo: Demo): Promise<{ url: string, room: string, adminKey: string }> {
  const found = () => /(?<url>http:\S+:\d+)\/#room=(?<room>\S+)[^]*key: (?<adminKey>\S+)/.exec(demo.output())
  // On a busy machine, two parallel demos start slowly.
  await Promise.race([until(() => found() !== null, 60_000), demo.exit.then(() => { throw new Error(demo.output()) })])
  const { url = '', room = '', adminKey = '' } = found()?.groups ?? {}
  return { url: url.replace('localhost', '127.0.0.1'), room, adminKey }
}

/** @returns the ids of a process and its descendants */
export function familyOf (pid: number): number[] {
  const parents = execFileSync('ps', ['-A', '-o', 'pid=,ppid=']).toString().trim().split('\n').map((line) => line.trim().split(/\s+/).map(Number))
  const family = [pid]
  for (const member of family) family.push(...parents.filter(([, parent]) => parent === member).map(([child]) => child ?? 0))
  return family
}

/** Whether a process is running. */
export function lives (pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
