import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AddressInfo } from 'node:net'
import { createSigner } from 'fast-jwt'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { buildApp } from '../../app.ts'
import { loadConfig } from '../../config/load.ts'
import type { Timings } from '../../plugins/timings.ts'
import { connect } from './client.ts'
import type { ConnectOptions, TestClient } from './client.ts'
import { commandTimeoutMs, isSharedRedis, redisDatabase } from './redis.ts'

export const jwtSecret = 'a-secret-for-tests-that-is-long-enough'
export const adminKey = 'an-admin-key-for-tests-that-is-long-enough'

/** A folder in memory if possible, so that tests do not wait for a disk. */
const dataFolder = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

const sign = createSigner({ key: jwtSecret, algorithm: 'HS256', expiresIn: '1h' })

/**
 * @param id the user's id
 * @param claims claims in addition to `id` and `name`
 * @returns a token in the backend's format
 */
export function tokenFor (id: string | number, claims: Record<string, unknown> = {}): string {
  return sign({ id, name: `User ${id}`, ...claims })
}

/** Timings for tests that wait for leases, Redis recoveries or jobs. These timings are at most half of the defaults. */
export const shortTimings: Partial<Timings> = { leaseMs: 3000, recoveryMs: 1500, reconcileIntervalMs: 300, closeVerifyDelayMs: 500, jobPollIntervalMs: 100 }

/** Default features that few tests need. Servers without these features start faster. */
const rarelyNeeded = ['broadcast', 'docs', 'push-to-talk', 'recording', 'whip']

/**
 * Returns the variable FEATURES of a server under test, depending on the FEATURES that the test passes.
 *
 * With a list of features, the server has these features, and also `socket-io` if the test clients use it (TEST_FACE).
 *
 * With features to remove (`-chat`), the server has the default features without these features and without the rarely
 * needed features.
 *
 * Without FEATURES, the server has the default features without the rarely needed features. If TEST_WITHOUT names a
 * feature (test/features/matrix.long.ts), the server has all default features except that feature.
 *
 * With an empty string, the server has all default features.
 */
export function featuresFor ({ FEATURES }: Record<string, string>): Record<string, string> {
  if (FEATURES === '') return {}
  const without = process.env.TEST_WITHOUT
  if (FEATURES === undefined) return { FEATURES: (without === undefined ? rarelyNeeded : [without]).map((name) => `-${name}`).join() }
  if (FEATURES.startsWith('-')) return { FEATURES: [FEATURES, ...rarelyNeeded.map((name) => `-${name}`)].join() }
  return { FEATURES: process.env.TEST_FACE === 'socket.io' ? `${FEATURES},socket-io` : FEATURES }
}

/** A server under test on its own port. */
export interface TestServer {
  app: FastifyInstance
  /** http://127.0.0.1:port */
  url: string
  /** Connects as a user and waits for the greeting. */
  connect (userId: string | number, options?: ConnectOptions): Promise<TestClient>
  /** Calls the admin API with the key. */
  admin (method: string, path: string, body?: unknown): Promise<{ status: number, body: Record<string, unknown> | null }>
  close (): Promise<void>
}

export interface BuildOptions {
  env?: Record<string, string>
  featuresDir?: string
  /** Default: a free port. */
  port?: number
  /** Starts all media workers immediately, as in production. By default, each worker starts on first use. */
  warmWorkers?: boolean
  /** Overrides defaults of plugins/timings.ts. */
  timings?: Partial<Timings>
  /** Receives each log line of level info or above. */
  log?: (line: Record<string, unknown>) => void
}

/**
 * Starts a server, and closes it after the test. Each process searches for media ports from its own offset, so that
 * parallel servers rarely collide.
 */
export async function build (t: Test, { env = {}, log, timings, port: wanted = 0, ...options }: BuildOptions = {}): Promise<TestServer> {
  const dataDir = mkdtempSync(join(dataFolder, 'flylive-data-'))
  const config = loadConfig({
    NODE_ENV: 'test',
    JWT_SECRET: jwtSecret,
    ADMIN_API_KEY: adminKey,
    DATA_DIR: dataDir,
    MEDIASOUP_RTC_MIN_PORT: String(20_000 + process.pid % 20_000),
    ...env,
    ...(options.featuresDir === undefined ? featuresFor(env) : {})
  })
  const collected = log && { level: 'info', stream: { write: (line: string) => log(JSON.parse(line) as Record<string, unknown>) } }
  const logger = collected ?? (process.env.TEST_LOG === undefined ? false : { level: process.env.TEST_LOG })
  // No test stops the shared Redis, so its commands can have a long timeout.
  const sharedTimings: Partial<Timings> = isSharedRedis(env.REDIS_URL) ? { redisCommandMs: commandTimeoutMs } : {}
  const app = await buildApp({ config, logger, warmWorkers: false, timings: { ...sharedTimings, ...timings }, ...options })
  let closing: Promise<void> | undefined
  const close = async () => {
    closing ??= app.close()
    await closing
  }
  t.teardown(async () => {
    await close()
    rmSync(dataDir, { recursive: true, force: true })
  })
  await app.listen({ host: '127.0.0.1', port: wanted })
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  return {
    app,
    url,
    connect: (userId, connectOptions) => connect(t, url, { token: tokenFor(userId), ...connectOptions }),
    async admin (method, path, body) {
      const response = await fetch(url + path, {
        method,
        headers: { authorization: `Bearer ${adminKey}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) })
      })
      const text = await response.text()
      return { status: response.status, body: text === '' ? null : JSON.parse(text) as Record<string, unknown> }
    },
    close
  }
}

export type StoreKind = 'memory' | 'redis'

/**
 * Runs a test on the store named by `TEST_STORE`: `memory` (default) or `redis`.
 * `TEST_STORE=redis npm test` runs all of these tests on Redis.
 *
 * @param fn receives the environment that selects the store
 */
export function onEveryStore (t: Test, name: string, fn: StoreTest): void {
  runOn(t, process.env.TEST_STORE === 'redis' ? 'redis' : 'memory', name, fn)
}

/**
 * Runs a test on both stores. Use this function if the behaviour depends on the store, for example for atomic changes
 * or with several servers.
 */
export function onBothStores (t: Test, name: string, fn: StoreTest): void {
  runOn(t, 'memory', name, fn)
  runOn(t, 'redis', name, fn)
}

/** @returns a function that runs a test on the given store only; other tests cover the other store */
export const onStore = (kind: StoreKind) => (t: Test, name: string, fn: StoreTest): void => runOn(t, kind, name, fn)

type StoreTest = (t: Test, env: Record<string, string>, kind: StoreKind) => Promise<void>

function runOn (t: Test, kind: StoreKind, name: string, fn: StoreTest): void {
  t.test(`${name} (${kind})`, { buffered: t.jobs > 1 }, async (t) => fn(t, kind === 'redis' ? { REDIS_URL: await redisDatabase() } : {}, kind))
}
