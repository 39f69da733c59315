/**
 * Whether events arrived at most once per second. Counts the events since `begin` instead of checking each gap, because
 * a busy machine may delay some events.
 *
 * @param times arrival times, from `performance.now()`
 * @param begin a time before the first event
 */
export function onceASecond (times: readonly number[], begin: number): boolean {
  const clocksDifferMs = 50
  return times.every((time, i) => i * 1000 <= time - begin + clocksDifferMs)
}

/**
 * Measures only the time that this process was running, so that time limits hold on a busy machine.
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
 * Whether a server's timestamp lies between `before` and now. Allows a difference of 100 ms, because the server may use
 * Redis's clock, which can differ from this machine's by a few milliseconds.
 */
export const isSince = (before: number, timestamp: unknown): boolean => Number(timestamp) >= before - 100 && Number(timestamp) <= Date.now() + 100
