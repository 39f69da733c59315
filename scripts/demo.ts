// A server with simulated users: npm run demo. The demo starts the server, a backend, and talkers: simulated users who
// join rooms, speak, chat and send gifts. When this process stops, all of them stop too, and their data is deleted.
//
//   npm run demo [-- --talkers N] [--room NAME] [--seconds N]
//
// --talkers  number of talkers in the main room, 3 to 6
// --room     name of the main room
// --seconds  stops the demo after this many seconds
//
// The server's variables (PORT, HOST, LOG_LEVEL, ADMIN_API_KEY, …) are read from
// the environment. The .env file and all settings for Redis and TLS are ignored.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startDemoBackend } from './demo/backend.ts'
import { fewestTalkers, fireside } from './demo/cast.ts'
import { rooms } from './demo/script.ts'
import type { Task } from './demo/talkers.ts'

const root = resolve(import.meta.dirname, '..')
/** How long to wait for child processes to exit, in milliseconds. */
const endMs = 5000
/** Maximum number of restarts of the talkers' process after a crash. */
const maxRestarts = 5

const { env } = process
const { room, talkers, seconds } = readOptions()
const host = env.HOST ?? '127.0.0.1'
const children = new Set<ChildProcess>()
const ended = Promise.withResolvers<number>()
const folder = mkdtempSync(join(tmpdir(), 'flylive-demo-'))
let restarts = 0
let ending = false

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => ended.resolve(0))
// If npm exits without forwarding a signal, the IPC channel closes, possibly even before this line runs.
process.once('disconnect', () => ended.resolve(0))
if (process.connected === false) ended.resolve(0)

const failed = (error: unknown) => {
  if (ending) return
  process.stderr.write(`\n${error instanceof Error ? error.message : String(error)}\n`)
  ended.resolve(1)
}
run().catch(failed)
const status = await ended.promise
await stop()
process.exit(status)

async function run (): Promise<void> {
  const port = await freePort(host, Number(env.PORT ?? 3030))
  const owners = new Map(rooms(room, talkers).map(([roomId, { people }]) => [roomId, people[0]?.userId ?? 0]))
  const backend = await startDemoBackend(owners)
  const secret = randomBytes(32).toString('hex')
  const adminKey = env.ADMIN_API_KEY ?? randomBytes(24).toString('base64url')
  const server = start('server.ts', {
    ...Object.fromEntries(Object.entries(env).filter(([name]) => !/^(?:REDIS|SSL)_/.test(name))),
    ...backend.env,
    NODE_ENV: 'development',
    PORT: String(port),
    JWT_SECRET: secret,
    ADMIN_API_KEY: adminKey,
    LOG_LEVEL: env.LOG_LEVEL ?? 'warn'
  })
  server.once('exit', () => failed('The server has exited.'))
  // If the host is a wildcard address, the server also listens on 127.0.0.1.
  const url = `http://${['0.0.0.0', '::'].includes(host) ? '127.0.0.1' : host}:${port}`
  if (!await ready(server, url)) return
  await startTalkers({ url, secret, room, talkers })
  const shown = `http://${host === '127.0.0.1' ? 'localhost' : new URL(url).hostname}:${port}`
  console.log(`
  The conversation has started. Open this URL, choose a name, and listen:

    ${shown}/#${new URLSearchParams({ room })}

  Take a seat to talk, or raise your hand and ${fireside[0].name} will invite you. Send messages,
  reactions and gifts. The lobby lists more rooms, and you can create your own:

    ${shown}/

  On the admin page, you can disable, enable and reload features during the conversation:

    ${shown}/admin
    key: ${adminKey}

  All other users are simulated.${seconds === undefined ? '' : ` The demo ends in ${seconds} seconds.`} Ctrl-C ends the demo; no data is kept.
`)
  if (seconds !== undefined) setTimeout(() => ended.resolve(0), seconds * 1000)
}

function readOptions (): { room: string, talkers: number, seconds: number | undefined } {
  try {
    const { values } = parseArgs({
      options: { talkers: { type: 'string', default: String(fireside.length) }, room: { type: 'string', default: 'fireside' }, seconds: { type: 'string' } }
    })
    const talkers = Number(values.talkers)
    const seconds = values.seconds === undefined ? undefined : Number(values.seconds)
    if (!Number.isInteger(talkers) || talkers < fewestTalkers || talkers > fireside.length) throw new Error(`--talkers must be ${fewestTalkers} to ${fireside.length}`)
    if (!/^[A-Za-z0-9_.:-]{1,128}$/.test(values.room)) throw new Error('--room must be 1–128 characters of A–Z a–z 0–9 _ . : -')
    if (seconds !== undefined && !(seconds > 0)) throw new Error('--seconds must be a number above 0')
    return { room: values.room, talkers, seconds }
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  }
}

/**
 * @returns `port` if that port is free; if `port` is 0, a random free port
 * @throws an error with advice if the port is in use
 */
async function freePort (host: string, port: number): Promise<number> {
  const probe = createServer()
  try {
    await once(probe.listen(port, host), 'listening')
    return (probe.address() as AddressInfo).port
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new Error(`Port ${port} is in use. Stop the process that listens on it, or choose another port: PORT=${port + 1} npm run demo`)
  } finally {
    probe.close()
  }
}

/** Starts a script of this project. When this process exits, the IPC channel closes and the child exits too. */
function start (file: string, env: NodeJS.ProcessEnv): ChildProcess {
  // The child runs in a temporary folder, so that it reads no .env file and its files are deleted at the end.
  const child = fork(join(root, file), { cwd: folder, env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  children.add(child)
  child.once('exit', () => children.delete(child))
  // Ignore errors of send(), because the exit event already reports that the child has exited.
  child.on('error', () => {})
  return child
}

/** @returns true once the child is ready; false if it exits */
async function ready (server: ChildProcess, url: string): Promise<boolean> {
  const isReady = () => fetch(`${url}/readyz`).then(({ ok }) => ok, () => false)
  while (children.has(server)) {
    if (await isReady()) return true
    await delay(100)
  }
  return false
}

/** Starts the talkers and restarts them after a crash. Resolves when the talkers have joined their rooms. */
function startTalkers (task: Task): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const attempt = () => {
    const child = start('scripts/demo/talkers.ts', env)
    child.send(task)
    child.once('message', () => resolve())
    child.once('exit', (code, signal) => {
      if (ending) return
      if (++restarts > maxRestarts) failed(`The talkers exited with ${signal ?? code}.`)
      else attempt()
    })
  }
  attempt()
  return promise
}

/** Stops all child processes and waits for their exit. */
async function stop (): Promise<void> {
  ending = true
  const hard = setTimeout(() => { for (const child of children) child.kill('SIGKILL') }, endMs)
  await Promise.all([...children].map(async (child) => {
    const gone = once(child, 'exit')
    child.kill('SIGTERM')
    await gone
  }))
  clearTimeout(hard)
  rmSync(folder, { recursive: true, force: true })
}
