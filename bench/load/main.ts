// The load tester: npm run load -- --help
//
// Exit codes: 0 if every participant joined and stayed, and every listener received audio; 1 otherwise; 2 if the
// command line is invalid.
import { asFailure } from './failure.ts'
import { parseOptions, usage, UsageError } from './options.ts'
import { stopPeers } from './peer.ts'
import { renderProgress, renderReport } from './print.ts'
import { runLoad } from './run.ts'
import type { Progress } from './run.ts'

/** If stderr is not a terminal, a progress line is printed at this interval, in milliseconds. */
const plainProgressMs = 5000
const clearLine = '\r\x1b[2K'

process.exitCode = await main(process.argv.slice(2))
stopPeers()

async function main (args: string[]): Promise<number> {
  let options: ReturnType<typeof parseOptions>
  try {
    options = parseOptions(args, process.env)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(`load: ${error.message}\nRun it with --help for all options.\n`)
    return 2
  }
  if (!options) {
    process.stdout.write(usage)
    return 0
  }

  const ending = new AbortController()
  process.once('SIGINT', () => ending.abort())
  process.once('SIGTERM', () => ending.abort())
  const line = createProgressLine()
  try {
    const report = await runLoad(options.load, { progress: line.show, signal: ending.signal })
    line.clear()
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : renderReport(report))
    return report.ok ? 0 : 1
  } catch (error) {
    line.clear()
    const { code, message } = asFailure(error)
    process.stderr.write(`load: ${code}: ${message}\n`)
    return 1
  }
}

/**
 * Shows the progress on stderr. In a terminal, one line is updated every second; otherwise, a new line is printed every
 * 5 s.
 */
function createProgressLine () {
  let printedAt = 0
  return {
    show (progress: Progress): void {
      const text = renderProgress(progress)
      if (process.stderr.isTTY) process.stderr.write(clearLine + text)
      else if (progress.elapsedMs - printedAt >= plainProgressMs) {
        printedAt = progress.elapsedMs
        process.stderr.write(`${text}\n`)
      }
    },
    clear (): void {
      if (process.stderr.isTTY) process.stderr.write(clearLine)
    }
  }
}
