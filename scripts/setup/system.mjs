import { existsSync } from 'node:fs'
import { findCommand, run } from './shell.mjs'
import { SetupError, step } from './report.mjs'

/**
 * Installs Debian packages if run as root; otherwise throws with the command to
 * run. Call it only with missing packages.
 *
 * @param {string} purpose reason for the installation
 * @param {string[]} packages names in Debian's archive
 * @returns {Promise<void>}
 * @throws {SetupError} with the command to run if not root, or with the package names if there is no apt
 */
export async function installPackages (purpose, packages) {
  const line = `apt-get install -y --no-install-recommends ${packages.join(' ')}`
  if (!findCommand('apt-get')) {
    throw new SetupError(`Missing packages for ${purpose} (Debian names): ${packages.join(' ')}. Install the equivalents of your system, then start again.`)
  }
  if (process.getuid?.() !== 0) {
    throw new SetupError(`Missing packages for ${purpose}. Run this command, then start again:\n\n  sudo ${line}\n`)
  }
  await step(`${packages.join(' ')} (for ${purpose})`, async () => {
    const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }
    await run('apt-get', ['update'], options)
    await run('apt-get', line.split(' ').slice(1), options)
  })
}

/** Debian's package and command of Chromium without a window. */
const shell = 'chromium-headless-shell'

/**
 * Installs the tools of the tests: Redis, a browser, and
 * ffmpeg for the tones that the browser sends.
 *
 * @returns {Promise<void>}
 */
export async function ensureTestTools () {
  const missing = []
  if (!findCommand('redis-server')) missing.push('redis-server')
  if (!process.env.CHROMIUM_PATH && !findCommand(shell, 'chromium', 'chromium-browser', 'google-chrome')) missing.push(shell)
  if (!findCommand('ffmpeg')) missing.push('ffmpeg')
  if (missing.length) await installPackages('the tests', missing)
  // The tests also run in the full browser, but take twice as long.
  if (!process.env.CHROMIUM_PATH && !findCommand(shell) && findCommand('apt-get') && process.getuid?.() === 0) {
    await installPackages('faster tests', [shell]).catch(() => {})
  }
}

/**
 * @param {Record<string, string>} files package by a path that exists only if the package is installed
 * @returns {string[]} the packages whose path does not exist
 */
export function missingPackages (files) {
  return Object.entries(files).filter(([path]) => !existsSync(path)).map(([, name]) => name)
}
