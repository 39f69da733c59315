import { join } from 'node:path'
import t from 'tap'
import { build } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'

// If new code is broken, the old code stays in service, and the error contains the location of the fault.

const good = saying('says', 'good')
const head = "import fp from 'fastify-plugin'\nimport { z } from 'zod'\nexport const requests = { 'says:say': { request: z.object({}), reply: z.object({ text: z.string() }) } }\n"
const plugin = (body: string, dependencies = '[]') => `${head}export default fp(async function says (app) {\n${body}\n}, { name: 'says', dependencies: ${dependencies} })\n`

interface Case {
  files: Record<string, string>
  /** Pattern that the error message must match. */
  says: RegExp
  file: string
  line?: number
  status?: number
}

const cases: Record<string, Case> = {
  'a syntax error in TypeScript': { files: { 'index.ts': `${head}export default fp(async function says (app) {\n  app.(\n}, { name: 'says' })\n` }, says: /Expected|Expression expected|Unexpected/, file: 'index.ts', line: 5 },
  'TypeScript that cannot be stripped': { files: { 'index.ts': `${head}enum Kind { A }\n` }, says: /enum/, file: 'index.ts', line: 4 },
  'a syntax error in JavaScript, two imports deep': { files: { 'index.ts': "import './lib/one.js'\n" + good, 'lib/one.js': "import './two.js'\n", 'lib/two.js': 'export const a = 1\nexport const b = 2 +* 3\n' }, says: /Unexpected token/, file: 'index.ts' },
  'an import of a missing file': { files: { 'index.ts': "import './lib/one.ts'\n" + good, 'lib/one.ts': "import './gone.ts'\n" }, says: /Cannot find module/, file: 'lib/one.ts' },
  'an import of a name that is not exported': { files: { 'index.ts': "\n\nimport { nothing } from './lib/some.ts'\n" + good, 'lib/some.ts': 'export const some = 1\n' }, says: /does not provide an export named 'nothing'/, file: 'index.ts', line: 3 },
  'a missing package': { files: { 'index.ts': "import 'no-such-package-anywhere'\n" + good }, says: /no-such-package-anywhere/, file: 'index.ts' },
  'code that throws while it is loaded': { files: { 'index.ts': "\nthrow new Error('at the top')\n" }, says: /at the top/, file: 'index.ts', line: 2 },
  'no plugin': { files: { 'index.ts': 'export const something = 1\n' }, says: /The default export of .* is not a plugin/, file: 'index.ts' },
  'a plugin that throws': { files: { 'index.ts': plugin("  const a = 1\n  throw new Error('it cannot start' + a)") }, says: /it cannot start1/, file: 'index.ts', line: 6 },
  'a plugin that throws in a helper': { files: { 'index.ts': "import { help } from './help.ts'\n" + plugin('  help()'), 'help.ts': "export function help (): void {\n  throw new Error('no help')\n}\n" }, says: /no help/, file: 'help.ts', line: 2 },
  'a plugin that throws when it is ready': { files: { 'index.ts': plugin("  app.addHook('onReady', async () => {\n    throw new Error('not ready')\n  })") }, says: /not ready/, file: 'index.ts', line: 6 },
  'a missing dependency': { files: { 'index.ts': plugin('', "['nowhere']") }, says: /nowhere/, file: 'index.ts' },
  'a dependency that does not run': { files: { 'index.ts': plugin('', "['off']") }, says: /requires off, which is not running/, file: '', status: 409 },
  'a message type of the kernel': { files: { 'index.ts': `${head.replace("'says:say'", "'room:join'")}export default fp(async function says (app) {\n  app.messages.on('room:join', requests['room:join'], () => ({ text: '' }))\n}, { name: 'says' })\n` }, says: /room:join belongs to kernel/, file: 'index.ts', line: 5 },
  'a message type of another feature': { files: { 'index.ts': `${head.replace("'says:say'", "'chat:message'")}export default fp(async function says (app) {\n\n  app.messages.on('chat:message', requests['chat:message'], () => ({ text: '' }))\n}, { name: 'says' })\n` }, says: /chat:message belongs to chat/, file: 'index.ts', line: 6 },
  'a message type twice': { files: { 'index.ts': plugin("  app.messages.on('says:say', requests['says:say'], () => ({ text: '' }))\n  app.messages.on('says:say', requests['says:say'], () => ({ text: '' }))") }, says: /registered twice/, file: 'index.ts', line: 6 },
  'a message type that is not exported': { files: { 'index.ts': plugin("  app.messages.on('says:more', requests['says:say'], () => ({ text: '' }))") }, says: /registers says:more, which is missing from its exported requests/, file: 'index.ts', line: 5 },
  'a route of the kernel': { files: { 'index.ts': plugin("  app.get('/livez', async () => 'mine')") }, says: /GET \/livez belongs to the server itself/, file: 'index.ts', line: 5 },
  'a route of another feature': { files: { 'index.ts': plugin("  app.get('/auth/session', async () => 'mine')") }, says: /GET \/auth\/session belongs to auth/, file: 'index.ts', line: 5 },
  'a route twice': { files: { 'index.ts': plugin("  app.get('/twice', async () => 1)\n  app.get('/twice', async () => 2)") }, says: /twice/, file: 'index.ts', line: 6 },
  'a removed setting': { files: { 'index.ts': "import { z as zod } from 'zod'\nexport const config = zod.object({ volume: zod.number() })\n" + good }, says: /volume/, file: 'index.ts' }
}

