import t from 'tap'
import { createDesiredState, createSettings } from '../../../plugins/features/settings.ts'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// The tests run in parallel, because they are independent and some of the tests wait for a poll of the settings. Each
// test has its own Redis, because the databases of one Redis share pub/sub channels.
t.jobs = 4
const concurrent = { buffered: true }

const post = (server: TestServer, path: string) => server.admin('POST', `/admin/features/${path}`)
const patch = (server: TestServer, name: string, body: object) => server.admin('PATCH', `/admin/features/${name}/config`, body)
const infoOf = (server: TestServer, name: string) => server.app.features.list().find((one) => one.name === name)
const settings = (server: TestServer) => server.app.kv.namespace('features').get('settings')

t.test('keeps concurrent changes of two admins', concurrent, async (t) => {
  const env = { REDIS_URL: (await startRedis(t)).url, FEATURES: 'auth,chat' }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  const [a, b] = servers
  const patched = await Promise.all([patch(a, 'chat', { history: 7 }), patch(b, 'chat', { messagesPerMinute: 9 })])
  t.same(patched.map(({ status }) => status), [200, 200])
  for (const server of servers) await until(() => infoOf(server, 'chat')?.config.history === 7 && infoOf(server, 'chat')?.config.messagesPerMinute === 9)
  t.equal((await post(a, 'chat/enable')).status, 200)
  t.match(await Promise.all([post(a, 'chat/disable'), post(b, 'chat/reload')]), [{ status: 200 }, { status: Number }])
  for (const server of servers) await until(() => infoOf(server, 'chat')?.state === 'disabled')
  t.match(await post(a, 'chat/enable'), { body: { config: { history: 7, messagesPerMinute: 9 } } })
})

t.test('rejects one of two conflicting toggles', concurrent, async (t) => {
  const folder = featureFolder(t)
  folder.write('base', { 'index.ts': saying('base', 'x') })
  folder.write('top', { 'index.ts': saying('top', 'x', { dependencies: ['base'] }) })
  const env = { REDIS_URL: (await startRedis(t)).url, FEATURES: 'auth,base', FEATURES_PATH: folder.path }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const answers = await Promise.all([post(a, 'base/disable'), post(b, 'top/enable')])
  t.same(answers.map(({ status }) => status).sort(), [200, 409])
  await until(() => ['base', 'top'].every((name) => infoOf(a, name)?.state === infoOf(b, name)?.state))
  t.same(infoOf(a, 'base')?.state, answers[0]?.status === 200 ? 'disabled' : 'enabled')
})

t.test('applies changes made during startup and changes without a notification', concurrent, async (t) => {
  const folder = featureFolder(t)
  const starting = Promise.withResolvers<void>()
  const go = Promise.withResolvers<void>()
  Object.assign(globalThis, { flyliveStarting: () => { starting.resolve(); return go.promise } })
  folder.write('slow', { 'index.ts': saying('slow', 'x', { before: 'await globalThis.flyliveStarting()' }) })
  const env = { REDIS_URL: (await startRedis(t)).url, FEATURES: 'auth,chat,reactions' }
  const a = await build(t, { env })
  const building = build(t, { env: { ...env, FEATURES: `${env.FEATURES},slow`, FEATURES_PATH: folder.path } })
  await starting.promise
  t.equal((await post(a, 'chat/disable')).status, 200)
  go.resolve()
  const b = await building
  await until(() => infoOf(b, 'chat')?.state === 'disabled')

  const { send } = a.app.cluster
  a.app.cluster.send = async () => false
  t.equal((await post(a, 'reactions/disable')).status, 200)
  a.app.cluster.send = send
  await until(() => infoOf(b, 'reactions')?.state === 'disabled', 30_000)
  t.pass('the server polls the settings')
})

t.test('restores settings after the store loses its data', concurrent, async (t) => {
  const env = { REDIS_URL: (await startRedis(t)).url, FEATURES: 'auth,chat,reactions' }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  await post(a, 'chat/disable')
  await patch(a, 'reactions', { reactionsPerMinute: 5 })
  await until(() => infoOf(b, 'chat')?.state === 'disabled' && infoOf(b, 'reactions')?.config.reactionsPerMinute === 5)
  await a.app.redis.flushall()
  t.equal((await post(b, 'chat/enable')).status, 200)
  await until(() => infoOf(a, 'chat')?.state === 'enabled')
  await until(async () => /"reactionsPerMinute":5/.test(await settings(a) ?? ''), 30_000)
  for (const server of [a, b]) await until(() => infoOf(server, 'reactions')?.config.reactionsPerMinute === 5)
  const c = await build(t, { env })
  t.match(infoOf(c, 'reactions'), { config: { reactionsPerMinute: 5 } })
})

t.test('applies changes in dependency order', concurrent, async (t) => {
  const folder = featureFolder(t)
  folder.write('zbase', { 'index.ts': "throw new Error('broken')" })
  folder.write('atop', { 'index.ts': saying('atop', 'x', { dependencies: ['zbase'] }) })
  const env = { REDIS_URL: (await startRedis(t)).url, FEATURES: 'auth,zbase,atop', FEATURES_PATH: folder.path }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  folder.write('zbase', { 'index.ts': saying('zbase', 'x') })
  t.match(await post(a, 'atop/enable?cascade=true'), { status: 200, body: { changed: { enabled: ['zbase', 'atop'] } } })
  await until(() => infoOf(b, 'atop')?.state === 'enabled')
  t.match(infoOf(b, 'zbase'), { state: 'enabled', error: undefined })
})

