#!/usr/bin/env node
// Runs a program of this project on a machine that has only git, npm and some
// version of Node: installs the missing parts, then starts the program.
//
//   node scripts/run.mjs [--production | --start | --dev | --test [--firefox]] [--setup-only] FILE [ARG ...]
//
// --production  installs only the packages that production needs
// --start       also installs the packages that a development server needs, and builds the stage's pages
// --dev         installs all development packages
// --test        also installs Redis, a browser and ffmpeg for the tests
// --firefox     also installs Firefox, which only the long tests need
// --setup-only  stops after the setup
//
// The default is --production if NODE_ENV is `production`, otherwise --start.
//
// FILE is a script of this project, or the name of a command in node_modules/.bin.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureDependencies } from './setup/dependencies.mjs'
import { withSetupLock } from './setup/lock.mjs'
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
  const node = await withSetupLock(root, async () => {
    const node = await ensureNode()
    await ensureDependencies(root, node, packages)
    await ensureMediaWorker(root)
    if (forTests) await ensureTestTools({ firefox: flags.has('--firefox') })
    if (packages !== 'production') await ensurePages(root, node)
    return node
  })
  if (!flags.has('--setup-only')) handOver(node)
} catch (error) {
  process.stderr.write(`\nsetup: ${error.message}\n`)
  // For bug reports, print the stack of an unexpected error.
  if (!(error instanceof SetupError)) process.stderr.write(`${error.stack.split('\n').filter((line) => line.startsWith('    at')).join('\n')}\n`)
  process.exitCode = 1
}

/** Decodes a file (UTF-8, or UTF-16 with a byte order mark) in the same way as config/env-file.ts. */
function decode (bytes) {
  return new TextDecoder(bytes[0] === 0xff ? 'utf-16le' : bytes[0] === 0xfe ? 'utf-16be' : 'utf-8').decode(bytes)
}

/** @returns whether NODE_ENV is `production`, in the environment or in .env */
function isProduction () {
  const file = join(root, '.env')
  const inFile = () => existsSync(file) ? /^\s*(?:export\s+)?NODE_ENV\s*=\s*["'`]?(\w*)/m.exec(decode(readFileSync(file)))?.[1] : undefined
  return (process.env.NODE_ENV ?? inFile()) === 'production'
}

/**
 * Runs the program with the Node executable `node`, whose folder also comes first on the program's PATH. Exits with the
 * program's exit code. Forwards signals that stop the program. If this process is killed, the IPC channel to the
 * program closes, so that the program can stop.
 *
 * @param {string} node
 */
function handOver (node) {
  const [file, ...rest] = args
  const command = join(root, 'node_modules', '.bin', file)
  const child = spawn(node, [existsSync(command) ? realpathSync(command) : join(root, file), ...rest], {
    cwd: root,
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    // Cache compiled modules: this halves the time until the server listens.
    env: { NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'compile'), ...process.env, PATH: dirname(node) + delimiter + process.env.PATH }
  })
  // A second signal would end the server without waiting for its clients.
  let signalled = false
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      signalled ||= signal !== 'SIGHUP'
      // Do not forward Ctrl-C: the terminal already sends the signal to the whole process group, including the child.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
    })
  }
  // npm does not always forward signals, and a server that keeps running would keep its port. Therefore, stop the
  // program when the npm process that started this process exits.
  const parent = process.ppid
  if (process.env.npm_lifecycle_event) {
    setInterval(() => {
      if (process.ppid === parent || signalled) return
      signalled = true
      child.kill('SIGTERM')
    }, 1000).unref()
  }
  child.once('exit', (code, signal) => {
    process.exit(code ?? 128 + (constants.signals[signal] ?? 0))
  })
}
