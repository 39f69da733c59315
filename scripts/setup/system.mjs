import { existsSync } from 'node:fs'
import { findCommand, run } from './shell.mjs'
import { SetupError, step } from './report.mjs'

/**
 * Installs Debian packages, as root; anybody else gets the line to run. It is
 * called only with packages already found missing.
 *
 * @param {string} purpose what they are for, in a few words
 * @param {string[]} packages names in Debian's archive
 * @returns {Promise<void>}
 * @throws {SetupError} with the line to run when not root, or with the names when there is no apt
 */
export async function installPackages (purpose, packages) {
  const line = `apt-get install -y --no-install-recommends ${packages.join(' ')}`
  if (!findCommand('apt-get')) {
    throw new SetupError(`Needed for ${purpose}, under the names of your system: ${packages.join(' ')} (Debian's names). Install them and start again.`)
  }
  if (process.getuid?.() !== 0) {
    throw new SetupError(`Needed for ${purpose}. Run this, then start again:\n\n  sudo ${line}\n`)
  }
  await step(`${packages.join(' ')} (for ${purpose})`, async () => {
    const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }
    await run('apt-get', ['update'], options)
    await run('apt-get', line.split(' ').slice(1), options)
  })
}

/**
 * What the tests drive besides the server itself: a Redis, a browser, and
 * ffmpeg for the tones the browser sends.
 *
 * @returns {Promise<void>}
 */
export async function ensureTestTools () {
  const missing = []
  if (!findCommand('redis-server')) missing.push('redis-server')
  if (!process.env.CHROMIUM_PATH && !findCommand('chromium', 'chromium-browser', 'google-chrome')) missing.push('chromium')
  if (!findCommand('ffmpeg')) missing.push('ffmpeg')
  if (missing.length) await installPackages('the tests', missing)
}

/**
 * @param {Record<string, string>} files a path that shows that a package is there, and the package
 * @returns {string[]} the packages whose path is not there
 */
export function missingPackages (files) {
  return Object.entries(files).filter(([path]) => !existsSync(path)).map(([, name]) => name)
}
