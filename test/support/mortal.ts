import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { build } from './build.ts'
import type { BuildOptions, TestServer } from './build.ts'
import { createProxy } from './proxy.ts'
import type { Proxy } from './proxy.ts'

/**
 * Redis command timeout in milliseconds, long enough for a busy machine. If a Redis command is pending when `kill` is
 * called, its timeout keeps the test process running.
 */
const redisCommandMs = 5000

/** A server in this process that can be stopped as abruptly as a killed process. */
export interface MortalServer extends TestServer {
  /**
   * Stops the server within this turn of the event loop, so nobody receives anything from it afterwards.
   *
   * @returns the environment for a later server, with a copy of the current DATA_DIR
   */
  kill (): Record<string, string>
}

export interface MortalOptions extends BuildOptions {
  /** Names of the environment variables whose URLs become unreachable after `kill`; all URLs are on 127.0.0.1. */
  reaches?: readonly string[]
}

/**
 * Starts a server that reaches Redis through a proxy. `kill` cuts the proxy's connections. Such a server needs about a
 * tenth of the CPU time of a separate process, but `kill` does not end its media workers.
 */
export async function buildMortal (t: Test, { env = {}, timings, reaches = ['REDIS_URL'], ...options }: MortalOptions = {}): Promise<MortalServer> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-mortal-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const dataDir = env.DATA_DIR ?? join(folder, 'data')
  mkdirSync(dataDir, { recursive: true })
  const proxies: Proxy[] = []
  const throughProxies: Record<string, string> = {}
  for (const name of reaches) {
    const url = env[name]
    if (url === undefined) continue
    const proxy = await createProxy(t, () => Number(new URL(url).port))
    proxies.push(proxy)
    throughProxies[name] = url.replace(/:\d+/, `:${proxy.port}`)
  }
  const server = await build(t, { ...options, env: { ...env, ...throughProxies, DATA_DIR: dataDir }, timings: { redisCommandMs, ...timings } })
  const sockets = new Set<Socket>()
  server.app.server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return {
    ...server,
    kill () {
      const copy = join(folder, 'copy')
      cpSync(dataDir, copy, { recursive: true })
      for (const proxy of proxies) proxy.cut().catch(() => { /* The proxy was already cut. */ })
      for (const socket of sockets) socket.destroy()
      // The server is already cut off, so `close` only frees the server's threads.
      server.close().catch(() => { /* Some hooks fail without Redis. */ })
      return { ...env, DATA_DIR: copy }
    }
  }
}
