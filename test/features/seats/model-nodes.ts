import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { adminKey } from '../../support/build.ts'
import { startServer } from '../../support/process.ts'
import type { ServerProcess } from '../../support/process.ts'
import { freePort } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

/** A server process that can be restarted. */
export interface Node {
  readonly url: string
  /** Whether it takes connections. */
  up: boolean
  /** Connections that are being made. */
  coming: number
  /** When it was last ended, epoch milliseconds. */
  downAt: number
  /** Kills it without a word, or asks it to end and waits until it has; then starts it again on its port. */
  restart (signal: 'SIGKILL' | 'SIGTERM'): Promise<void>
  /** Checks that it has logged no error since it was started. */
  check (): void
  /** One of the admin's pages, at most a moment old. */
  page<T> (path: string): Promise<Page<T>>
  changeSeats (roomId: string, seatCount: number): Promise<Page<unknown>>
}

export interface Page<T> {
  status: number
  body: T
  /** When it was asked for, epoch milliseconds. */
  at: number
}

/** An admin may make ten calls per second, so pages are read at this interval, in milliseconds. */
const lookMs = 250

/** @param folder for its data; several servers may share it */
export async function startNode (t: Test, folder: string, number: number, env: Record<string, string>): Promise<Node> {
  const port = String(await freePort())
  const url = `http://127.0.0.1:${port}`
  let starts = 0
  const start = () => {
    const cwd = join(folder, `node-${number}-${++starts}`)
    mkdirSync(cwd)
    // Each start gets its own folder; the test's folder would be emptied.
    const own = { testdir: () => cwd, teardown: (fn: () => Promise<void>) => t.teardown(fn) } as unknown as Test
    return startServer(own, {
      MEDIASOUP_WORKERS: '1',
      MEDIASOUP_RTC_MIN_PORT: String(40_000 + (process.pid * 20 + number * 5) % 15_000),
      LOG_LEVEL: 'warn',
      PORT: port,
      DATA_DIR: join(folder, `data-${number}`),
      ...env
    })
  }
  let server: ServerProcess = start()
  // At this log level the server does not print its address.
  const ready = () => until(async () => {
    if (server.child.exitCode !== null) throw new Error(`A server ended: ${server.output()}`)
    return await fetch(`${url}/livez`).then(({ status }) => status === 200, () => false)
  }, 60_000)
  // That others are gone is worth a warning; nothing here is worth more.
  const check = () => t.same(server.output().split('\n').filter((line) => /"level":[56]0|^\w*Error/.test(line)), [], 'no error was logged')
  await ready()

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
      // A connection during the shutdown may be rejected without a code.
      if (signal === 'SIGTERM') await until(() => node.coming === 0)
      node.downAt = Date.now()
      server.child.kill(signal)
      const { code } = await server.exit
      if (signal === 'SIGTERM') t.equal(code, 0, 'a server that is asked to end does so')
      check()
      server = start()
      await ready()
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
