import type { Metric } from './api.ts'

/** @returns the sum of all samples; undefined if the metric does not exist, NaN if a sample is not a number */
export function sumOf (metrics: readonly Metric[], name: string): number | undefined {
  return metrics.find((metric) => metric.name === name)?.samples.reduce((sum, { value }) => sum + (value ?? NaN), 0)
}

/** How a chart displays a metric. */
export interface Line {
  metric: string
  /** `rate` means the increase of a counter per second. */
  of: 'value' | 'rate'
  unit: 'count' | 'milliseconds' | 'percent'
  /** Factor that converts the metric's unit to the displayed unit. */
  times: number
}

/** The charts. docs/metrics.md describes their metrics. */
export const lines = {
  people: { metric: 'flylive_socket_connections', of: 'value', unit: 'count', times: 1 },
  rooms: { metric: 'flylive_rooms_active', of: 'value', unit: 'count', times: 1 },
  audio: { metric: 'flylive_mediasoup_routers_per_worker', of: 'value', unit: 'count', times: 1 },
  messages: { metric: 'flylive_socket_events_total', of: 'rate', unit: 'count', times: 1 },
  delay: { metric: 'nodejs_eventloop_lag_p99_seconds', of: 'value', unit: 'milliseconds', times: 1000 },
  cpu: { metric: 'process_cpu_seconds_total', of: 'rate', unit: 'percent', times: 100 }
} as const satisfies Record<string, Line>

export type LineName = keyof typeof lines

/** A value and the time at which it was read, in epoch milliseconds. */
export interface Point {
  at: number
  value: number
}

/**
 * @param before an earlier sum of a counter
 * @returns the increase per second. If the counter has decreased, the server must have restarted, so the increase is
 *   counted from zero
 */
export function rateOf (before: Point, now: Point): number | undefined {
  const seconds = (now.at - before.at) / 1000
  if (seconds <= 0) return undefined
  return (now.value >= before.value ? now.value - before.value : now.value) / seconds
}

/** Time span of a chart, in milliseconds. */
export const windowMs = 180_000

export interface Series {
  /** Adds the values of metrics that were read at the time `at`. */
  add (at: number, metrics: readonly Metric[]): void
  /** Returns the points of a line that are not older than {@link windowMs}. */
  pointsOf (name: LineName): readonly Point[]
  /** False if the server does not report the metric. True until the first values have been read. */
  has (name: LineName): boolean
}

export function createSeries (): Series {
  const points = new Map<string, Point[]>()
  const sums = new Map<string, Point>()
  const missing = new Set<string>()

  function measure ({ metric, of, times }: Line, at: number, sum: number): number | undefined {
    const before = sums.get(metric)
    sums.set(metric, { at, value: sum })
    if (of === 'value') return sum * times
    const rate = before && rateOf(before, { at, value: sum })
    return rate === undefined ? undefined : rate * times
  }

  return {
    add (at, metrics) {
      for (const [name, line] of Object.entries(lines)) {
        const sum = sumOf(metrics, line.metric)
        missing[sum === undefined ? 'add' : 'delete'](name)
        const value = sum === undefined ? undefined : measure(line, at, sum)
        const kept = (points.get(name) ?? []).filter((point) => point.at >= at - windowMs)
        points.set(name, value === undefined || !Number.isFinite(value) ? kept : [...kept, { at, value }])
      }
    },
    pointsOf: (name) => points.get(name) ?? [],
    has: (name) => !missing.has(name)
  }
}

/** @returns the newest, lowest and highest value, for the text that describes a chart */
export function rangeOf (points: readonly Point[]): { now: number, least: number, most: number } | undefined {
  const last = points.at(-1)
  if (!last) return undefined
  const values = points.map(({ value }) => value)
  return { now: last.value, least: Math.min(...values), most: Math.max(...values) }
}

/** @returns the value, rounded up to 1, 2, 5, 10, 20 … */
export function roundUp (value: number): number {
  if (!(value > 1)) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power
}

export interface Frame {
  /** The time at the right edge of the chart. */
  end: number
  /** The value at the upper edge of the chart. */
  top: number
  width: number
  height: number
  /**
   * Maximum time between two points that are connected by a line, in milliseconds. A longer time means that polls have
   * failed or were paused.
   */
  gapMs: number
}

/** @returns the `d` attribute of an SVG path */
export function pathOf (points: readonly Point[], { end, top, width, height, gapMs }: Frame): string {
  const round = (number: number) => Math.round(number * 10) / 10
  return points.map(({ at, value }, i) => {
    const before = points[i - 1]
    const joined = before !== undefined && at - before.at <= gapMs
    return `${joined ? 'L' : 'M'}${round(width * (1 - (end - at) / windowMs))} ${round(height * (1 - Math.min(value / top, 1)))}`
  }).join('')
}