t.test('the old instance serves until the new instance loads', async (t) => {
  const folder = featureFolder(t)
  folder.write('says', { 'index.ts': good })
  folder.write('off', { 'index.ts': saying('off', 'off') })
  const server = await build(t, { env: { FEATURES_PATH: folder.path, FEATURES: '-off' } })
  const client = await server.connect(1)
  const works = async () => {
    t.same(await client.ok('says:say', {}), { text: 'good' })
    t.same(await (await fetch(`${server.url}/says`)).json(), { text: 'good' })
    t.equal((await fetch(`${server.url}/auth/session`)).status, 401)
  }
  const info = async () => {
    const { body } = await server.admin('GET', '/admin/features')
    return (body as { features: { name: string }[] }).features.find(({ name }) => name === 'says') as unknown as Record<string, unknown>
  }
  await works()

  for (const [name, { files, says, file, line, status = 422 }] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      folder.remove('says')
      folder.write('says', files)
      // Keep sending requests during the failed reload.
      const stop = { now: false }
      const talking = (async () => {
        let calls = 0
        while (!stop.now) {
          await client.ok('says:say', {})
          calls++
        }
        return calls
      })()
      const { status: answered, body } = await server.admin('POST', '/admin/features/says/reload')
      stop.now = true
      t.ok(await talking > 0)
      const { error } = body as { error: { code: string, message: string, details: { file?: string, line?: number, stack?: string } } }
      t.equal(answered, status, JSON.stringify(error))
      t.match(error.message, says)
      if (file !== '') {
        t.equal(error.details.file, join(folder.path, 'says', file))
        if (line !== undefined) t.equal(error.details.line, line)
        t.notMatch(JSON.stringify(error), /gen=/)
        t.match(await info(), { state: 'enabled', generation: 1, error: says })
        const health = (await server.admin('GET', '/health')).body as unknown as { features: { name: string }[] }
        t.match(health.features.find(({ name }) => name === 'says'), { state: 'enabled', error: says }, '/health reports the error')
        t.match(await (await fetch(`${server.url}/metrics`)).text(), /flylive_feature_failed\{feature="says"\} 1/)
      }
      await works()
    })
  }

  folder.write('says', { 'index.ts': saying('says', 'better') })
  t.match(await server.admin('POST', '/admin/features/says/reload'), { status: 200, body: { state: 'enabled', error: null } })
  t.same(await client.ok('says:say', {}), { text: 'better' })
  t.match(await (await fetch(`${server.url}/metrics`)).text(), /flylive_feature_failed\{feature="says"\} 0/)
})

t.test('a feature that never loaded can be repaired', async (t) => {
  const folder = featureFolder(t)
  folder.write('says', { 'index.ts': plugin("  throw new Error('not yet')") })
  const server = await build(t, { env: { FEATURES_PATH: folder.path } })
  const client = await server.connect(1)
  t.equal(await client.fails('says:say', {}), 'FEATURE_DISABLED')
  t.match(server.app.features.list().find(({ name }) => name === 'says'), { state: 'failed', error: /not yet/ })
  t.equal((await server.admin('POST', '/admin/features/says/enable')).status, 422)
  folder.write('says', { 'index.ts': good })
  t.match(await server.admin('POST', '/admin/features/says/reload'), { status: 200, body: { state: 'enabled', changed: { enabled: ['says'] } } })
  t.same(await client.event('feature:enabled'), { name: 'says' })
  t.same(await client.ok('says:say', {}), { text: 'good' })
})

t.test('rejects a new instance that lacks decorators its dependents use', async (t) => {
  const folder = featureFolder(t)
  const base = (body: string) => `import fp from 'fastify-plugin'\nexport default fp(async function base (app) {\n${body}\n}, { name: 'base' })\n`
  folder.write('base', { 'index.ts': base("  app.decorate('base', () => 'based')") })
  folder.write('says', { 'index.ts': saying('says', 'x').replace("{ name: 'says', dependencies: [] }", "{ name: 'says', dependencies: ['base'], decorators: { fastify: ['base'] } }").replace('text: "x"', 'text: app.base()') })
  const server = await build(t, { env: { FEATURES_PATH: folder.path } })
  const client = await server.connect(1)
  t.same(await client.ok('says:say', {}), { text: 'based' })
  folder.write('base', { 'index.ts': base('') })
  t.match(await server.admin('POST', '/admin/features/base/reload'), { status: 422, body: { error: { code: 'FEATURE_LOAD_FAILED', message: /says requires app.base/ } } })
  t.same(await client.ok('says:say', {}), { text: 'based' })
  folder.write('base', { 'index.ts': base("  app.decorate('base', () => 'based anew')") })
  t.equal((await server.admin('POST', '/admin/features/base/reload')).status, 200)
  t.same(await client.ok('says:say', {}), { text: 'based anew' }, 'dependents use the new instance without a reload')
})
