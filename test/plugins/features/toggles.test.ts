import { renameSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { build, onBothStores, onEveryStore } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { until } from '../../support/retry.ts'

interface Info { name: string, state: string, generation: number, error: string | null, config: Record<string, unknown> }

const infoOf = async (server: TestServer, name: string): Promise<Info | undefined> =>
  ((await server.admin('GET', '/admin/features')).body as unknown as { features: Info[] }).features.find((one) => one.name === name)
const post = (server: TestServer, path: string) => server.admin('POST', `/admin/features/${path}`)

onBothStores(t, 'disables and enables a feature and notifies everyone', async (t, env) => {
  const server = await build(t, { env: { ...env, FEATURES: 'auth,chat' } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await ada.ok('chat:message', { content: 'before' })

  t.match(await post(server, 'chat/disable'), { status: 200, body: { name: 'chat', state: 'disabled', generation: 0, loadedAt: null, changed: { enabled: emptyArray, disabled: ['chat'] } } })
  for (const client of [ada, bob]) t.same(await client.event('feature:disabled'), { name: 'chat' })
  t.equal(await ada.fails('chat:message', { content: 'now' }), 'FEATURE_DISABLED')
  const cyd = await server.connect(3)
  t.notOk((cyd.greeting.features as string[]).includes('chat'))
  t.notOk('chatHistory' in await cyd.ok('room:join', { roomId: 'r1' }))
  t.match(await post(server, 'chat/disable'), { status: 200, body: { state: 'disabled', changed: { disabled: emptyArray } } }, 'repeating has no effect')

  t.match(await post(server, 'chat/enable'), { status: 200, body: { state: 'enabled', generation: 2, error: null, changed: { enabled: ['chat'], disabled: emptyArray } } })
  for (const client of [ada, bob, cyd]) t.same(await client.event('feature:enabled'), { name: 'chat' })
  await ada.ok('chat:message', { content: 'after' })
  t.match((await bob.ok('room:join', { roomId: 'r1' })).chatHistory, [{ content: 'before' }, { content: 'after' }], 'existing rooms have the feature again')
  t.match(await post(server, 'chat/enable'), { status: 200, body: { state: 'enabled', generation: 2, changed: { enabled: emptyArray } } })
})

t.test('rejects invalid toggles', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat,media' } })
  for (const action of ['enable', 'disable', 'reload']) t.match(await post(server, `nothing/${action}`), { status: 404, body: { error: { code: 'FEATURE_NOT_FOUND' } } })
  t.match(await server.admin('PATCH', '/admin/features/nothing/config', {}), { status: 404, body: { error: { code: 'FEATURE_NOT_FOUND' } } })
  t.match(await post(server, 'chat/disable?cascade=maybe'), { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } })
  t.match(await server.admin('PATCH', '/admin/features/chat/config', { history: -1 }), { status: 400, body: { error: { code: 'VALIDATION_FAILED', details: [{ path: 'history' }] } } })
  t.match(await server.admin('PATCH', '/admin/features/chat/config', { histroy: 1 }), { status: 400, body: { error: { code: 'VALIDATION_FAILED', message: /histroy/ } } })
  t.match(await server.admin('PATCH', '/admin/features/media/config', { some: 1 }), { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } }, 'the feature has no settings')
  t.match(await infoOf(server, 'chat'), { state: 'enabled', generation: 1, error: null })
  await post(server, 'chat/disable')
  t.match(await post(server, 'chat/reload'), { status: 409, body: { error: { code: 'FEATURE_DISABLED' } } })
})

