import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import type { Test } from 'tap'

/** A Redis process that the test may suspend or kill. */
export interface TestRedis {
  readonly url: string
  readonly port: number
  /** The current process. */
  readonly process: ChildProcess
  /** Kills the process with SIGKILL, so its data is lost. */
  kill (): Promise<void>
  /** Restarts Redis on the same port. */
  start (): Promise<void>
}

/**
 * @returns a free port from 12000 to 19999. In tests, media workers use ports from 20000 upwards, and outgoing
 *   connections use ports from 32768 upwards, so neither takes the port before the test uses it
 */
export async function freePort (): Promise<number> {
  for (;;) {
    const port = randomInt(12_000, 20_000)
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
    } catch {
      continue
    }
    server.close()
    await once(server, 'close')
    return port
  }
}

let shared: Promise<number> | undefined
/** Command timeout, long enough that tests do not fail on a busy machine. */
export const commandTimeoutMs = 15_000

let sharedUrl: string | undefined
let databases = 0

/**
 * Creates a Redis database for a test. All tests of a process share one Redis, which the first call starts. All
 * databases of a Redis share the pub/sub channels, so two concurrent backends need separate Redis servers (see {@link
 * startRedis}).
 *
 * @returns the URL of the database
 */
export async function redisDatabase (): Promise<string> {
  shared ??= startShared()
  sharedUrl = `redis://127.0.0.1:${await shared}/`
  return sharedUrl + String(++databases)
}

/** Whether a URL was returned by {@link redisDatabase}. */
export const isSharedRedis = (url: string | undefined): boolean => sharedUrl !== undefined && url?.startsWith(sharedUrl) === true

async function startShared (): Promise<number> {
  const port = await freePort()
  const child = await spawnRedis(port, tmpdir())
  process.once('exit', () => { child.kill('SIGKILL') })
  child.unref()
  child.stdout?.destroy()
  return port
}

async function spawnRedis (port: number, folder: string, host = '127.0.0.1', options: readonly string[] = []): Promise<ChildProcess> {
  const child = spawn('redis-server', ['--port', String(port), '--bind', host, '--protected-mode', 'no', '--databases', '4096', '--save', '', '--appendonly', 'no', '--dir', folder, ...options], { stdio: ['ignore', 'pipe', 'ignore'] })
  let output = ''
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      output += String(chunk)
      if (output.includes('Ready to accept connections')) resolve()
    })
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`redis-server ended: ${output}`)))
  })
  return child
}

/**
 * Starts a Redis, and stops it after the test.
 *
 * @param host the address to listen on
 * @param options command-line options of `redis-server`
 */
export async function startRedis (t: Test, host = '127.0.0.1', options: readonly string[] = []): Promise<TestRedis> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-redis-'))
  const port = await freePort()
  let child: ChildProcess | undefined

  async function start () {
    child = await spawnRedis(port, folder, host, options)
  }
  async function kill () {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }

  await start()
  t.teardown(async () => {
    await kill()
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    url: `redis://${host}:${port}/3`,
    port,
    get process () {
      return child as ChildProcess
    },
    kill,
    start
  }
}

/** Sends one command to a Redis or a Sentinel. */
export async function redisCommand (port: number, ...args: [string, ...(string | number)[]]): Promise<unknown> {
  const redis = new Redis(port, '127.0.0.1', { lazyConnect: true, retryStrategy: () => null })
  redis.on('error', () => { /* The promise rejects. */ })
  try {
    await redis.connect()
    return await redis.call(...args)
  } finally {
    redis.disconnect()
  }
}

/**
 * Reports the commands that run in a Redis database, until the test ends. Uses a raw socket, because ioredis fails when
 * the reply to MONITOR and the first command arrive together.
 *
 * @param url the URL of the database
 * @param onCommand receives each command with the command's arguments and source; the source is the client's address,
 *   or `lua` for a command of a script
 * @returns a function that ends the reports
 */
export async function monitorRedis (t: Test, url: string, onCommand: (command: string[], source: string) => void): Promise<() => void> {
  const { port, pathname } = new URL(url)
  const ownDatabase = pathname.slice(1) || '0'
  const socket = createConnection(Number(port), '127.0.0.1')
  t.teardown(() => socket.destroy())
  const listening = Promise.withResolvers<void>()
  createInterface({ input: socket }).on('line', (line) => {
    if (line === '+OK') return listening.resolve()
    const [, database, source = '', text = ''] = /^\+[\d.]+ \[(\d+) ([^\]]+)\] (.*)/.exec(line) ?? []
    if (database === ownDatabase) onCommand([...text.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, arg = '']) => arg), source)
  })
  socket.write('MONITOR\r\n')
  await listening.promise
  return () => socket.destroy()
}

/**
 * Creates a client with the server's options (plugins/redis), except for the command timeout. While the client is not
 * connected, its commands fail immediately.
 */
export async function redisClient (t: Test, redis: Pick<TestRedis, 'port'>, db = 0, commandTimeout = commandTimeoutMs): Promise<Redis> {
  const client = new Redis({
    port: redis.port,
    db,
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout,
    retryStrategy: () => 50
  })
  client.on('error', () => { /* The test may stop Redis. */ })
  t.teardown(() => client.disconnect())
  await client.connect()
  return client
}

/** Like {@link redisClient}, but with a new database. */
export async function databaseClient (t: Test): Promise<Redis> {
  const { port, pathname } = new URL(await redisDatabase())
  return await redisClient(t, { port: Number(port) }, Number(pathname.slice(1)))
}
