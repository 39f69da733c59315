import { globSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { buildApp } from '../app.ts'
import { loadConfig } from '../config/load.ts'

const root = resolve(import.meta.dirname, '..')

/**
 * Starts a server with every feature but without a port, to generate documentation. The result does not depend on this
 * machine or its environment.
 *
 * @returns the ready app; `close()` releases all resources
 * @throws if a feature does not run, because the documentation of that feature would be missing
 */
export async function wholeApp (): Promise<FastifyInstance> {
  const names = globSync('features/*/index.ts', { cwd: root }).map((file) => basename(dirname(file)))
  const dataDir = mkdtempSync(join(tmpdir(), 'flylive-docs-'))
  const config = loadConfig({
    // In the environment `test`, the documentation would have the limits of tests, which are much higher.
    NODE_ENV: 'development',
    FEATURES_WATCH: 'false',
    LOG_LEVEL: 'silent',
    NODE_ID: 'docs',
    FEATURES: names.join(),
    // Admin routes need a key, and the bridge needs a backend URL. Nothing listens at this URL.
    ADMIN_API_KEY: 'only-there-so-that-admin-routes-exist',
    LARAVEL_API_URL: 'http://127.0.0.1:9',
    LARAVEL_INTERNAL_KEY: 'only-there-so-that-the-bridge-starts',
    WEBHOOK_URLS: 'http://127.0.0.1:9/webhooks',
    WEBHOOK_SECRET: 'only-there-so-that-webhooks-start',
    DATA_DIR: dataDir,
    MEDIASOUP_LISTEN_IP: '127.0.0.1',
    MEDIASOUP_WORKERS: '1',
    MEDIASOUP_RTC_MIN_PORT: String(20_000 + process.pid % 20_000)
  })
  const app = await buildApp({ config, warmWorkers: false })
  app.addHook('onClose', async () => rmSync(dataDir, { recursive: true, force: true }))
  await app.ready()
  const failed = app.features.list().filter(({ state }) => state !== 'enabled')
  if (failed.length > 0) {
    await app.close()
    throw new Error(`Features that do not run: ${failed.map(({ name, error }) => `${name} (${error ?? 'disabled'})`).join(', ')}`)
  }
  return app
}
