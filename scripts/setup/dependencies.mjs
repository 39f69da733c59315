import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { run } from './shell.mjs'
import { step } from './report.mjs'

/** Sets of packages; each contains the ones before it. */
const sets = ['production', 'start', 'all']

/** What `npm start` uses in development besides what production runs: readable logs, the pages of the stage and of the contract. */
const startTools = ['@vitejs/plugin-vue', 'mediasoup-client', 'pino-pretty', 'swagger-ui-dist', 'vite', 'vue', 'zod-openapi']

/**
 * Installs a set of the packages in package-lock.json. A stamp in node_modules
 * holds the lockfile's hash and the set, so an unchanged checkout costs one hash.
 *
 * No install scripts run: the only one that matters is mediasoup's, and the
 * set-up fetches or builds the media worker itself, with a limit and a cache.
 *
 * @param {string} root the checkout
 * @param {string} node the Node that will run the server, so that packages for it are chosen
 * @param {'production' | 'start' | 'all'} set `start`: what `npm start` needs in development; `all`: also what tests, the demo, lint and type check need
 * @returns {Promise<void>}
 */
export async function ensureDependencies (root, node, set) {
  const text = readFileSync(join(root, 'package-lock.json'), 'utf8')
  const hash = createHash('sha256').update(text).digest('hex')
  const stamp = join(root, 'node_modules', '.set-up')
  const [doneHash, doneSet] = existsSync(stamp) ? readFileSync(stamp, 'utf8').trim().split(' ') : []
  if (doneHash === hash && sets.indexOf(doneSet) >= sets.indexOf(set)) return

  // Adding packages to an installed set must not pull node_modules away under a
  // server that is running from it, as `npm ci` would.
  const extend = doneHash === hash
  const commands = {
    production: ['ci', '--omit=dev', '--omit=peer'],
    start: ['install', '--no-save', '--save-prod', '--omit=dev', '--omit=peer', ...lockedVersions(text, startTools)],
    all: [...(extend ? ['install', '--no-save'] : ['ci']), '--include=dev']
  }
  const titles = { production: 'npm packages', start: 'npm packages', all: 'npm packages, those for development included' }
  await step(`${titles[set]} (from package-lock.json)`, () =>
    run('npm', [...commands[set], '--ignore-scripts', '--no-audit', '--no-fund'], {
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
  if (set === 'production') removeSourceMaps(join(root, 'node_modules'))
  writeFileSync(stamp, `${hash} ${set}\n`)
}

/**
 * Removes the packages' source maps, which only debuggers read: about 10 MB.
 *
 * @param {string} modules a node_modules folder
 */
export function removeSourceMaps (modules) {
  for (const path of readdirSync(modules, { recursive: true })) {
    if (path.endsWith('.map')) rmSync(join(modules, path))
  }
}

/**
 * @param {string} lock text of package-lock.json
 * @param {string[]} names
 * @returns {string[]} `name@version` for each
 */
function lockedVersions (lock, names) {
  const { packages } = JSON.parse(lock)
  return names.map((name) => `${name}@${packages[`node_modules/${name}`].version}`)
}
