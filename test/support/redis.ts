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

/** A real Redis of a test's own. */
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

/** Starts a Redis that ends with the test. */
export async function startRedis (t: Test): Promise<TestRedis> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-redis-'))
  const port = await freePort()
  let child: ChildProcess | undefined

  async function start () {
    const started = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder], { stdio: ['ignore', 'pipe', 'ignore'] })
    child = started
    let output = ''
    await new Promise<void>((resolve, reject) => {
      started.stdout.on('data', (chunk) => {
        output += String(chunk)
        if (output.includes('Ready to accept connections')) resolve()
      })
      started.once('error', reject)
      started.once('exit', () => reject(new Error(`redis-server ended: ${output}`)))
    })
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

/** A client as the server makes it (plugins/redis.ts): it fails at once while it is not connected. */
export async function redisClient (t: Test, redis: TestRedis, db = 0): Promise<Redis> {
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
