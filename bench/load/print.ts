import { playoutBufferMs } from './reception.ts'
import type { RoomReport } from './room.ts'
import type { LoadReport, Progress } from './run.ts'
import type { Percentiles } from './statistics.ts'

/** Maximum number of rooms that are shown in the table. */
const maxRows = 20
/** If the load tester's own load exceeds one of these limits, the load tester itself may delay packets and events. */
const busy = { cpuPercent: 90, eventLoopP99Ms: 50 }

const columns: [title: string, value: (report: RoomReport) => string][] = [
  ['room', ({ roomId }) => roomId],
  ['speakers', ({ speakers }) => `${speakers.joined}/${speakers.planned}`],
  ['listeners', ({ listeners }) => `${listeners.joined}/${listeners.planned}`],
  ['join ms', ({ joinMs }) => times(joinMs)],
  ['set-up ms', ({ setUpMs }) => times(setUpMs)],
  ['first audio ms', ({ firstAudioMs }) => times(firstAudioMs)],
  ['packets/s', ({ packetsPerSecond }) => packetsPerSecond.toFixed(0)],
  ['loss', ({ loss }) => percent(loss)],
  ['concealed', ({ concealment }) => percent(concealment)],
  ['gap ms', ({ longestGapMs }) => longestGapMs.toFixed(0)],
  ['event ms', ({ eventDelayMs }) => times(eventDelayMs)]
]

/** @returns the report as text: a table, explanations and the failures */
export function renderReport (report: LoadReport): string {
  const { total, tester, failures } = report
  const rows = [...report.rooms.slice(0, maxRows), ...(report.rooms.length === 1 ? [] : [total])]
  const cells = [columns.map(([title]) => title), ...rows.map((row) => columns.map(([, value]) => value(row)))]
  const widths = columns.map((_, column) => Math.max(...cells.map((row) => (row[column] as string).length)))
  const lines = cells.map((row) => row.map((cell, column) => column === 0 ? cell.padEnd(widths[column] as number) : cell.padStart(widths[column] as number)).join('  '))
  const hidden = report.rooms.length - maxRows
  return [
    ...lines,
    ...(hidden > 0 ? [`${hidden} more rooms are included in the total.`] : []),
    '',
    `Mode ${report.mode}, measured for ${report.seconds.toFixed(1)} s. Times are p50/p95; a listener's set-up took ${total.setUpRoundTrips} round trips.`,
    `Concealed: lost, or more than ${playoutBufferMs} ms late. Gap: the longest time without a packet. Event: a chat message.`,
    `Load tester: ${tester.cpuPercent.toFixed(0)} % of a core, event loop p99 ${tester.eventLoopP99Ms.toFixed(0)} ms.`,
    ...(isBusy(tester) ? ['Warning: the load tester was too busy and may have caused delays and concealment itself. Use fewer participants or another machine.'] : []),
    ...(total.silent > 0 ? [`${total.silent} listeners received no audio.`] : []),
    ...failures.map(({ code, count, example }) => `${count} × ${code}: ${example}`),
    ''
  ].join('\n')
}

/** @returns one line, without a line break */
export function renderProgress ({ phase, elapsedMs, joined, planned, failed, packetsPerSecond, loss }: Progress): string {
  return `${(elapsedMs / 1000).toFixed(0)} s, ${phase}: ${joined}/${planned} joined, ${failed} failed, ${packetsPerSecond.toFixed(0)} packets/s, loss ${percent(loss)}`
}

function isBusy ({ cpuPercent, eventLoopP99Ms }: LoadReport['tester']): boolean {
  return cpuPercent > busy.cpuPercent || eventLoopP99Ms > busy.eventLoopP99Ms
}

function times (percentiles: Percentiles | undefined): string {
  return percentiles ? `${percentiles.p50.toFixed(0)}/${percentiles.p95.toFixed(0)}` : '-'
}

function percent (share: number): string {
  return `${(share * 100).toFixed(2)} %`
}
