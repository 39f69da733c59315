import { spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import type { LaneAnswer, LaneRequest } from './test-lane.ts'
import type { Report } from './test-report.ts'

const root = resolve(import.meta.dirname, '..')
const program = join(import.meta.dirname, 'test-lane.ts')

/** They share a browser per process; two browsers are too much for two cores. */
const browsers = /^test\/(browser|features\/stage\/admin-page|docs\/first-steps|plugins\/contract\/pages)/

/** What they measure or change belongs to the process: its heap, its module cache, its working directory. */
const isolated = /^test\/(browser\/hot-reload|plugins\/features\/(leaks|fresh-code)|contract\/crowd|features\/laravel-bridge\/burst|client\/node-audio|docs\/writing-features)/

export interface LaneOptions {
  files: readonly string[]
  /** Processes at a time. */
  jobs: number
  /** How long a file may take, in milliseconds. */
  timeoutMs: number
  report: Report
}

export interface Run {
  /** Resolves once every process has ended; true when all ended with status 0. */
  ended: Promise<boolean>
  /** Ends all processes and what they have started. */
  stop (): void
}

/**
 * Runs test files in a few processes. Each takes the next file when it has
 * finished one, so that no core waits while there is work; the first takes the
 * browsers' files before others. A file that is isolated has a process of its own.
 */
export function runLanes ({ files, jobs, timeoutMs, report }: LaneOptions): Run {
  let left = [...files]
  const processes = new Set<{ kill (signal: NodeJS.Signals): void }>()

  /** Takes the next file out of those that are left. */
  function next (takesBrowsers: boolean, first: boolean): string | undefined {
    const file = left
      .filter((file) => (takesBrowsers || !browsers.test(file)) && (first || !isolated.test(file)))
      .sort((a, b) => Number(isolated.test(b)) - Number(isolated.test(a)) || Number(browsers.test(b)) - Number(browsers.test(a)))
      .at(0)
    left = left.filter((other) => other !== file)
    return file
  }

  async function runLane (takesBrowsers: boolean): Promise<boolean> {
    let good = true
    while (left.some((file) => takesBrowsers || !browsers.test(file))) good = await runProcess(takesBrowsers) && good
    return good
  }

  function runProcess (takesBrowsers: boolean): Promise<boolean> {
    // A process group of its own, so that stopping leaves nothing behind.
    const child = spawn(process.execPath, [program, String(timeoutMs)], {
      cwd: root,
      // Each process loads the same code. The files have timeouts, the process has none.
      env: { NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'compile'), ...process.env, TAP_TIMEOUT: '0' },
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      detached: true
    })
    const kill = (signal: NodeJS.Signals) => {
      try {
        process.kill(-(child.pid ?? 0), signal)
      } catch { /* It has ended. */ }
    }
    const handle = { kill }
    processes.add(handle)
    const { parser, close } = report.read()
    child.stdout?.pipe(parser)
    let blocked: NodeJS.Timeout | undefined
    let count = 0
    let alone = false
    child.on('message', (message: Partial<LaneRequest>) => {
      // tap sends messages of its own.
      if (message.next !== true) return
      clearTimeout(blocked)
      const file = alone ? undefined : next(takesBrowsers, count === 0)
      alone = file !== undefined && isolated.test(file)
      count++
      // Its own timeout cannot end a file that blocks the event loop.
      if (file !== undefined) blocked = setTimeout(kill, timeoutMs * 1.5, 'SIGKILL')
      child.send({ ...(file === undefined ? {} : { file }) } satisfies LaneAnswer, () => { /* 'close' reports a process that has ended. */ })
    })
    const { promise: ended, resolve } = Promise.withResolvers<boolean>()
    child.once('error', (error) => {
      console.error(error.message)
      resolve(false)
    })
    child.once('close', (code, signal) => {
      clearTimeout(blocked)
      processes.delete(handle)
      close({ exitCode: code, signal })
      // What it has started may be left.
      kill('SIGKILL')
      resolve(code === 0)
    })
    return ended
  }

  return {
    ended: Promise.all(Array.from({ length: jobs }, (_, index) => runLane(index === 0))).then((all) => all.every(Boolean)),
    stop () {
      left = []
      for (const { kill } of processes) {
        kill('SIGTERM')
        // A test that hangs ignores it.
        setTimeout(kill, 3000, 'SIGKILL').unref()
      }
    }
  }
}