t.test('notifies clients once; a change without effect causes no reload', concurrent, async (t) => {
  const env = { REDIS_URL: (await startRedis(t)).url, FEATURES: 'auth,chat,reactions' }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const clients = [await a.connect(1), await b.connect(2)]
  await post(a, 'chat/disable')
  await post(a, 'chat/disable')
  await patch(a, 'chat', { history: 3 })
  await post(a, 'reactions/enable')
  await post(a, 'reactions/disable')
  for (const client of clients) {
    await client.event('feature:disabled', ({ name }) => name === 'reactions')
    t.equal(client.events.filter(({ type, data }) => type === 'feature:disabled' && data.name === 'chat').length, 1)
  }
  await post(a, 'chat/enable')
  await until(() => infoOf(b, 'chat')?.state === 'enabled')
  const before = infoOf(b, 'chat')?.generation
  await post(a, 'chat/enable')
  await post(a, 'reactions/enable')
  await until(() => infoOf(b, 'reactions')?.state === 'enabled')
  t.equal(infoOf(b, 'chat')?.generation, before)
  t.match(infoOf(b, 'chat')?.config, { history: 3 })
})

t.test('repeats a rescan that failed to read the settings', concurrent, async (t) => {
  const folder = featureFolder(t)
  const env = { REDIS_URL: (await startRedis(t)).url, FEATURES: 'auth,chat,more', FEATURES_PATH: folder.path }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  folder.write('more', { 'index.ts': saying('more', 'x') })
  const settingsOfB = b.app.kv.namespace('features')
  const { get } = settingsOfB
  settingsOfB.get = async () => { throw new Error('away for a moment') }
  await post(a, 'rescan')
  settingsOfB.get = get
  await until(() => infoOf(b, 'more')?.state === 'enabled', 30_000)
  t.pass('the next poll repeats the rescan')
})

/** The settings as read by one server, with a store that can lose its data and can reject changes. */
function stateWithStore () {
  const store: { text: string | undefined, accepts: boolean } = { text: undefined, accepts: true }
  const values = {
    get: async () => store.text,
    async compareAndSet (_key: string, expected: string | undefined, value: string) {
      if (!store.accepts) throw new Error('the store rejects changes')
      if (store.text !== expected) return false
      store.text = value
      return true
    }
  }
  return { store, desired: createDesiredState(createSettings(values), () => true, () => {}) }
}

t.test('remembers lost settings until they are restored', async (t) => {
  const { store, desired } = stateWithStore()
  await desired.set({ chat: (now) => ({ ...now, enabled: false }) })
  Object.assign(store, { text: undefined, accepts: false })
  await t.rejects(desired.read())
  store.accepts = true
  await desired.read()
  t.equal(desired.isWanted('chat'), false)
  t.match(store.text, '"enabled":false')
})

t.test('a change restores settings that the store has lost', async (t) => {
  const { store, desired } = stateWithStore()
  await desired.set({ chat: (now) => ({ ...now, enabled: false, config: { history: 7 } }), gifts: (now) => ({ ...now, enabled: false }) })
  store.text = undefined
  await desired.set({ chat: ({ config, ...now }) => ({ ...now, config: { ...config, messagesPerMinute: 9 } }) })
  await desired.read()
  t.strictSame([desired.isWanted('chat'), desired.isWanted('gifts')], [false, false])
  t.strictSame(desired.settingOf('chat').config, { history: 7, messagesPerMinute: 9 })
})

t.test('writes a toggle that another server has reversed without this server noticing', concurrent, async (t) => {
  const env = { REDIS_URL: (await startRedis(t)).url, FEATURES: 'auth,chat' }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const { send } = b.app.cluster
  const unnoticed = async (path: string) => {
    b.app.cluster.send = async () => false
    t.equal((await post(b, path)).status, 200)
    b.app.cluster.send = send
  }
  await unnoticed('chat/disable')
  t.equal((await post(a, 'chat/enable')).status, 200)
  await until(() => infoOf(b, 'chat')?.state === 'enabled')
  t.equal((await post(a, 'chat/disable')).status, 200)
  await until(() => infoOf(b, 'chat')?.state === 'disabled')
  await unnoticed('chat/enable')
  t.equal((await post(a, 'chat/disable')).status, 200)
  await until(() => infoOf(b, 'chat')?.state === 'disabled')
  for (const server of [a, b]) t.equal(infoOf(server, 'chat')?.state, 'disabled')
})

t.test('a rescan that cannot be written changes nothing', async (t) => {
  const folder = featureFolder(t)
  const server = await build(t, { env: { FEATURES: 'auth,more', FEATURES_PATH: folder.path } })
  folder.write('more', { 'index.ts': saying('more', 'x') })
  const values = server.app.kv.namespace('features')
  const { compareAndSet } = values
  values.compareAndSet = async () => { throw new Error('away for a moment') }
  t.match(await post(server, 'rescan'), { status: 503 })
  t.equal(infoOf(server, 'more'), undefined)
  values.compareAndSet = compareAndSet
  t.match(await post(server, 'rescan'), { status: 200, body: { added: ['more'] } })
})
