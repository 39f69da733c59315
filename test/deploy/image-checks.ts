import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { adminKey, jwtSecret } from '../support/build.ts'
import { startServer } from '../support/process.ts'
import { mediaWorker, packagesIn, sizeOf } from './image.ts'

/** Packages that a production install must not contain. */
const tools = ['@vitejs/plugin-vue', 'esbuild', 'mediasoup-client', 'pino-pretty', 'rolldown', 'swagger-ui-dist', 'tap', 'typescript', 'typescript-7', 'vite', 'vue', 'zod-openapi']

/** Maximum size of node_modules in megabytes, without the media worker. */
const maxSize = 60

const env = { NODE_ENV: 'production', HOST: '127.0.0.1', PORT: '0', JWT_SECRET: jwtSecret, MEDIASOUP_ANNOUNCED_IP: '127.0.0.1', MEDIASOUP_WORKERS: '1', MEDIASOUP_WORKER_BIN: mediaWorker, DRAIN_SECONDS: '0' }

/** @returns a function that starts the image's server */
const startIn = (t: Test, app: string) => (FEATURES: string) => startServer(t, { ...env, FEATURES }, undefined, join(app, 'server.ts'))

/**
 * Checks the size of an image's packages, and starts a server from the image.
 *
 * @param app the folder that becomes `/app` in the image
 */
export async function checkImage (t: Test, app: string): Promise<void> {
  const modules = join(app, 'node_modules')
  const size = await sizeOf(modules)
  t.comment(`node_modules of the image: ${size.toFixed(1)} MB without the media worker`)
  t.ok(size > 20 && size <= maxSize, `${size.toFixed(1)} MB`)
  const installed = await packagesIn(modules)
  t.ok(installed.includes('fastify'))
  t.same(tools.filter((name) => installed.includes(name)), [])

  const start = startIn(t, app)

  await t.test('starts with the production features', async (t) => {
    const server = start('')
    const url = await server.url
    t.equal((await fetch(`${url}/readyz`)).status, 200)
    for (const path of ['/', '/docs', '/docs/openapi.json']) t.equal((await fetch(url + path)).status, 404, path)
    const { features } = await (await fetch(`${url}/health`, { headers: { authorization: `Bearer ${adminKey}` } })).json() as { features: { name: string, state: string }[] }
    t.same(features.filter(({ state }) => state === 'failed'), [])
    t.match(features, [{ name: 'auth', state: 'enabled' }])
    server.child.kill('SIGTERM')
    t.match(await server.exit, { code: 0 })
  })

  await t.test("the stage serves the image's pages, and the error of the `docs` feature lists the missing packages", async (t) => {
    const server = start('auth,media,stage,docs')
    const url = await server.url
    const page = await fetch(`${url}/admin`)
    t.equal(page.status, 200)
    const [, script = ''] = /src="([^"]+\.js)"/.exec(await page.text()) ?? []
    t.equal((await fetch(new URL(script, `${url}/admin`))).status, 200)
    t.equal((await fetch(`${url}/docs`)).status, 404)
    const response = await fetch(`${url}/admin/features`, { headers: { authorization: `Bearer ${adminKey}` } })
    const { features } = await response.json() as { features: { name: string }[] }
    t.match(features.find(({ name }) => name === 'docs'), { state: 'failed', error: /needs swagger-ui-dist and zod-openapi\. Install them: npm run setup -- --start/ })
    const lines = server.output().split('\n').filter((line) => line.includes('swagger-ui-dist'))
    t.equal(lines.length, 1, 'the error is logged once')
    server.child.kill('SIGTERM')
    await server.exit
  })
}

/**
 * Checks that missing pages affect only the `stage` feature, and that logs are JSON if pino-pretty is not installed.
 */
export async function checkWithoutPages (t: Test, app: string): Promise<void> {
  await rm(join(app, 'features/stage/.built'), { recursive: true })
  const production = startIn(t, app)('auth,media,stage')
  t.equal((await fetch(await production.url)).status, 404)
  t.equal(production.output().split('\n').filter((line) => line.includes('Run: npm run build:stage')).length, 1, 'logged once')

  const development = startServer(t, { ...env, NODE_ENV: 'development', FEATURES: 'auth' }, undefined, join(app, 'server.ts'))
  await development.url
  t.match(JSON.parse(development.output().split('\n')[0] ?? ''), { level: 30, msg: String })
}
