import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { adminKey, build } from '../../support/build.ts'
import { startServer, untilResponding } from '../../support/process.ts'
import { freePort } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

/** A server that can be restarted. */
export interface Node {
  /** The URL of a server in this process changes when the server is restarted. */
  readonly url: string
  /** Whether the server accepts connections. */
  up: boolean
  /** Number of connection attempts in progress. */
  coming: number
  /** Time of the last shutdown or kill, in epoch milliseconds. */
  downAt: number
  /** Whether the server runs in a separate process, which can be killed. */
  readonly isProcess: boolean
  /**
   * Sends the server a signal, waits for the exit of the server and starts the server again. If the server runs in this
   * process, the server is closed instead of signalled.
   */
  restart (signal: 'SIGKILL' | 'SIGTERM'): Promise<void>
  /** Checks that the server has logged no error since its start. */
  check (): void
  /** Returns a response of the admin API that is at most 250 ms old. */
  page<T> (path: string): Promise<Page<T>>
  changeSeats (roomId: string, seatCount: number): Promise<Page<unknown>>
}

export interface Page<T> {
  status: number
  body: T
  /** Time of the request, in epoch milliseconds. */
  at: number
}

/** How long a response is reused, in milliseconds. The server accepts 3,000 calls per address per minute. */
const lookMs = 250

/** A running server. */
interface Running {
  url: string
  /** @returns the logged errors */
  errors (): string[]
  stop (signal: 'SIGKILL' | 'SIGTERM'): Promise<void>
}

/** @returns a function that starts a server process, always on the same port */
async function processStarter (t: Test, folder: string, number: number, env: Record<string, string>): Promise<() => Promise<Running>> {
  const port = String(await freePort())
  const url = `http://127.0.0.1:${port}`
  return async () => {
    const server = startServer(t, {
      MEDIASOUP_WORKERS: '1',
      MEDIASOUP_RTC_MIN_PORT: String(40_000 + (process.pid * 20 + number * 5) % 15_000),
      LOG_LEVEL: 'warn',
      PORT: port,
      DATA_DIR: join(folder, `data-${number}`),
      ...env
    })
    await untilResponding(server, url)
    return {
      url,
      errors: () => server.output().split('\n').filter((line) => /"level":[56]0|^\w*Error/.test(line)),
      async stop (signal) {
        server.child.kill(signal)
        const { code } = await server.exit
        if (signal === 'SIGTERM') t.equal(code, 0, 'a stopped server exits with 0')
      }
    }
  }
}

/** @returns a function that starts a server in this process, to save the CPU time of a separate process */
function localStarter (t: Test, env: Record<string, string>): () => Promise<Running> {
  return async () => {
    const errors: string[] = []
    const { url, close } = await build(t, { env, log: (line) => { if (Number(line.level) >= 50) errors.push(JSON.stringify(line)) } })
    return { url, errors: () => errors, stop: close }
  }
}

/** Deletes the leases of a killed server, so that the other servers detect the kill at their next check. */
async function endLease (url: string, nodeId: string): Promise<void> {
  const redis = new Redis(url)
  await redis.del(await redis.keys(`msab:node:{${nodeId}-*}`))
  redis.disconnect()
}

interface NodeOptions {
  /** Whether the server runs in a separate process. */
  isProcess: boolean
  /** True if the server's lease ends immediately when the server is killed. */
  endsLease: boolean
}

/** @param folder the folder for the server's data; several servers may share it */
export async function startNode (t: Test, folder: string, number: number, baseEnv: Record<string, string>, { isProcess, endsLease }: NodeOptions): Promise<Node> {
  const env: Record<string, string> & { NODE_ID: string } = { ...baseEnv, NODE_ID: `n${number}` }
  const start = isProcess ? await processStarter(t, folder, number, env) : localStarter(t, env)
  let server = await start()
  // The loss of another server is logged only as a warning. The error about a blocked event loop is ignored, because it
  // can occur on a busy machine.
  const check = () => t.same(server.errors().filter((line) => !line.includes('the event loop is still blocked')), [], 'no error was logged')

  const pages = new Map<string, { at: number, page: Promise<Page<unknown>> }>()
  async function call (path: string, body?: object): Promise<Page<unknown>> {
    const at = Date.now()
    const response = await fetch(server.url + path, {
      method: body ? 'PATCH' : 'GET',
      headers: { authorization: `Bearer ${adminKey}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {})
    })
    return { at, status: response.status, body: await response.json() as unknown }
  }

  const node: Node = {
    get url () { return server.url },
    isProcess,
    up: true,
    coming: 0,
    downAt: 0,
    check,
    async restart (signal) {
      node.up = false
      // Wait for pending connection attempts, because a server that shuts down may reject an attempt without an error
      // code.
      if (signal === 'SIGTERM') await until(() => node.coming === 0)
      node.downAt = Date.now()
      await server.stop(signal)
      check()
      if (signal === 'SIGKILL' && endsLease) await endLease(env.REDIS_URL ?? '', env.NODE_ID)
      server = await start()
      node.up = true
    },
    async page<T> (path: string) {
      const known = pages.get(path)
      if (known && Date.now() < known.at + lookMs) return await known.page as Page<T>
      const page = call(path)
      pages.set(path, { at: Date.now(), page })
      return await page as Page<T>
    },
    changeSeats: (roomId, seatCount) => call(`/admin/rooms/${roomId}/seats`, { seatCount })
  }
  return node
}
