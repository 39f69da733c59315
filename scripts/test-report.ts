import { inspect } from 'node:util'
import { Parser } from 'tap-parser'
import type { Result } from 'tap-parser'

/**
 * Totals of a run, counted in the same way as in tap: one per assertion, plus one per file that failed outside its
 * assertions.
 */
export interface Totals {
  passed: number
  failed: number
  /** Skipped or marked as todo. */
  skipped: number
}

export interface ReportOptions {
  write: (text: string) => void
  /** Whether to print the output of test files immediately, which is useful for long runs. */
  live?: boolean
}

export interface Report {
  readonly totals: Totals
  /** Files that have finished. */
  readonly files: ReadonlySet<string>
  /** Creates a reader of one process's output. */
  read (): Reader
  /** Prints the list of failures. */
  end (): void
}

/** Reads the output of one process. */
export interface Reader {
  /** The parser to pipe the output to. */
  parser: Parser
  /** If a file was still running when the process exited, marks that file as failed. */
  close (exit: { exitCode: number | null, signal: string | null }): void
}

/** The fields that this reporter reads from tap's result for an assertion or a test file. */
type Verdict = Pick<Result, 'ok' | 'name' | 'diag' | 'time'> & Partial<Pick<Result, 'fullname' | 'skip' | 'todo'>>

/** A test file with its results. */
interface File extends Totals {
  name: string
  failures: Verdict[]
  noise: string[]
}

/**
 * Converts tap's output into one line per file, followed by the details of the file's failures. At the end, adds a list
 * of all failures.
 *
 * tap's own reporters redraw the screen, which fills logs with control characters.
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
    // tap emits 'result' for assertions at any depth, and 'assert' for the result of a file.
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
    // The file failed outside its assertions.
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
        : 'failed outside its assertions'
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

/** @returns `N passed, N failed`, plus `, N skipped` if any were skipped: this text is the last line of every run */
export function describeTotals ({ passed, failed, skipped }: Totals): string {
  return `${passed} passed, ${failed} failed` + (skipped ? `, ${skipped} skipped` : '')
}

/** Returns the location, the difference and other details of a failed assertion. */
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
