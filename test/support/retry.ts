import { setTimeout as delay } from 'node:timers/promises'

/**
 * Repeats a look until it succeeds. For what happens by itself and tells
 * nobody; where there is an event, wait for the event.
 *
 * @param look throws, or returns false, while it is not so yet
 * @param patienceMs how long at most
 */
export async function until<T> (look: () => T | Promise<T>, patienceMs = 15_000): Promise<Exclude<T, false>> {
  const end = Date.now() + patienceMs
  for (;;) {
    try {
      const result = await look()
      if (result !== false) return result as Exclude<T, false>
      if (Date.now() > end) throw new Error(`It did not become so within ${patienceMs} ms: ${look.toString()}`)
    } catch (error) {
      if (Date.now() > end) throw error
    }
    await delay(25)
  }
}
