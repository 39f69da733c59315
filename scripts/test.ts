// Runs the tests and exits with the result.
//
//   npm test [-- FILTER ...]            test/**/*.test.ts
//   npm run test:long [-- FILTER ...]   test/**/*.long.ts: long runs, up to an hour each
//
// A filter is any part of a file's path. The last line is always "N passed, N failed", plus
// ", N skipped" if any were skipped. Exits with 0 only if a test ran and none failed.
// tap writes its files to .tap/ and its build to node_modules.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
// @ts-expect-error The setup is plain JavaScript because it runs before any package is installed.
import { withSetupLock } from './setup/lock.mjs'
import { runLanes } from './test-lanes.ts'
import type { Run } from './test-lanes.ts'
import { createReport, describeTotals } from './test-report.ts'
import type { Totals } from './test-report.ts'

const root = resolve(import.meta.dirname, '..')
const tap = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')

/** Number of concurrent processes. The number is higher than the number of cores, because tests often wait. */
const jobs = 5

const { values: { long }, positionals: filters } = parseArgs({
  options: { long: { type: 'boolean', default: false } },
  allowPositionals: true
})

const files = globSync(long ? 'test/**/*.long.ts' : 'test/**/*.test.ts', { cwd: root })
  .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter.replace(/^\.\//, ''))))
  .sort()

if (files.length === 0) {
  console.error(filters.length ? `No test file has a path that contains ${filters.join(' or ')}.` : 'There are no test files.')
  finish({ passed: 0, failed: 0, skipped: 0 }, 1)
}
await withSetupLock(root, async () => buildTap())
await runAll()

/**
 * Builds tap with the plugins listed in .taprc. tap builds itself only after its runner has started with the old
 * plugins, so the first run would load a TypeScript compiler into every test. The stamp file is in the build folder, so
 * that both are deleted together. The lock prevents concurrent builds from corrupting each other.
 */
function buildTap (): void {
  const test = join(root, 'node_modules', '@tapjs', 'test')
  const stamp = join(test, 'test-built', '.taprc-hash')
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, '.taprc')))
    .update(readFileSync(join(test, 'package.json')))
    .digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  console.error('Building tap without its TypeScript plugin (needed only once) …')
  const { status } = spawnSync(process.execPath, [tap, 'build'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error(`tap build exited with ${status}`)
  writeFileSync(stamp, wanted)
}

/** Runs all files and exits this process. If a test process crashes, the remaining files run in another process. */
async function runAll (): Promise<void> {
  const report = createReport({ write: (text) => process.stdout.write(text), live: long })
  const { totals } = report
  let good = true
  let run: Run | undefined
  let left = files
  const stop = () => {
    left = []
    run?.stop()
  }
  // The children are in their own process groups, so Ctrl-C reaches only this process. The parent process may also exit
  // without sending a signal.
  for (const event of ['SIGINT', 'SIGTERM', 'SIGHUP', 'disconnect'] as const) process.on(event, stop)
  while (left.length > 0) {
    run = runLanes({ files: left, jobs: long ? 1 : jobs, timeoutMs: long ? 3_600_000 : 180_000, report })
    good = await run.ended && good
    const before = left.length
    left = left.filter((file) => !report.files.has(file))
    if (left.length === before) break
  }
  report.end()
  if (left.length > 0) console.log(`Not completed: ${left.join(' ')}`)
  good &&= left.length === 0 && totals.failed === 0 && totals.passed > 0
  // The last line must report a failure, even if no assertion failed.
  if (!good && totals.failed === 0) totals.failed = 1
  finish(totals, good ? 0 : 1)
}

function finish (totals: Totals, status: number): never {
  console.log(describeTotals(totals))
  process.exit(status)
}
