import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { run } from './shell.mjs'
import { step } from './report.mjs'

/**
 * Installs what package-lock.json names. A stamp in node_modules remembers
 * for which lockfile that was done, so an unchanged checkout costs one hash.
 *
 * No install scripts run: the only one that matters is mediasoup's, and the
 * set-up fetches or builds the media worker itself, with a limit and a cache.
 *
 * @param {string} root the checkout
 * @param {string} node the Node that will run the server, so that packages for it are chosen
 * @param {boolean} withDevelopment also what only tests, the demo, lint and type check need
 * @returns {Promise<void>}
 */
export async function ensureDependencies (root, node, withDevelopment) {
  const lock = createHash('sha256').update(readFileSync(join(root, 'package-lock.json'))).digest('hex')
  const stamp = join(root, 'node_modules', '.set-up')
  const done = existsSync(stamp) ? readFileSync(stamp, 'utf8').trim() : ''
  if (done === `${lock} all` || (done === `${lock} production` && !withDevelopment)) return

  // Adding the development packages to an installed production set must not
  // pull node_modules away under a server that is running from it.
  const extend = done.startsWith(lock)
  const title = withDevelopment ? 'npm packages, those for development included' : 'npm packages'
  await step(`${title} (from package-lock.json)`, () =>
    run('npm', [
      ...(extend ? ['install', '--no-save'] : ['ci']), '--ignore-scripts', '--no-audit', '--no-fund',
      ...(withDevelopment ? ['--include=dev'] : ['--omit=dev'])
    ], {
      cwd: root,
      env: {
        ...process.env,
        NODE_ENV: '',
        PATH: dirname(node) + delimiter + process.env.PATH,
        // A Node that was fetched knows only its own list of authorities; a
        // company's proxy is often signed by one that the system knows.
        NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --use-system-ca`.trim()
      }
    })
  )
  writeFileSync(stamp, `${lock} ${withDevelopment ? 'all' : 'production'}\n`)
}
