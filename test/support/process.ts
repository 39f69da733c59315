import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'
import { adminKey, jwtSecret, withoutFeature } from './build.ts'

const root = join(import.meta.dirname, '..', '..')

/** The server as a process of its own, as `npm start` runs it. */
export interface ServerProcess {
  child: ChildProcess
  /** http://127.0.0.1:port, once it listens. */
  url: Promise<string>
  /** What it has printed so far, on both channels. */
  output (): string
  exit: Promise<{ code: number | null, signal: NodeJS.Signals | null }>
}

/**
 * Starts `server.ts` with an environment; it is killed with the test.
 *
 * @param cwd where it is started; an empty folder by default
 * @param program another checkout's server.ts
 */
export function startServer (t: Test, env: Record<string, string> = {}, cwd = t.testdir({}), program = join(root, 'server.ts')): ServerProcess {
  const child = spawn(process.execPath, [program], {
    cwd,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      NODE_ENV: 'test',
      LOG_LEVEL: 'info',
      JWT_SECRET: jwtSecret,
      ADMIN_API_KEY: adminKey,
      MEDIASOUP_RTC_MIN_PORT: String(40_000 + process.pid % 10_000),
      ...withoutFeature(env),
      ...env
    },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let output = ''
  const listening = Promise.withResolvers<string>()
  const collect = (chunk: Buffer) => {
    output += chunk.toString()
    const url = /Server listening at (https?:\/\/[\d.]+:\d+)/.exec(output)?.[1]
    if (url !== undefined) listening.resolve(url)
  }
  child.stdout.on('data', collect)
  child.stderr.on('data', collect)
  const exit = once(child, 'close').then(([code, signal]) => ({ code: code as number | null, signal: signal as NodeJS.Signals | null }))
  exit.then(() => listening.reject(new Error(`The server ended: ${output}`)), () => {})
  listening.promise.catch(() => { /* A test that needs no URL does not wait for it. */ })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
  })
  return { child, url: listening.promise, output: () => output, exit }
}
