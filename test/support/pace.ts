/**
 * Whether something came at most once a second. It goes by how many came since
 * the beginning: one that a busy machine brings late has the next one near it.
 *
 * @param times when each came, from `performance.now()`
 * @param begin before the first could come
 */
export function onceASecond (times: readonly number[], begin: number): boolean {
  const clocksDifferMs = 50
  return times.every((time, i) => i * 1000 <= time - begin + clocksDifferMs)
}
