// Runs the tests and ends with what they came to.
//
//   npm test [-- FILTER ...]            test/**/*.test.ts
//   npm run test:long [-- FILTER ...]   test/**/*.long.ts: soaks, an hour each at most
//
// A filter is a part of a path. The last line is always "N passed, N failed",
// with ", N skipped" when some were; the status is 0 only when something ran
// and nothing failed. Everything tap leaves behind is in .tap/ (and its build
// in node_modules).
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
// @ts-expect-error The set-up is plain JavaScript: it runs before anything is installed.
import { alone } from './setup/lock.mjs'
import { createReport, describeTotals } from './test-report.ts'
import type { Report, Totals } from './test-report.ts'

const root = resolve(import.meta.dirname, '..')
const tap = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')

/** Counts what is made up because this machine is busy: the fewer run beside it, the better. */
const sensitive = /^test\/browser\/hot-reload/
const browsers = /^test\/(browser|features\/stage|docs\/first-steps)/

const { values: { long }, positionals: filters } = parseArgs({
  options: { long: { type: 'boolean', default: false } },
  allowPositionals: true
})

const files = globSync(long ? 'test/**/*.long.ts' : 'test/**/*.test.ts', { cwd: root })
  .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter.replace(/^\.\//, ''))))
  .sort()

if (files.length === 0) {
  console.error(filters.length ? `No test file has ${filters.join(' or ')} in its path.` : 'There are no test files.')
  finish({ passed: 0, failed: 0, skipped: 0 }, 1)
}
await alone(root, async () => buildTap())
await runAll()

/**
 * Builds tap with the plugins that .taprc leaves in. tap would do so itself,
 * but only after its runner has started with the old ones, so that the first
 * run would load a TypeScript compiler into every test. The stamp lies where
 * the build does, and goes with it. Two builds at a time would spoil each other.
 */
function buildTap (): void {
  const test = join(root, 'node_modules', '@tapjs', 'test')
  const stamp = join(test, 'test-built', '.taprc-hash')
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, '.taprc')))
    .update(readFileSync(join(test, 'package.json')))
    .digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  console.error('Building tap without its TypeScript plugin, once …')
  const { status } = spawnSync(process.execPath, [tap, 'build'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error(`tap build ended with ${status}`)
  writeFileSync(stamp, wanted)
}

/**
 * Runs all files and ends this process. When a file does not end in time, tap
 * takes its second verdict on it for that on another file and leaves that one
 * out: what has had no verdict is run again.
 */
async function runAll (): Promise<void> {
  const report = createReport({ write: (text) => process.stdout.write(text), live: long })
  const { totals } = report
  let good = true
  let stopped = false
  let left = files
  while (left.length > 0 && !stopped) {
    const runs = new Set<Run>()
    const stop = () => {
      stopped = true
      for (const run of runs) run.stop()
    }
    const runLane = async ({ files, jobs, then = [] }: Lane): Promise<boolean> => {
      if (stopped) return false
      const run = runTap(files, jobs, report)
      runs.add(run)
      const good = await run.ended
      runs.delete(run)
      return (await Promise.all(then.map(runLane))).every(Boolean) && good
    }
    // A terminal's Ctrl-C reaches this process only; whoever started it may
    // vanish without a signal.
    const events = ['SIGINT', 'SIGTERM', 'SIGHUP', 'disconnect'] as const
    for (const event of events) process.on(event, stop)
    good = (await Promise.all(lanes(left).map(runLane))).every(Boolean) && good
    for (const event of events) process.off(event, stop)
    const before = left.length
    left = left.filter((file) => !report.files.has(file))
    if (left.length === before) break
  }
  report.end()
  if (left.length > 0) console.log(`Without a verdict: ${left.join(' ')}`)
  good &&= left.length === 0 && totals.failed === 0 && totals.passed > 0
  // Whatever went wrong, the last line must not look like success.
  if (!good && totals.failed === 0) totals.failed = 1
  finish(totals, good ? 0 : 1)
}

/** Files that run so many at a time, and what begins once they have ended. */
interface Lane {
  files: string[]
  jobs: number
  then?: Lane[]
}

/** What runs side by side. Two browsers at a time are too much for two cores; of the others much is waiting. */
function lanes (files: string[]): Lane[] {
  if (long) return [{ files, jobs: 1 }]
  const take = (pattern: RegExp) => {
    const taken = files.filter((file) => pattern.test(file))
    files = files.filter((file) => !taken.includes(file))
    return taken
  }
  const some = (lanes: Lane[]) => lanes.filter(({ files }) => files.length > 0)
  const first = take(sensitive)
  const then = some([{ files: take(browsers), jobs: 1 }])
  return some([...(first.length > 0 ? [{ files: first, jobs: 1, then }] : then), { files, jobs: 2 }])
}

interface Run {
  ended: Promise<boolean>
  stop (): void
}

/** Runs tap in a process group of its own, so that stopping leaves nothing behind. */
function runTap (files: string[], jobs: number, report: Report): Run {
  const limits = [`--jobs=${jobs}`, ...(long ? ['--timeout=3600'] : [])]
  const child = spawn(process.execPath, [tap, '--reporter=tap', ...limits, ...files], {
    cwd: root,
    // Each file is a process of its own, and they all load the same code.
    env: { NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'compile'), ...process.env },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true
  })
  const parser = report.parser()
  child.stdout.pipe(parser)
  const { promise: ended, resolve } = Promise.withResolvers<boolean>()
  child.once('error', (error) => {
    console.error(error.message)
    resolve(false)
  })
  child.once('close', (code) => resolve(code === 0))

  const kill = (signal: NodeJS.Signals) => {
    try {
      process.kill(-(child.pid ?? 0), signal)
    } catch { /* It has ended. */ }
  }
  return {
    ended,
    stop () {
      kill('SIGTERM')
      // A test that hangs hangs on.
      setTimeout(() => kill('SIGKILL'), 3000).unref()
    }
  }
}

function finish (totals: Totals, status: number): never {
  console.log(describeTotals(totals))
  process.exit(status)
}
