import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { featureFolder, saying } from '../../support/features.ts'
import { connect } from '../../support/client.ts'
import { adminKey, build, jwtSecret, tokenFor } from '../../support/build.ts'
import { freePort } from '../../support/redis.ts'
import { startServer } from '../../support/process.ts'

/** Creates a folder from which a server can be started, with packages in its node_modules. */
function installation (t: Test) {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'flylive-installation-')))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return {
    path,
    write (file: string, text: string) {
      mkdirSync(dirname(join(path, file)), { recursive: true })
      writeFileSync(join(path, file), text)
    }
  }
}

t.test('loads, reloads and unloads an external feature that imports the server\'s packages', async (t) => {
  const folder = featureFolder(t)
  const server = await build(t, { env: { FEATURES_PATH: folder.path } })
  const client = await server.connect(1)
  folder.write('outside', { 'index.ts': saying('outside', 'one').replace("import { z } from 'zod'", "import { z } from 'zod'\nimport createError from '@fastify/error'") })
  const { body } = await server.admin('POST', '/admin/features/rescan')
  t.same([body?.added, body?.failed], [['outside'], {}])
  t.same(await client.ok('outside:say', {}), { text: 'one' })
  folder.write('outside', { 'index.ts': saying('outside', 'two') })
  t.equal((await server.admin('POST', '/admin/features/outside/reload')).status, 200)
  t.same(await client.ok('outside:say', {}), { text: 'two' })
  t.equal((await server.admin('POST', '/admin/features/outside/disable')).status, 200)
  t.equal(await client.fails('outside:say', {}), 'FEATURE_DISABLED')
  folder.remove('outside')
  t.match(await server.admin('POST', '/admin/features/rescan'), { body: { removed: ['outside'] } })
  t.equal(await client.fails('outside:say', {}), 'UNKNOWN_TYPE')
})

t.test("an external feature overrides one of the server's", async (t) => {
  const folder = featureFolder(t)
  folder.write('chat', { 'index.ts': saying('chat', 'another chat') })
  const server = await build(t, { env: { FEATURES_PATH: folder.path } })
  const client = await server.connect(1)
  t.same(await client.ok('chat:say', {}), { text: 'another chat' })
  t.equal(await client.fails('chat:message', { content: 'x' }), 'UNKNOWN_TYPE')
})

t.test('loads, reloads and unloads a feature from an npm package', async (t) => {
  const place = installation(t)
  const source = (text: string) => saying('polls', text).replace(JSON.stringify(text), 'help()').replace(JSON.stringify(text), 'help()').replace("import fp from 'fastify-plugin'", "import fp from 'fastify-plugin'\nimport { help } from './lib/help.js'\nimport 'some-dependency'")
  const packageOf = (text: string) => {
    place.write('node_modules/@acme/polls/dist/index.js', source(text))
    place.write('node_modules/@acme/polls/dist/lib/help.js', `export const help = () => ${JSON.stringify(text)}\n`)
  }
  place.write('package.json', '{"name":"deployment","private":true}')
  place.write('node_modules/@acme/polls/package.json', JSON.stringify({ name: '@acme/polls', version: '3.1.4', type: 'module', exports: { import: './dist/index.js' } }))
  place.write('node_modules/@acme/polls/node_modules/some-dependency/package.json', '{"name":"some-dependency","version":"1.0.0","type":"module","main":"index.js"}')
  place.write('node_modules/@acme/polls/node_modules/some-dependency/index.js', 'globalThis.loadedDependency = (globalThis.loadedDependency ?? 0) + 1\n')
  packageOf('one')
  const server = startServer(t, { PORT: String(await freePort()), HOST: '127.0.0.1', JWT_SECRET: jwtSecret, ADMIN_API_KEY: adminKey, MEDIASOUP_WORKERS: '1', DATA_DIR: join(place.path, 'data'), FEATURES_PACKAGES: '@acme/polls,@acme/not-there', NODE_ENV: 'test' }, place.path)
  const url = await server.url
  const admin = async (method: string, path: string) => {
    const response = await fetch(url + path, { method, headers: { authorization: `Bearer ${adminKey}` } })
    return { status: response.status, body: await response.json() as Record<string, unknown> }
  }
  const client = await connect(t, url, { token: tokenFor(1) })
  t.same(await client.ok('polls:say', {}), { text: 'one' })
  packageOf('two')
  t.match(await admin('POST', '/admin/features/polls/reload'), { status: 200, body: { name: 'polls', version: '3.1.4', generation: 2 } })
  t.same(await client.ok('polls:say', {}), { text: 'two' }, "the package's files are reloaded")
  t.equal((await admin('POST', '/admin/features/polls/disable')).status, 200)
  t.equal(await client.fails('polls:say', {}), 'FEATURE_DISABLED')
  t.equal((await admin('POST', '/admin/features/polls/enable')).status, 200)
  t.same(await client.ok('polls:say', {}), { text: 'two' })
  server.child.kill('SIGTERM')
  await server.exit
})