t.test('toggles dependent features together', async (t) => {
  const folder = featureFolder(t)
  folder.write('base', { 'index.ts': saying('base', 'base') })
  folder.write('middle', { 'index.ts': saying('middle', 'middle', { dependencies: ['base'] }) })
  folder.write('top', { 'index.ts': saying('top', 'top', { dependencies: ['middle'] }) })
  folder.write('lone', { 'index.ts': saying('lone', 'lone') })
  const server = await build(t, { env: { FEATURES: 'auth,base,middle,top,lone', FEATURES_PATH: folder.path } })
  const client = await server.connect(1)
  const names = ['base', 'middle', 'top', 'lone']
  const states = async () => await Promise.all(names.map(async (name) => (await infoOf(server, name))?.state))

  t.match(await post(server, 'base/disable'), { status: 409, body: { error: { code: 'FEATURE_IN_USE', details: { dependents: ['top', 'middle'] } } } })
  t.same(await states(), ['enabled', 'enabled', 'enabled', 'enabled'])
  t.match(await post(server, 'base/disable?cascade=true'), { status: 200, body: { changed: { disabled: ['top', 'middle', 'base'] } } })
  t.same(await states(), ['disabled', 'disabled', 'disabled', 'enabled'])
  for (const name of ['top', 'middle', 'base']) t.equal(await client.fails(`${name}:say`, {}), 'FEATURE_DISABLED')

  t.match(await post(server, 'top/enable'), { status: 409, body: { error: { code: 'DEPENDENCY_DISABLED', details: { dependencies: ['middle', 'base'] } } } })
  t.same(await states(), ['disabled', 'disabled', 'disabled', 'enabled'])
  folder.write('middle', { 'index.ts': "throw new Error('broken in the middle')" })
  t.match(await post(server, 'top/enable?cascade=true'), { status: 422, body: { error: { message: /broken in the middle/ } } })
  t.same(await states(), ['disabled', 'disabled', 'disabled', 'enabled'], 'if one feature fails, none is enabled')
  folder.write('middle', { 'index.ts': saying('middle', 'better', { dependencies: ['base'] }) })
  t.match(await post(server, 'top/enable?cascade=true'), { status: 200, body: { changed: { enabled: ['base', 'middle', 'top'] } } })
  t.same(await states(), ['enabled', 'enabled', 'enabled', 'enabled'])
  t.same(await client.ok('middle:say', {}), { text: 'better' })

  // If a feature is enabled together with its dependency, the feature must also use later instances of the dependency.
  const leaning = saying('middle', 'x', { dependencies: ['base'] }).replaceAll('text: "x"', 'text: app.base()')
  folder.write('base', { 'index.ts': saying('base', 'base', { before: "app.decorate('base', () => 'first')" }) })
  folder.write('middle', { 'index.ts': leaning })
  await post(server, 'base/disable?cascade=true')
  t.equal((await post(server, 'middle/enable?cascade=true')).status, 200)
  t.same(await client.ok('middle:say', {}), { text: 'first' })
  folder.write('base', { 'index.ts': saying('base', 'base', { before: "app.decorate('base', () => 'second')" }) })
  t.equal((await post(server, 'base/reload')).status, 200)
  t.same(await client.ok('middle:say', {}), { text: 'second' })
  t.equal((await post(server, 'top/enable')).status, 200)

  folder.write('base', { 'index.ts': saying('base', 'circular', { dependencies: ['top'] }) })
  t.equal((await post(server, 'top/disable')).status, 200)
  t.equal((await post(server, 'middle/disable')).status, 200)
  t.match(await post(server, 'base/reload'), { status: 409, body: { error: { code: 'DEPENDENCY_DISABLED' } } })
  t.equal((await post(server, 'base/disable')).status, 200)
  t.match(await post(server, 'top/enable?cascade=true'), { status: 422, body: { error: { message: /depends on itself/ } } })
})

onEveryStore(t, 'new settings reload the feature, are stored and can be reset', async (t, env) => {
  const folder = t.testdir({})
  const kept = { ...env, FEATURES: 'auth,chat,gifts', DATA_DIR: folder, FEATURES_CONFIG: '{"chat":{"messagesPerMinute":5}}' }
  const first = await build(t, { env: kept })
  const ada = await first.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  for (const content of ['a', 'b', 'c']) await ada.ok('chat:message', { content })
  t.match(await infoOf(first, 'chat'), { config: { messagesPerMinute: 5 } })
  t.match(await first.admin('PATCH', '/admin/features/chat/config', { history: 2 }), { status: 200, body: { generation: 2, config: { history: 2, messagesPerMinute: 5 } } })
  t.match((await (await first.connect(2)).ok('room:join', { roomId: 'r1' })).chatHistory, [{ content: 'b' }, { content: 'c' }])
  t.match(await first.admin('PATCH', '/admin/features/chat/config', { messagesPerMinute: 3 }), { body: { config: { history: 2, messagesPerMinute: 3 } } }, 'a change keeps the other settings')
  t.equal(await ada.fails('chat:message', { content: 'd' }), 'RATE_LIMITED')
  await post(first, 'gifts/disable')
  await first.close()

  const second = await build(t, { env: kept })
  t.match(await infoOf(second, 'chat'), { state: 'enabled', generation: 1, config: { history: 2, messagesPerMinute: 3 } }, 'the settings are kept after a restart')
  t.match(await infoOf(second, 'gifts'), { state: 'disabled' })
  t.match(await second.admin('PATCH', '/admin/features/chat/config', { history: null }), { body: { config: { history: 50, messagesPerMinute: 3 } } })
  await second.close()

  const third = await build(t, { env: kept })
  t.strictSame((await infoOf(third, 'chat'))?.config, { history: 50, messagesPerMinute: 3 })
})

