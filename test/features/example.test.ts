import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { build } from '../support/build.ts'

const root = join(import.meta.dirname, '..', '..')

t.test('the feature in CONTRIBUTING.md works as printed', async (t) => {
  const code = /```ts\n([\s\S]+?)```/.exec(readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8'))?.[1] ?? ''
  t.ok(code.trim().split('\n').length <= 22, 'about 20 lines')
  // Simulates a deployment whose feature folder is outside the checkout and has no node_modules.
  const featuresDir = mkdtempSync(join(tmpdir(), 'flylive-features-'))
  t.teardown(() => rmSync(featuresDir, { recursive: true, force: true }))
  mkdirSync(join(featuresDir, 'wave'), { recursive: true })
  writeFileSync(join(featuresDir, 'wave', 'index.ts'), code)

  const server = await build(t, { env: { FEATURES_PATH: featuresDir } })
  t.match(server.app.features.list().find(({ name }) => name === 'wave'), {
    state: 'enabled', messages: ['wave:send'], routes: ['GET /waves', 'HEAD /waves'], dependencies: ['rooms']
  })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  t.equal(await ada.fails('wave:send', { to: 'Bob' }), 'NOT_IN_ROOM')
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  t.same(await ada.ok('wave:send', { to: 'Bob' }), { to: 'Bob' })
  t.same(await bob.event('wave:received'), { roomId: 'r1', from: 1, to: 'Bob' })
  t.equal(await ada.fails('wave:send', { to: 3 }), 'VALIDATION_FAILED')
  t.equal(await ada.fails('wave:send', { to: 'Bob', roomId: 'r2' }), 'NOT_IN_ROOM', 'a room that the user is not in')
  t.same(await (await fetch(`${server.url}/waves`)).json(), { total: 1 })
  t.match(await (await fetch(`${server.url}/metrics`)).text(), 'flylive_waves_total 1')
})
