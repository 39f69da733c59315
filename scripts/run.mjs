#!/usr/bin/env node
// Runs a program of this project on a machine that may have nothing but git,
// npm and some Node: installs what is missing, then hands over.
//
//   node scripts/run.mjs [--production | --start | --dev | --test] [--setup-only] FILE [ARG ...]
//
// --production  installs only the packages that a server in production runs
// --start       also those that a server in development runs, and builds the stage's pages
// --dev         all development packages
// --test        also what the tests need: Redis, a browser, ffmpeg
// --setup-only  stops after the set-up
//
// The default is --production where NODE_ENV is `production`, --start elsewhere.
//
// FILE is a script of this project, or the name of a command in node_modules/.bin.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureDependencies } from './setup/dependencies.mjs'
import { alone } from './setup/lock.mjs'
import { ensureNode } from './setup/node.mjs'
import { ensurePages } from './setup/pages.mjs'
import { SetupError } from './setup/report.mjs'
import { ensureTestTools } from './setup/system.mjs'
import { ensureMediaWorker } from './setup/worker.mjs'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const args = process.argv.slice(2)
const flags = new Set()
while (args[0]?.startsWith('--')) flags.add(args.shift())
const forTests = flags.has('--test')
const packages = forTests || flags.has('--dev')
  ? 'all'
  : flags.has('--start') || !(flags.has('--production') || isProduction()) ? 'start' : 'production'

try {
  const node = await alone(root, async () => {
    const node = await ensureNode()
    await ensureDependencies(root, node, packages)
    await ensureMediaWorker(root)
    if (forTests) await ensureTestTools()
    if (packages !== 'production') await ensurePages(root, node)
    return node
  })
  if (!flags.has('--setup-only')) handOver(node)
} catch (error) {
  process.stderr.write(`\nset-up: ${error.message}\n`)
  // What nobody foresaw is easier to report with the place it happened at.
  if (!(error instanceof SetupError)) process.stderr.write(`${error.stack.split('\n').filter((line) => line.startsWith('    at')).join('\n')}\n`)
  process.exitCode = 1
}

/** @returns whether the server will run in production, by the environment or by .env */
function isProduction () {
  const file = join(root, '.env')
  const inFile = () => existsSync(file) ? /^\s*(?:export\s+)?NODE_ENV\s*=\s*["'`]?(\w*)/m.exec(readFileSync(file, 'utf8'))?.[1] : undefined
  return (process.env.NODE_ENV ?? inFile()) === 'production'
}

/**
 * Runs the program with the right Node, first on its PATH too, and ends as it
 * ends. Signals meant to stop it are passed on; the IPC channel tells it when
 * this process is gone without a word.
 *
 * @param {string} node
 */
function handOver (node) {
  const [file, ...rest] = args
  const command = join(root, 'node_modules', '.bin', file)
  const child = spawn(node, [existsSync(command) ? realpathSync(command) : join(root, file), ...rest], {
    cwd: root,
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, PATH: dirname(node) + delimiter + process.env.PATH }
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    // A terminal sends Ctrl-C to the whole group, so the child has it already.
    process.on(signal, () => signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal))
  }
  // npm does not always pass on what ends it. A server that nobody sees any
  // more would keep its port, so it stops when the npm that started it is gone.
  const parent = process.ppid
  if (process.env.npm_lifecycle_event) {
    setInterval(() => { if (process.ppid !== parent) child.kill('SIGTERM') }, 1000).unref()
  }
  child.once('exit', (code, signal) => {
    process.exit(code ?? 128 + (constants.signals[signal] ?? 0))
  })
}