t.test('serialises concurrent changes', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat' } })
  const client = await server.connect(1)
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => post(server, `chat/${i % 2 ? 'enable' : 'disable'}`)))
  t.ok(answers.every(({ status }) => status === 200))
  t.match(await infoOf(server, 'chat'), { state: 'enabled' })
  const reloads = await Promise.all(Array.from({ length: 10 }, () => post(server, 'chat/reload')))
  const generations = reloads.map(({ body }) => body?.generation as number)
  t.equal(new Set(generations).size, 10, 'generations are unique')
  await until(() => client.events.filter(({ type }) => type.startsWith('feature:')).length === 20)
  t.strictSame(client.events.filter(({ type }) => type.startsWith('feature:')).map(({ type }) => type), Array.from({ length: 20 }, (_, i) => i % 2 ? 'feature:enabled' : 'feature:disabled'))
})

t.test('a rescan finds added and removed folders', async (t) => {
  const folder = featureFolder(t)
  const server = await build(t, { env: { FEATURES_PATH: folder.path, FEATURES: '-quiet' } })
  const client = await server.connect(1)
  t.equal(await client.fails('fresh:say', {}), 'UNKNOWN_TYPE')
  folder.write('fresh', { 'index.ts': saying('fresh', 'here') })
  folder.write('quiet', { 'index.ts': saying('quiet', 'hush') })
  folder.write('broken', { 'index.ts': 'nonsense(' })
  folder.write('dependent', { 'index.ts': saying('dependent', 'leaning', { dependencies: ['fresh'] }) })
  t.match(await post(server, 'rescan'), { status: 200, body: { added: ['broken', 'dependent', 'fresh', 'quiet'], removed: emptyArray, failed: { broken: /broken[\\/]index\.ts/ } } })
  t.same(await client.ok('fresh:say', {}), { text: 'here' })
  t.equal(await client.fails('quiet:say', {}), 'FEATURE_DISABLED', 'FEATURES excludes the feature')
  t.match(await infoOf(server, 'broken'), { state: 'failed' })

  folder.remove('fresh')
  t.match(await post(server, 'rescan'), { body: { added: emptyArray, removed: emptyArray, failed: { fresh: /required by dependent/ } } })
  t.same(await client.ok('fresh:say', {}), { text: 'here' })
  folder.remove('dependent')
  folder.remove('broken')
  const changed = await post(server, 'rescan')
  t.same([changed.body?.removed, changed.body?.failed], [['dependent', 'fresh', 'broken'], {}])
  t.equal(await client.fails('fresh:say', {}), 'UNKNOWN_TYPE')
  t.equal(await infoOf(server, 'fresh'), undefined)
  const { body } = await post(server, 'rescan')
  t.match(body, { added: emptyArray, removed: emptyArray })
  t.same(body?.failed, {})
})

