import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { gcOptions } from '../../scripts/test-lanes.ts'
import { adminKey, featuresFor, jwtSecret } from './build.ts'
import { until } from './retry.ts'

const root = join(import.meta.dirname, '..', '..')

/** The server as a separate process, started like `npm start`. */
export interface ServerProcess {
  child: ChildProcess
  /** http://127.0.0.1:port. Resolves once the server listens. */
  url: Promise<string>
  /** Output so far, from stdout and stderr. */
  output (): string
  exit: Promise<{ code: number | null, signal: NodeJS.Signals | null }>
}

/**
 * @returns a new empty folder, which is deleted after the test. `t.testdir` would empty the folder of the test's other
 *   servers.
 */
function emptyFolder (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-server-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/**
 * Starts `server.ts` with an environment, and kills the process after the test.
 *
 * @param cwd working directory; an empty folder by default
 * @param program path of a `server.ts`; by default, the `server.ts` of this checkout
 * @param launcher a command prefix that runs the server, such as `ip netns exec …`
 */
export function startServer (t: Test, env: Record<string, string> = {}, cwd = emptyFolder(t), program = join(root, 'server.ts'), launcher: readonly string[] = []): ServerProcess {
  const [command = '', ...args] = [...launcher, process.execPath, ...gcOptions, program]
  const child = spawn(command, args, {
    cwd,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      NODE_ENV: 'test',
      LOG_LEVEL: 'info',
      JWT_SECRET: jwtSecret,
      ADMIN_API_KEY: adminKey,
      MEDIASOUP_WORKERS: '1',
      MEDIASOUP_RTC_MIN_PORT: String(40_000 + process.pid % 10_000),
      ...env,
      ...featuresFor(env)
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
  listening.promise.catch(() => { /* Prevents an unhandled rejection in tests that do not need the URL. */ })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
  })
  return { child, url: listening.promise, output: () => output, exit }
}

/**
 * Waits until a server responds. Use this function for servers that log only warnings, because such servers do not log
 * that they listen.
 *
 * @param url the server's address, with a port from `freePort`
 */
export async function untilResponding ({ child, output }: ServerProcess, url: string): Promise<void> {
  await until(async () => {
    const status = await fetch(`${url}/livez`).then((response) => response.status, String)
    if (status !== 200) throw new Error(`The server does not respond (${status}, exit code ${child.exitCode}): ${output()}`)
  }, 120_000)
}
