import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { run } from './shell.mjs'
import { step } from './report.mjs'

/** The sets of packages; each set contains the previous one. */
const sets = ['production', 'start', 'all']

/** Additional packages for `npm start` in development: readable logs, the stage's pages and the contract's pages. */
export const startTools = ['@vitejs/plugin-vue', 'hls.js', 'mediasoup-client', 'pino-pretty', 'swagger-ui-dist', 'vite', 'vue', 'zod-openapi']

/**
 * Installs a set of the packages in package-lock.json. A stamp file in node_modules contains the lockfile's hash and
 * the name of the set. While both match, nothing is installed.
 *
 * Install scripts do not run. Only mediasoup's install script would matter, and the setup itself does the work of that
 * script: it downloads or builds the media worker, with a timeout and a cache.
 *
 * @param {string} root the checkout
 * @param {string} node the Node that will run the server; npm selects the packages for this Node
 * @param {'production' | 'start' | 'all'} set `start` adds the packages that `npm start` needs in development; `all`
 *   adds the packages for tests, the demo, linting and type checks
 * @returns {Promise<void>}
 */
export async function ensureDependencies (root, node, set) {
  const text = readFileSync(join(root, 'package-lock.json'), 'utf8')
  const hash = createHash('sha256').update(text).digest('hex')
  const stamp = join(root, 'node_modules', '.set-up')
  const [doneHash, doneSet] = existsSync(stamp) ? readFileSync(stamp, 'utf8').trim().split(' ') : []
  if (doneHash === hash && sets.indexOf(doneSet) >= sets.indexOf(set)) return

  // If some packages are already installed, `npm install` adds the missing packages. `npm ci` would delete the
  // node_modules folder, even while a server is using it.
  const extend = doneHash === hash
  const commands = {
    production: ['ci', '--omit=dev', '--omit=peer'],
    start: ['install', '--no-save', '--save-prod', '--omit=dev', '--omit=peer', ...lockedVersions(text, startTools)],
    all: [...(extend ? ['install', '--no-save'] : ['ci']), '--include=dev']
  }
  const titles = { production: 'npm packages', start: 'npm packages', all: 'npm packages, including development packages' }
  await step(`${titles[set]} (from package-lock.json)`, () =>
    run('npm', [...commands[set], '--ignore-scripts', '--no-audit', '--no-fund'], {
      cwd: root,
      env: {
        ...process.env,
        NODE_ENV: '',
        PATH: dirname(node) + delimiter + process.env.PATH,
        // A downloaded Node trusts only its built-in certificate authorities. The certificate of a company's proxy is
        // often only in the operating system's store.
        NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --use-system-ca`.trim()
      }
    })
  )
  if (set === 'production') removeUnused(join(root, 'node_modules'))
  writeFileSync(stamp, `${hash} ${set}\n`)
}

/** Unused parts of packages. The package mediabunny also contains browser bundles and its own source code. */
const unused = ['mediabunny/src', 'mediabunny/dist/bundles']

/**
 * Removes about 30 MB that only debuggers, compilers and browsers read: source maps, type declarations and bundles.
 *
 * @param {string} modules a node_modules folder
 */
export function removeUnused (modules) {
  for (const path of unused) rmSync(join(modules, path), { recursive: true, force: true })
  for (const path of readdirSync(modules, { recursive: true })) {
    if (/\.(map|d\.[cm]?ts)$/.test(path)) rmSync(join(modules, path))
  }
}

/**
 * @param {string} lock text of package-lock.json
 * @param {string[]} names
 * @returns {string[]} `name@version` for each name
 */
function lockedVersions (lock, names) {
  const { packages } = JSON.parse(lock)
  return names.map((name) => `${name}@${packages[`node_modules/${name}`].version}`)
}
