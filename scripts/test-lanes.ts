import { spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { LaneAnswer, LaneRequest } from './test-lane.ts'
import type { Report } from './test-report.ts'

const root = resolve(import.meta.dirname, '..')
const program = join(import.meta.dirname, 'test-lane.ts')
/**
 * Node's options for test processes and the servers that they start. The tests use all cores, so parallel garbage
 * collection only adds CPU time. With these options, starting a server takes a sixth less CPU time.
 */
export const gcOptions: readonly string[] = ['--min-semi-space-size=16', '--max-semi-space-size=64', '--single-threaded-gc']
/** Node's options for test processes. `--import` loads a module that cheaply attributes uncaught errors to tests. */
const nodeOptions = ['--import', pathToFileURL(join(import.meta.dirname, 'test-domain.ts')).href, ...gcOptions]

/**
 * Files that use a browser. While other files remain, only one process runs these files, because two browsers at a time
 * are too much for two cores.
 */
const browsers = /^test\/(browser|features\/stage\/admin-page|docs\/first-steps|features\/docs\/pages)/

/** Files that measure or change the state of the test process: the heap, the module cache or the working directory. */
const isolated = /^test\/(plugins\/features\/(leaks|fresh-code)|contract\/crowd|features\/laravel-bridge\/burst|client\/node-audio|docs\/writing-features)/

/**
 * Long files that mostly wait for child processes. These files start early, so that none of them runs alone at the end.
 */
const long = /^test\/(scripts|server|deploy|client\/package|features\/(matrix|gifts\/chaos|seats\/model|laravel-bridge\/status))/

export interface LaneOptions {
  files: readonly string[]
  /** Maximum number of concurrent processes. */
  jobs: number
  /** Timeout per file, in milliseconds. */
  timeoutMs: number
  report: Report
}

export interface Run {
  /** Resolves when every process has exited: with true if all exited with 0. */
  ended: Promise<boolean>
  /** Kills all processes and their descendants. */
  stop (): void
}

/**
 * Runs test files in several processes. When a process finishes a file, it requests the next file, so that no core is
 * idle while files are left. The first process runs the browser files before the other files; the second process also
 * takes browser files when only browser files are left. Each isolated file runs in a new process.
 */
export function runLanes ({ files, jobs, timeoutMs, report }: LaneOptions): Run {
  let left = [...files]
  const processes = new Set<{ kill (signal: NodeJS.Signals): void }>()

  /**
   * Whether a lane is allowed to run a file now. A lane is one of the `jobs` concurrent processes, or a process that
   * replaced one.
   */
  const mayRun = (lane: number, file: string) => !browsers.test(file) || lane === 0 || (lane === 1 && left.every((other) => browsers.test(other)))

  /** Chooses the next file for a lane and removes it from the remaining files. */
  function next (lane: number, first: boolean): string | undefined {
    const kinds = [isolated, browsers, long]
    const rank = (file: string) => kinds.some((kind) => kind.test(file)) ? kinds.findIndex((kind) => kind.test(file)) : kinds.length
    const file = left
      .filter((file) => mayRun(lane, file) && (first || !isolated.test(file)))
      .sort((a, b) => rank(a) - rank(b))
      .at(0)
    left = left.filter((other) => other !== file)
    return file
  }

  async function runLane (lane: number): Promise<boolean> {
    let good = true
    while (left.some((file) => mayRun(lane, file))) good = await runProcess(lane) && good
    return good
  }

  function runProcess (lane: number): Promise<boolean> {
    // Start each process in its own process group so that `stop()` also kills its descendants.
    const child = spawn(process.execPath, [...nodeOptions, program, String(timeoutMs)], {
      cwd: root,
      // The processes load the same code, so they share a compile cache. Timeouts apply per file, not per process.
      env: { NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'compile'), ...process.env, TAP_TIMEOUT: '0' },
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      detached: true
    })
    const kill = (signal: NodeJS.Signals) => {
      try {
        process.kill(-(child.pid ?? 0), signal)
      } catch { /* The process has exited. */ }
    }
    const handle = { kill }
    processes.add(handle)
    const { parser, close } = report.read()
    child.stdout?.pipe(parser)
    let blocked: NodeJS.Timeout | undefined
    let count = 0
    let alone = false
    child.on('message', (message: Partial<LaneRequest>) => {
      // Ignore tap's own messages.
      if (message.next !== true) return
      clearTimeout(blocked)
      const file = alone ? undefined : next(lane, count === 0)
      alone = file !== undefined && isolated.test(file)
      count++
      // This timer is needed because the file's own timeout does not fire while the file blocks the event loop. A
      // process without a next file must exit within 30 s.
      blocked = setTimeout(kill, file === undefined ? 30_000 : timeoutMs * 1.5, 'SIGKILL')
      child.send({ ...(file === undefined ? {} : { file }) } satisfies LaneAnswer, () => { /* Ignore an error: the event 'close' reports that the process has exited. */ })
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
      // Kill descendants that are still running.
      kill('SIGKILL')
      resolve(code === 0)
    })
    return ended
  }

  return {
    ended: Promise.all(Array.from({ length: jobs }, (_, index) => runLane(index))).then((all) => all.every(Boolean)),
    stop () {
      left = []
      for (const { kill } of processes) {
        kill('SIGTERM')
        // A hanging test ignores the first signal.
        setTimeout(kill, 3000, 'SIGKILL').unref()
      }
    }
  }
}
