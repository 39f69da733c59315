import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { cachePath, findCommand, run } from './shell.mjs'
import { SetupError, step } from './report.mjs'

/**
 * Installs Debian packages if run as root; otherwise throws an error that contains the
 * command to run. Pass only packages that are missing.
 *
 * @param {string} purpose reason for the installation
 * @param {string[]} packages names in Debian's archive
 * @returns {Promise<void>}
 * @throws {SetupError} if not run as root (the message contains the command to run), or if there is no apt (the message
 *   contains the package names)
 */
export async function installPackages (purpose, packages) {
  const line = `apt-get install -y --no-install-recommends ${packages.join(' ')}`
  if (!findCommand('apt-get')) {
    throw new SetupError(`Missing packages for ${purpose} (Debian names): ${packages.join(' ')}. Install your system's equivalents, then start again.`)
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

/** The Debian package of headless Chromium; its command has the same name. */
const shell = 'chromium-headless-shell'

/**
 * Returns the promtool command: one on the PATH, or the copy that {@link ensurePromtool} puts into the cache.
 *
 * @returns {string | undefined} absolute path
 */
export function findPromtool () {
  const cached = join(cachePath('promtool'), 'usr', 'bin', 'promtool')
  return findCommand('promtool') ?? (existsSync(cached) ? cached : undefined)
}

/**
 * Unpacks Debian's prometheus package into the cache. The package is not installed, because that would
 * start a Prometheus server.
 *
 * @returns {Promise<void>}
 * @throws {SetupError} if there is no apt
 */
async function ensurePromtool () {
  if (findPromtool()) return
  if (!findCommand('apt-get') || !findCommand('dpkg')) {
    throw new SetupError('Missing command for the tests: promtool, which is part of Prometheus. Install it, then start again.')
  }
  await step('promtool (for the tests)', async () => {
    const folder = cachePath('promtool')
    const draft = `${folder}.${process.pid}`
    await mkdir(draft, { recursive: true })
    // Updating the package list requires root, but downloading a package does not. If the list is not updated, try the
    // download with the existing list, which may be recent enough.
    if (process.getuid?.() === 0) await run('apt-get', ['update']).catch(() => {})
    await run('apt-get', ['download', 'prometheus'], { cwd: draft })
    const [file] = (await readdir(draft)).filter((name) => name.endsWith('.deb'))
    await run('dpkg', ['-x', file, '.'], { cwd: draft })
    await rm(join(draft, file))
    await rm(join(draft, 'usr', 'bin', 'prometheus'))
    await rm(folder, { recursive: true, force: true })
    await rename(draft, folder)
  })
}

/**
 * Installs the tools that the tests need: Redis, Chromium, nginx, ffmpeg (for the tones that the browser sends) and
 * promtool (for the alert rules).
 *
 * @param {{ firefox: boolean }} options `firefox`: whether to install Firefox too
 * @returns {Promise<void>}
 */
export async function ensureTestTools ({ firefox }) {
  const missing = []
  if (!findCommand('redis-server')) missing.push('redis-server')
  if (!process.env.CHROMIUM_PATH && !findCommand(shell, 'chromium', 'chromium-browser', 'google-chrome')) missing.push(shell)
  if (firefox && !process.env.FIREFOX_PATH && !findCommand('firefox-esr', 'firefox')) missing.push('firefox-esr')
  if (!findCommand('ffmpeg')) missing.push('ffmpeg')
  // Debian puts nginx into a folder that is not on the PATH of all users.
  if (!findCommand('nginx') && !existsSync('/usr/sbin/nginx')) missing.push('nginx-light')
  if (missing.length) await installPackages('the tests', missing)
  await ensurePromtool()
  // Prefer headless Chromium: the tests also run in a full browser, but then take twice as long.
  if (!process.env.CHROMIUM_PATH && !findCommand(shell) && findCommand('apt-get') && process.getuid?.() === 0) {
    await installPackages('faster tests', [shell]).catch(() => {})
  }
}

/**
 * @param {Record<string, string>} files the name of each package, by a path that exists only if the package is
 *   installed
 * @returns {string[]} the packages whose path does not exist
 */
export function missingPackages (files) {
  return Object.entries(files).filter(([path]) => !existsSync(path)).map(([, name]) => name)
}
