/**
 * Whether events arrived at most once per second. Compares the number since
 * the beginning: one that a busy machine brings late has the next one near it.
 *
 * @param times when each came, from `performance.now()`
 * @param begin before the first could come
 */
export function onceASecond (times: readonly number[], begin: number): boolean {
  const clocksDifferMs = 50
  return times.every((time, i) => i * 1000 <= time - begin + clocksDifferMs)
}

/**
 * Measures for how long this process could do something. A machine that stands
 * still, or gives it no turn, does not count: for what must not take long.
 *
 * @returns tells the time since then, in milliseconds
 */
export function stopwatch (): () => number {
  const everyMs = 20
  let ticks = 0
  setInterval(() => { ticks++ }, everyMs).unref()
  return () => ticks * everyMs
}
