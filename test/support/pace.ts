/**
 * Whether events arrived at most once per second. Counts the events since `begin` instead of checking each gap, because
 * a busy machine may delay some events.
 *
 * @param times arrival times, from `performance.now()`
 * @param begin a time before the first event
 */
export function onceASecond (times: readonly number[], begin: number): boolean {
  return times.every((time, i) => i * 1000 <= time - begin + clocksDifferMs)
}

/**
 * Measures only the time during which this process runs, so that time limits hold on a busy machine.
 *
 * @returns a function that returns the time since `stopwatch` was called, in milliseconds
 */
export function stopwatch (): () => number {
  const everyMs = 20
  let ticks = 0
  setInterval(() => { ticks++ }, everyMs).unref()
  return () => ticks * everyMs
}

/**
 * Maximum difference between a server's clock and this machine's clock, in milliseconds. A server's clock may follow
 * Redis's clock, or run freely from the start of the process. Timers may also fire a few milliseconds early.
 */
export const clocksDifferMs = 100

/** Whether a server's timestamp lies between `before` and now. */
export const isSince = (before: number, timestamp: unknown): boolean =>
  Number(timestamp) >= before - clocksDifferMs && Number(timestamp) <= Date.now() + clocksDifferMs
