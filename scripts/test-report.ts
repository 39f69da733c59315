import { inspect } from 'node:util'
import { Parser } from 'tap-parser'
import type { Result } from 'tap-parser'

/** What a run came to, in tap's counting: every assertion is one, and so is a file that failed without any. */
export interface Totals {
  passed: number
  failed: number
  /** Skipped or marked as still to do. */
  skipped: number
}

export interface ReportOptions {
  write: (text: string) => void
  /** Show what passing files print, as it comes: for runs that take long. */
  live?: boolean
}

export interface Report {
  readonly totals: Totals
  /** Files that have had their verdict. */
  readonly files: ReadonlySet<string>
  /** Reads the output of one process that runs files. */
  read (): Reader
  /** Lists what failed. */
  end (): void
}

/** Where the output of a process goes. */
export interface Reader {
  /** To pipe its output to. */
  parser: Parser
  /** Fails the file that was running when the process ended, if one was. */
  close (exit: { exitCode: number | null, signal: string | null }): void
}

/** What is read of a verdict on an assertion or a file. */
type Verdict = Pick<Result, 'ok' | 'name' | 'diag' | 'time'> & Partial<Pick<Result, 'fullname' | 'skip' | 'todo'>>

/** One test file, from its first line to its verdict. */
interface File extends Totals {
  name: string
  failures: Verdict[]
  noise: string[]
}

/**
 * Turns tap's output into one line per file, with the details of each failure
 * under it, and a list of the failures at the end.
 *
 * The reporters of tap redraw the screen, which leaves a log full of control
 * characters.
 */
export function createReport ({ write, live = false }: ReportOptions): Report {
  const totals: Totals = { passed: 0, failed: 0, skipped: 0 }
  const files = new Set<string>()
  const failed: string[] = []

  function read (): Reader {
    let file: File | undefined
    const created = new Parser()
    created.on('child', (child: Parser) => {
      file = { name: child.name, passed: 0, failed: 0, skipped: 0, failures: [], noise: [] }
      if (live) showComments(child, write)
    })
    // Every assertion at any depth; the verdict on a file comes as 'assert'.
    created.on('result', (result: Result) => {
      if (!file || result.fullname === result.name) return
      if (result.skip || result.todo) file.skipped++
      else if (result.ok) file.passed++
      else {
        file.failed++
        file.failures.push(result)
      }
    })
    created.on('extra', (text: string) => {
      if (!file || live) write(text)
      else file.noise.push(text)
    })
    created.on('assert', (verdict: Result) => {
      conclude(verdict, file ?? { name: verdict.name, passed: 0, failed: 0, skipped: 0, failures: [], noise: [] })
      file = undefined
    })
    created.on('bailout', (reason: string) => write(`Bail out! ${reason}\n`))
    return {
      parser: created,
      close (exit) {
        if (file) conclude({ ok: false, name: file.name, diag: exit, time: null }, file)
        file = undefined
      }
    }
  }

  function conclude (verdict: Verdict, { name, failures, noise, ...counts }: File): void {
    const skipped = Boolean(verdict.skip || verdict.todo)
    if (skipped) counts.skipped++
    // The file failed outside of its assertions.
    else if (!verdict.ok && failures.length === 0) {
      counts.failed++
      failures.push(verdict)
    }
    files.add(name)
    totals.passed += counts.passed
    totals.failed += counts.failed
    totals.skipped += counts.skipped
    write(`${counts.failed ? '✖' : skipped ? '-' : '✔'} ${name}: ${describeTotals(counts)} (${seconds(verdict.time)})\n`)
    for (const failure of failures) {
      const what = failure !== verdict
        ? failure.fullname?.slice(name.length + 3)
        : 'failed outside of its assertions'
      failed.push(`${name} > ${what}`)
      write(indent(`✖ ${what}\n${indent(describe(failure), 2)}`.trimEnd(), 4) + '\n\n')
    }
    if (failures.length && noise.length) write(indent(`It printed:\n${indent(noise.join('').trimEnd(), 2)}`, 4) + '\n\n')
  }

  return {
    totals,
    files,
    read,
    end () {
      if (failed.length) write(`\nFailed:\n${failed.map((name) => `  ${name}\n`).join('')}`)
    }
  }
}

/** @returns `N passed, N failed`, and `, N skipped` when some were: the form of the last line of every run */
export function describeTotals ({ passed, failed, skipped }: Totals): string {
  return `${passed} passed, ${failed} failed` + (skipped ? `, ${skipped} skipped` : '')
}

/** Where it failed, what differs, and whatever else the assertion says. */
function describe (failure: Verdict): string {
  const { at, diff, source, stack, expired, ...others } = (failure.diag ?? {}) as Record<string, unknown>
  const place = at as { fileName?: string, lineNumber?: number, columnNumber?: number } | undefined
  const details = Object.entries(others)
    .filter(([key, value]) => value !== null && key !== 'jobId')
    .map(([key, value]) => `${key}: ${typeof value === 'string' ? value : inspect(value, { depth: 6, breakLength: 100 })}`)
  return [
    place?.fileName && `at ${place.fileName}:${place.lineNumber}:${place.columnNumber}`,
    diff,
    ...details,
    source,
    stack
  ].filter((part) => typeof part === 'string' && part !== '').map((part) => String(part).trimEnd()).join('\n')
}

function showComments (parser: Parser, write: (text: string) => void): void {
  parser.on('comment', (text: string) => {
    if (!/^# (Subtest|time=|failed )/.test(text)) write(text)
  })
  parser.on('child', (child: Parser) => showComments(child, write))
}

function indent (text: string, by: number): string {
  return text.replace(/^(?=.)/gm, ' '.repeat(by))
}

function seconds (milliseconds: number | null): string {
  return `${((milliseconds ?? 0) / 1000).toFixed(1)} s`
}
