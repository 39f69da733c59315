import t from 'tap'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const infoOf = (server: TestServer, name: string) => server.app.features.list().find((one) => one.name === name)
const post = (server: TestServer, path: string, body?: unknown) => server.admin('POST', `/admin/features/${path}`, body)

t.test('a toggle applies to all servers, including those started later', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const bob = await b.connect(2)
  await bob.ok('room:join', { roomId: 'r1' })

  const begin = performance.now()
  t.equal((await post(a, 'chat/disable')).status, 200)
  t.same(await bob.event('feature:disabled'), { name: 'chat' })
  t.comment(`${Math.round(performance.now() - begin)} ms from the call to the event on the other server`)
  t.equal(await bob.fails('chat:message', { content: 'x' }), 'FEATURE_DISABLED')
  t.equal((await a.admin('PATCH', '/admin/features/seats/config', { graceSeconds: 3 })).status, 200)
  await until(() => infoOf(b, 'seats')?.config.graceSeconds === 3)

  const c = await build(t, { env })
  t.match(infoOf(c, 'chat'), { state: 'disabled' })
  t.match(infoOf(c, 'seats'), { config: { graceSeconds: 3 } })
  t.equal((await post(c, 'chat/enable')).status, 200)
  await bob.event('feature:enabled')
  await until(() => infoOf(a, 'chat')?.state === 'enabled')
  await bob.ok('chat:message', { content: 'back' })
})

t.test('a reload and a rescan apply to all servers', async (t) => {
  const folder = featureFolder(t)
  folder.write('says', { 'index.ts': saying('says', 'one') })
  const env = { REDIS_URL: await redisDatabase(), FEATURES_PATH: folder.path }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const bob = await b.connect(2)
  const text = async (name = 'says') => {
    const reply = await bob.request(`${name}:say`, {})
    return reply.ok ? reply.data.text : reply.error?.code
  }
  folder.write('says', { 'index.ts': saying('says', 'two') })
  folder.write('more', { 'index.ts': saying('more', 'found') })
  t.equal((await post(a, 'says/reload')).status, 200)
  await until(async () => await text() === 'two')
  t.match(await post(a, 'rescan'), { body: { added: ['more'] } })
  await until(async () => await text('more') === 'found')
})

t.test('a server that cannot apply a change reports it and keeps running', async (t) => {
  const [ofA, ofB] = [featureFolder(t), featureFolder(t)]
  for (const folder of [ofA, ofB]) folder.write('says', { 'index.ts': saying('says', 'one') })
  const { url } = await startRedis(t)
  const a = await build(t, { env: { REDIS_URL: url, FEATURES_PATH: ofA.path } })
  const b = await build(t, { env: { REDIS_URL: url, FEATURES_PATH: ofB.path } })
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  ofA.write('says', { 'index.ts': saying('says', 'two') })
  ofB.write('says', { 'index.ts': "throw new Error('not on this machine')" })
  t.match(await post(a, 'says/reload'), { status: 200, body: { generation: 2 } })
  await until(() => infoOf(b, 'says')?.error !== undefined)
  t.match(infoOf(b, 'says'), { state: 'enabled', generation: 1, error: /not on this machine.*index\.ts:1/ })
  t.same(await ada.ok('says:say', {}), { text: 'two' })
  t.same(await bob.ok('says:say', {}), { text: 'one' })
  const health = (await b.admin('GET', '/health')).body as unknown as { features: { name: string, error?: string }[] }
  t.match(health.features.find(({ name }) => name === 'says'), { state: 'enabled', error: /not on this machine/ })
  t.match(await (await fetch(`${b.url}/metrics`)).text(), /flylive_feature_failed\{feature="says"\} 1/)
  t.match(await (await fetch(`${a.url}/metrics`)).text(), /flylive_feature_failed\{feature="says"\} 0/)

  ofB.write('says', { 'index.ts': saying('says', 'three') })
  t.equal((await post(a, 'says/reload')).status, 200)
  await until(async () => (await bob.ok('says:say', {})).text === 'three')
  t.equal(infoOf(b, 'says')?.error, undefined)
})

t.test('a server imports a feature whose dependency is off only once per change', async (t) => {
  const folder = featureFolder(t)
  const shared = Object.assign(globalThis as unknown as { flyliveImports: number }, { flyliveImports: 0 })
  folder.write('base', { 'index.ts': saying('base', 'x') })
  folder.write('top', { 'index.ts': `globalThis.flyliveImports++\n${saying('top', 'x', { dependencies: ['base'] })}` })
  const env = { REDIS_URL: await redisDatabase(), FEATURES_PATH: folder.path }
  const a = await build(t, { env: { ...env, FEATURES: 'auth,chat,base,top' } })
  const b = await build(t, { env: { ...env, FEATURES: 'auth,chat,top' } })
  t.match(infoOf(b, 'top'), { state: 'failed', error: /base/ })
  const before = shared.flyliveImports
  t.equal((await post(a, 'top/reload')).status, 200)
  await until(() => shared.flyliveImports === before + 2)
  for (const generation of [2, 3]) {
    t.equal((await post(a, 'chat/reload')).status, 200)
    await until(() => infoOf(b, 'chat')?.generation === generation)
  }
  t.equal(shared.flyliveImports, before + 2, 'one import per server')
  t.equal((await post(a, 'base/enable')).status, 200)
  await until(() => infoOf(b, 'top')?.state === 'enabled')
  t.equal(infoOf(b, 'base')?.state, 'enabled', 'the feature runs once its dependency runs')
})

t.test('concurrent changes on two servers all apply to both servers', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const servers = [await build(t, { env }), await build(t, { env })] as const
  const answers = await Promise.all([
    post(servers[0], 'chat/disable'), post(servers[1], 'gifts/disable'),
    servers[0].admin('PATCH', '/admin/features/seats/config', { graceSeconds: 4 }), servers[1].admin('PATCH', '/admin/features/auto-close/config', { emptyRoomSeconds: 5 }),
    post(servers[0], 'media/reload'), post(servers[1], 'auth/reload')
  ])
  t.ok(answers.every(({ status }) => status === 200))
  for (const server of servers) {
    await until(() => infoOf(server, 'chat')?.state === 'disabled' && infoOf(server, 'gifts')?.state === 'disabled' &&
      infoOf(server, 'seats')?.config.graceSeconds === 4 && infoOf(server, 'auto-close')?.config.emptyRoomSeconds === 5)
    await until(() => infoOf(server, 'media')?.generation === 2 && infoOf(server, 'auth')?.generation === 2)
  }
  t.pass('both servers apply both changes')
})

t.test('rejects changes during a Redis outage, and applies missed changes afterwards', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const ada = await a.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  redis.process.kill('SIGSTOP')
  t.match(await post(a, 'chat/disable'), { status: 503, body: { error: { code: 'UNAVAILABLE' } } })
  t.equal(infoOf(a, 'chat')?.state, 'enabled')
  redis.process.kill('SIGCONT')
  await ada.ok('chat:message', { content: 'still here' })
  await until(async () => (await post(a, 'chat/disable')).status === 200)
  await until(() => infoOf(b, 'chat')?.state === 'disabled')
  t.pass('the missed change is applied')
})
