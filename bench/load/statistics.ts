/** Median and 95th percentile. */
export interface Percentiles {
  p50: number
  p95: number
}

/** @returns the quantile `q` of the values; 0.5 is the median */
export function quantile (values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] as number
}

/** @returns the percentiles; undefined if there are no values */
export function percentilesOf (values: readonly number[]): Percentiles | undefined {
  return values.length === 0 ? undefined : { p50: quantile(values, 0.5), p95: quantile(values, 0.95) }
}
