// Progress messages of the setup. The setup runs on Node 18 and newer, before any
// dependency is installed, so this file must not import packages.

/** Thrown when the setup cannot continue; `message` contains instructions for the user. */
export class SetupError extends Error {
  name = 'SetupError'
}

/**
 * Prints the title and the duration of a slow step. Call this only if a step has work to do, because a second start
 * must print nothing.
 *
 * @template T
 * @param {string} title what the step does and why
 * @param {(progress: (text: string) => void) => Promise<T>} work
 * @returns {Promise<T>} the result of `work`
 */
export async function step (title, work) {
  const begin = Date.now()
  const seconds = () => `${((Date.now() - begin) / 1000).toFixed(0)} s`
  process.stderr.write(`setup: ${title} …\n`)
  const result = await work((text) => process.stderr.write(`setup:   ${text} (${seconds()})\n`))
  process.stderr.write(`setup:   done in ${seconds()}\n`)
  return result
}

/** @param {string} text one line of advice or explanation */
export function note (text) {
  process.stderr.write(`setup:   ${text}\n`)
}
