import { setTimeout as delay } from 'node:timers/promises'

/** This type rejects checks that may return undefined or null, because such a result could mean success or failure. */
type Definite<T> = [T] extends [void | undefined] ? unknown : undefined extends T ? never : null extends T ? never : unknown

/**
 * Repeats a check until it succeeds. Use this function only for changes that emit no event.
 *
 * @param check throws or returns false until the condition holds
 * @param timeoutMs how long to repeat the check before throwing an error
 */
export async function until<T> (check: (() => T | Promise<T>) & Definite<T>, timeoutMs = 15_000): Promise<Exclude<T, false>> {
  const begin = Date.now()
  const end = begin + timeoutMs
  for (;;) {
    try {
      const result = await check()
      if (result !== false) return result as Exclude<T, false>
      if (Date.now() > end) throw new Error(`The condition did not hold within ${timeoutMs} ms: ${check.toString()}`)
    } catch (error) {
      if (Date.now() > end) throw error
    }
    // Check less often during a longer wait, because some checks take milliseconds of CPU time, such as browser
    // queries.
    const waited = Date.now() - begin
    await delay(waited < 500 ? 25 : waited < 2000 ? 50 : 100)
  }
}
