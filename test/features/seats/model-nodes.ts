import { join } from 'node:path'
import type { Test } from 'tap'
import { adminKey } from '../../support/build.ts'
import { startServer, untilResponding } from '../../support/process.ts'
import type { ServerProcess } from '../../support/process.ts'
import { freePort } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

/** A server process that can be restarted. */
export interface Node {
  readonly url: string
  /** Whether the server accepts connections. */
  up: boolean
  /** Number of connection attempts in progress. */
  coming: number
  /** Time of the last shutdown or kill, epoch milliseconds. */
  downAt: number
  /** Sends the signal to the server, waits until it exits and restarts it on the same port. */
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
  /** Time of the request, epoch milliseconds. */
  at: number
}

/** How long a response is reused, in milliseconds. The server accepts 3,000 calls per address per minute. */
const lookMs = 250

/** @param folder the folder for the server's data; several servers may share it */
export async function startNode (t: Test, folder: string, number: number, env: Record<string, string>): Promise<Node> {
  const port = String(await freePort())
  const url = `http://127.0.0.1:${port}`
  const start = () => startServer(t, {
    MEDIASOUP_WORKERS: '1',
    MEDIASOUP_RTC_MIN_PORT: String(40_000 + (process.pid * 20 + number * 5) % 15_000),
    LOG_LEVEL: 'warn',
    PORT: port,
    DATA_DIR: join(folder, `data-${number}`),
    ...env
  })
  let server: ServerProcess = start()
  // Servers log the loss of another server as a warning; no error may be logged, except that the process was blocked
  // for seconds on a busy machine.
  const check = () => t.same(server.output().split('\n').filter((line) => /"level":[56]0|^\w*Error/.test(line) && !line.includes('the event loop is still blocked')), [], 'no error was logged')
  await untilResponding(server, url)

  const pages = new Map<string, { at: number, page: Promise<Page<unknown>> }>()
  async function call (path: string, body?: object): Promise<Page<unknown>> {
    const at = Date.now()
    const response = await fetch(url + path, {
      method: body ? 'PATCH' : 'GET',
      headers: { authorization: `Bearer ${adminKey}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {})
    })
    return { at, status: response.status, body: await response.json() as unknown }
  }

  const node: Node = {
    url,
    up: true,
    coming: 0,
    downAt: 0,
    check,
    async restart (signal) {
      node.up = false
      // Waits for open connection attempts, because the shutdown may reject them without a code.
      if (signal === 'SIGTERM') await until(() => node.coming === 0)
      node.downAt = Date.now()
      server.child.kill(signal)
      const { code } = await server.exit
      if (signal === 'SIGTERM') t.equal(code, 0, 'a stopped server exits with 0')
      check()
      server = start()
      await untilResponding(server, url)
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
