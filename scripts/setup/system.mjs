import { existsSync } from 'node:fs'
import { findCommand, run } from './shell.mjs'
import { SetupError, step } from './report.mjs'

/**
 * Installs Debian packages if run as root; otherwise throws an error that contains the
 * command to run. Pass only packages that are missing.
 *
 * @param {string} purpose reason for the installation
 * @param {string[]} packages names in Debian's archive
 * @returns {Promise<void>}
 * @throws {SetupError} if not run as root (with the command to run) or if there is no apt (with the package names)
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

/** The Debian package that contains Chromium without a window; its command has the same name. */
const shell = 'chromium-headless-shell'

/**
 * Installs the tools that the tests need: Redis, a browser, nginx, and
 * ffmpeg, which generates the tones that the browser sends.
 *
 * @returns {Promise<void>}
 */
export async function ensureTestTools () {
  const missing = []
  if (!findCommand('redis-server')) missing.push('redis-server')
  if (!process.env.CHROMIUM_PATH && !findCommand(shell, 'chromium', 'chromium-browser', 'google-chrome')) missing.push(shell)
  if (!findCommand('ffmpeg')) missing.push('ffmpeg')
  // Debian puts nginx into a folder that is not on the PATH of all users.
  if (!findCommand('nginx') && !existsSync('/usr/sbin/nginx')) missing.push('nginx-light')
  if (missing.length) await installPackages('the tests', missing)
  // The tests also run in a full browser, but they take twice as long there.
  if (!process.env.CHROMIUM_PATH && !findCommand(shell) && findCommand('apt-get') && process.getuid?.() === 0) {
    await installPackages('faster tests', [shell]).catch(() => {})
  }
}

/**
 * @param {Record<string, string>} files the packages, each by a path that exists only if it is installed
 * @returns {string[]} the packages whose path does not exist
 */
export function missingPackages (files) {
  return Object.entries(files).filter(([path]) => !existsSync(path)).map(([, name]) => name)
}
