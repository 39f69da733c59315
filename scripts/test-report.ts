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
  /** @returns where to pipe the output of one run of tap */
  parser (): Parser
  /** Lists what failed, and adds tap's own totals. */
  end (): void
}

/** One test file, from its first line to its verdict. */
interface File extends Totals {
  name: string
  failures: Result[]
  noise: string[]
}

// What tap says of the process that ran a file: the same for every file.
const knownOfEveryFile = new Set(['stdio', 'cwd', 'externalID', 'command', 'args', 'jobId'])

/**
 * Turns tap's own output into one line a file, with all there is to know of
 * each failure under it, and a list of the failures at the end.
 *
 * The reporters of tap redraw the screen, which leaves a log full of control
 * characters, and they call a file passed that ended with an error after its
 * last assertion.
 */
export function createReport ({ write, live = false }: ReportOptions): Report {
  const totals: Totals = { passed: 0, failed: 0, skipped: 0 }
  const files = new Set<string>()
  const failed: string[] = []
  const closing: string[] = []

  function parser (): Parser {
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
    // The closing remarks of tap: its totals and the time it took.
    created.on('comment', (text: string) => {
      if (/^# (\{|time=)/.test(text)) closing.push(text)
    })
    return created
  }

  function conclude (verdict: Result, { name, failures, noise, ...counts }: File): void {
    // A file that did not end in time has, besides its own verdict or instead
    // of it, one named "timeout!".
    const expired = (verdict.diag as { expired?: string } | null)?.expired
    const skipped = Boolean(verdict.skip || verdict.todo)
    if (skipped) counts.skipped++
    // The process ended badly, though no assertion failed.
    else if (!verdict.ok && (expired !== undefined || failures.length === 0)) {
      counts.failed++
      failures.push(verdict)
    }
    name = expired ?? name
    files.add(name)
    totals.passed += counts.passed
    totals.failed += counts.failed
    totals.skipped += counts.skipped
    write(`${counts.failed ? '✖' : skipped ? '-' : '✔'} ${name}: ${describeTotals(counts)} (${seconds(verdict.time)})\n`)
    for (const failure of failures) {
      const what = failure !== verdict
        ? failure.fullname.slice(name.length + 3)
        : expired === undefined ? 'failed outside of its assertions' : 'did not end in time'
      failed.push(`${name} > ${what}`)
      write(indent(`✖ ${what}\n${indent(describe(failure), 2)}`.trimEnd(), 4) + '\n\n')
    }
    if (failures.length && noise.length) write(indent(`It printed:\n${indent(noise.join('').trimEnd(), 2)}`, 4) + '\n\n')
  }

  return {
    totals,
    files,
    parser,
    end () {
      if (failed.length) write(`\nFailed:\n${failed.map((name) => `  ${name}\n`).join('')}`)
      write('\n' + closing.join(''))
    }
  }
}

/** @returns `N passed, N failed`, and `, N skipped` when some were: the form of the last line of every run */
export function describeTotals ({ passed, failed, skipped }: Totals): string {
  return `${passed} passed, ${failed} failed` + (skipped ? `, ${skipped} skipped` : '')
}

/** Where it failed, what differs, and whatever else the assertion says. */
function describe (failure: Result): string {
  const { at, diff, source, stack, expired, ...others } = (failure.diag ?? {}) as Record<string, unknown>
  const place = at as { fileName?: string, lineNumber?: number, columnNumber?: number } | undefined
  const details = Object.entries(others)
    .filter(([key, value]) => value !== null && !knownOfEveryFile.has(key))
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
