import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'

/** A Redis process that a test may pause or kill. */
export interface TestRedis {
  readonly url: string
  readonly port: number
  /** The process that runs now. */
  readonly process: ChildProcess
  /** Kills it without a word; what it held is gone. */
  kill (): Promise<void>
  /** Starts it again on the same port. */
  start (): Promise<void>
}

/** @returns a port that was free a moment ago */
export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

let shared: Promise<number> | undefined
let databases = 0

/**
 * Gives a test a database of its own. All tests of a process share one Redis,
 * which starts with the first call. Pub/sub channels are not part of a
 * database: two backends at a time need two of {@link startRedis}.
 *
 * @returns its URL
 */
export async function redisDatabase (): Promise<string> {
  shared ??= startShared()
  return `redis://127.0.0.1:${await shared}/${++databases}`
}

async function startShared (): Promise<number> {
  const port = await freePort()
  const child = await spawnRedis(port, tmpdir())
  process.once('exit', () => { child.kill('SIGKILL') })
  child.unref()
  child.stdout?.destroy()
  return port
}

async function spawnRedis (port: number, folder: string): Promise<ChildProcess> {
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--databases', '4096', '--save', '', '--appendonly', 'no', '--dir', folder], { stdio: ['ignore', 'pipe', 'ignore'] })
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

/** Starts a Redis that ends with the test. */
export async function startRedis (t: Test): Promise<TestRedis> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-redis-'))
  const port = await freePort()
  let child: ChildProcess | undefined

  async function start () {
    child = await spawnRedis(port, folder)
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
    url: `redis://127.0.0.1:${port}/3`,
    port,
    get process () {
      return child as ChildProcess
    },
    kill,
    start
  }
}

/** A client as the server makes it (plugins/redis): it fails at once while it is not connected. */
export async function redisClient (t: Test, redis: Pick<TestRedis, 'port'>, db = 0): Promise<Redis> {
  const client = new Redis({
    port: redis.port,
    db,
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: 2000,
    enableAutoPipelining: true,
    retryStrategy: () => 50
  })
  client.on('error', () => { /* It is meant to go away. */ })
  t.teardown(() => client.disconnect())
  await client.connect()
  return client
}

/** A client as {@link redisClient} makes it, to a database of the test's own. */
export async function databaseClient (t: Test): Promise<Redis> {
  const { port, pathname } = new URL(await redisDatabase())
  return await redisClient(t, { port: Number(port) }, Number(pathname.slice(1)))
}
