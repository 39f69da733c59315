// This import must come first: it limits heap growth, and loading the other modules grows the heap.
import './config/heap.ts'
import { constants } from 'node:os'
import closeWithGrace from 'close-with-grace'
import { buildApp } from './app.ts'
import { loadConfig } from './config/load.ts'
import type { Config } from './config/load.ts'
import { secretVariables } from './config/secrets.ts'
import { banner } from './config/banner.ts'
import { readEnvFile } from './config/env-file.ts'
import { ConfigError, StartError } from './config/error.ts'
import { listenError } from './config/listen-error.ts'
import { handleBlock, handleFault } from './plugins/features/supervisor.ts'
import { startWatchdog } from './plugins/features/watchdog.ts'

// Starts and stops the process; app.ts builds the server.

// scripts/run.mjs and scripts/demo.ts start this process with an IPC channel.
// If the parent process is killed, the channel closes and the server stops.
if (process.connected === false) process.exit()
process.channel?.unref()
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))

// Ends the process on a signal during startup. Without this handler, the process would keep running: mediasoup listens
// for these signals, which disables their default action.
const interrupts = ['SIGINT', 'SIGTERM'] as const
const interrupted = (signal: NodeJS.Signals) => process.exit(128 + constants.signals[signal])
for (const signal of interrupts) process.once(signal, interrupted)

/**
 * Maximum number of connections waiting to be accepted. When a server is killed, its clients reconnect at the same
 * time. With the default of 511, some clients would have to retry after a second or more.
 */
const backlog = 4096

/**
 * A second signal ends the process immediately, unless it arrives within this time after the first, in milliseconds. If
 * a process manager signals the whole process group, the server receives the signal twice, because scripts/run.mjs
 * forwards it.
 */
const sameSignalMs = 1000

/** Ends the process after a fault that no feature caused, because the process is then in an unknown state. */
let end: (error: unknown) => void = giveUp
process.on('uncaughtException', (error) => { if (!handleFault(error, 'exception')) end(error) })
process.on('unhandledRejection', (error) => { if (!handleFault(error, 'rejection')) end(error) })

const config = readConfig()
// With TLS, SIGHUP reloads the certificate (plugins/tls) and must not end the server, even while it starts or stops.
const hangup = config.SSL_CERT_PATH === undefined ? [] : ['SIGHUP' as const]
for (const signal of hangup) process.on(signal, () => {})
const app = await start(config)

let fault: { err: unknown } | undefined
let isStopping = false
let stopped: { signal: NodeJS.Signals, at: number } | undefined
const closing = closeWithGrace({ delay: (config.DRAIN_SECONDS + 10) * 1000, logger: false, skip: ['uncaughtException', 'unhandledRejection', ...interrupts, 'SIGHUP'] }, async ({ signal = stopped?.signal }) => {
  isStopping = true
  if (fault) app.log.fatal(fault, 'stopping after an error')
  else app.log.info({ signal }, 'stopping')
  // After a fault, the server notifies clients, but does not wait until they leave.
  await app.drain.begin(fault ? 0 : config.DRAIN_SECONDS, true)
  await app.close()
  // This exception makes the process exit with 1.
  if (fault) throw fault.err
})
end = (error) => {
  if (isStopping) {
    app.log.fatal({ err: error }, 'an error occurred during the shutdown')
    process.exit(1)
  }
  isStopping = true
  fault = { err: error }
  closing.close()
}
function stop (signal: NodeJS.Signals): void {
  if (stopped && performance.now() - stopped.at > sameSignalMs) process.exit(1)
  if (stopped) return
  stopped = { signal, at: performance.now() }
  if (!isStopping) closing.close()
}
startWatchdog(handleBlock)
for (const signal of interrupts) process.off(signal, interrupted)
for (const signal of hangup.length > 0 ? interrupts : [...interrupts, 'SIGHUP' as const]) process.on(signal, stop)

const address = await app.listen({ host: config.HOST, port: config.PORT, backlog }).catch((error: unknown) => giveUp(listenError(error, config)))
const token = config.generated.has('JWT_SECRET') ? app.features.getFeature('auth')?.sign?.({ id: 1, name: 'Ada' }, '12h') : undefined
process.stdout.write(banner(config, address, app.features.list().flatMap(({ routes }) => routes), token))

function readConfig (): Config {
  try {
    // Libraries read their own variables, such as MEDIASOUP_WORKER_BIN, from process.env.
    Object.assign(process.env, { ...readEnvFile('.env'), ...process.env })
    const config = loadConfig(process.env)
    // Remove the secrets from process.env, so that features and child processes cannot read the secrets there.
    for (const name of secretVariables()) delete process.env[name]
    return config
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n\nSee docs/configuration.md for all variables.\n`)
    process.exit(1)
  }
}

async function start (config: Config) {
  // If nobody reads stdout any more, the log is discarded. With pino's default stream, an exiting process would try
  // forever to write its last lines.
  process.stdout.on('error', () => {})
  // An error from Redis contains the failed command, and a command may contain the password.
  const redact = ['req.headers.authorization', 'headers.authorization', 'err.command.args']
  const logger = config.NODE_ENV === 'development' && isInstalled('pino-pretty')
    ? { level: config.LOG_LEVEL, redact, transport: { target: 'pino-pretty', options: { translateTime: 'HH:MM:ss', ignore: 'pid,hostname,node' } } }
    : { level: config.LOG_LEVEL, redact, stream: process.stdout }
  return await buildApp({ config, logger }).then(async (app) => { await app.ready(); return app }).catch(giveUp)
}

/** @returns whether a development package is installed */
function isInstalled (name: string): boolean {
  try {
    import.meta.resolve(name)
    return true
  } catch {
    return false
  }
}

function giveUp (error: unknown): never {
  const reason = error instanceof StartError ? error.message : error instanceof Error ? error.stack : String(error)
  process.stderr.write(`The server could not start: ${reason}\n`)
  process.exit(1)
}