t.test('FEATURES_WATCH reloads saved files', async (t) => {
  const folder = featureFolder(t)
  folder.write('says', { 'index.ts': saying('says', 'one') })
  const lines: Record<string, unknown>[] = []
  const logged = (msg: string, feature: string) => lines.find((line) => line.msg === msg && line.feature === feature)
  const server = await build(t, { env: { FEATURES_PATH: folder.path, FEATURES_WATCH: 'true' }, log: (line) => { lines.push(line) } })
  const client = await server.connect(1)
  const says = async (name: string) => {
    const reply = await client.request(`${name}:say`, {})
    return reply.ok ? reply.data.text : reply.error?.code
  }
  folder.write('says', { 'index.ts': saying('says', 'two') })
  await until(async () => await says('says') === 'two')
  folder.write('says', { 'index.ts': 'half a sent' })
  await until(async () => (await infoOf(server, 'says'))?.error !== null)
  t.equal(await says('says'), 'two', 'broken code does not replace the running code')
  const failure = logged('failed to load a feature', 'says')
  t.match(failure, { file: join(folder.path, 'says', 'index.ts'), line: 1, serving: 2, err: { message: String } })
  t.equal(JSON.stringify(failure).split('half a sent').length, 2, 'the log line shows the code once')
  folder.write('says', { 'index.ts': saying('says', 'three') })
  await until(async () => await says('says') === 'three')
  folder.write('more', { 'index.ts': saying('more', 'of it') })
  await until(async () => await says('more') === 'of it')
  t.match(await infoOf(server, 'more'), { generation: 1 }, 'loaded once')
  await until(() => logged('feature loaded', 'more') !== undefined)
  folder.remove('more')
  await until(async () => await says('more') === 'UNKNOWN_TYPE')
  await until(() => logged('feature removed', 'more') !== undefined)
  t.equal(await says('says'), 'three')

  t.equal((await post(server, 'says/disable')).status, 200)
  folder.write('says', { 'index.ts': saying('says', 'four') })
  await until(() => logged('the files of a disabled feature changed; the server loads them when an admin enables the feature', 'says') !== undefined)
})

t.test('a dependent starts once its dependency is repaired, and is not imported before', async (t) => {
  const folder = featureFolder(t)
  const shared = Object.assign(globalThis as unknown as { flyliveTops: number }, { flyliveTops: 0 })
  folder.write('base', { 'index.ts': "throw new Error('broken')" })
  folder.write('middle', { 'index.ts': saying('middle', 'x', { dependencies: ['base'] }) })
  folder.write('top', { 'index.ts': `globalThis.flyliveTops++\n${saying('top', 'x', { dependencies: ['middle'] })}` })
  const env = { FEATURES: 'auth,chat,base,middle,top', FEATURES_PATH: folder.path }
  const server = await build(t, { env })
  t.match(await infoOf(server, 'top'), { state: 'failed', error: /requires middle/ })
  for (let i = 0; i < 2; i++) await post(server, 'chat/reload')
  t.equal((await post(server, 'base/reload')).status, 422)
  t.equal(shared.flyliveTops, 1)
  folder.write('base', { 'index.ts': saying('base', 'x') })
  t.equal((await post(server, 'base/reload')).status, 200)
  await until(async () => (await infoOf(server, 'top'))?.state === 'enabled')
  t.equal(shared.flyliveTops, 2)
  await server.close()

  folder.write('base', { 'index.ts': "throw new Error('broken again')" })
  const watching = await build(t, { env: { ...env, FEATURES_WATCH: 'true' } })
  t.match(await infoOf(watching, 'top'), { state: 'failed', error: /requires middle/ })
  folder.write('base', { 'index.ts': saying('base', 'x') })
  await until(async () => (await infoOf(watching, 'top'))?.state === 'enabled')
})

t.test('FEATURES_WATCH notices an index file with another name, and a feature that replaces another', async (t) => {
  const [folder, later] = [featureFolder(t), featureFolder(t)]
  folder.write('says', { 'index.mjs': saying('says', 'one') })
  const server = await build(t, { env: { FEATURES: 'auth,says', FEATURES_PATH: `${folder.path},${later.path}`, FEATURES_WATCH: 'true' } })
  const client = await server.connect(1)
  const says = async (text: string) => {
    const reply = await client.request('says:say', {})
    return reply.ok && reply.data.text === text
  }
  t.ok(await says('one'))
  renameSync(join(folder.path, 'says', 'index.mjs'), join(folder.path, 'says', 'index.ts'))
  folder.write('says', { 'index.ts': saying('says', 'two') })
  await until(() => says('two'))
  t.equal((await infoOf(server, 'says'))?.error, null)
  later.write('says', { 'index.ts': saying('says', 'three') })
  await until(() => says('three'))
})
