// What the set-up says while it works. It runs on any Node from 18 on, before
// a single dependency is there, so nothing here may import a package.

/** The set-up can't go on; `message` is the one instruction for the user. */
export class SetupError extends Error {
  name = 'SetupError'
}

/**
 * Announces a step that takes time and says how long it took. Steps that find
 * nothing to do are silent, so a second start prints none of this.
 *
 * @template T
 * @param {string} title what happens and why, in a few words
 * @param {(progress: (text: string) => void) => Promise<T>} work
 * @returns {Promise<T>} what `work` returned
 */
export async function step (title, work) {
  const begin = Date.now()
  const seconds = () => `${((Date.now() - begin) / 1000).toFixed(0)} s`
  process.stderr.write(`set-up: ${title} …\n`)
  const result = await work((text) => process.stderr.write(`set-up:   ${text} (${seconds()})\n`))
  process.stderr.write(`set-up:   done in ${seconds()}\n`)
  return result
}

/** @param {string} text one line of advice or explanation */
export function note (text) {
  process.stderr.write(`set-up:   ${text}\n`)
}
