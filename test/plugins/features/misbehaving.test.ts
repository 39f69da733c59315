import t from 'tap'
import { build, onBothStores } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { until } from '../../support/retry.ts'

const post = (server: TestServer, path: string) => server.admin('POST', `/admin/features/${path}`)
const infoOf = (server: TestServer, name: string) => server.app.features.list().find((one) => one.name === name)
const shared = globalThis as unknown as Record<string, unknown>

t.test('an onClose hook that never ends blocks neither reloads nor the shutdown', async (t) => {
  const folder = featureFolder(t)
  const never = Promise.withResolvers<void>()
  shared.flyliveNever = never.promise
  folder.write('hangs', { 'index.ts': saying('hangs', 'x', { before: "app.addHook('onClose', () => globalThis.flyliveNever)" }) })
  const server = await build(t, { env: { FEATURES: 'auth,chat,hangs', FEATURES_PATH: folder.path, FEATURES_DRAIN_SECONDS: '1' } })
  t.match(await post(server, 'hangs/reload'), { status: 200, body: { generation: 2 } })
  t.equal((await post(server, 'chat/disable')).status, 200)
  await server.close()
  never.resolve()
})

t.test('a feature that fails to start and whose onClose hook never ends blocks neither reloads nor the shutdown', async (t) => {
  const folder = featureFolder(t)
  const never = Promise.withResolvers<void>()
  shared.flyliveNever = never.promise
  const server = await build(t, { env: { FEATURES: 'auth,chat', FEATURES_PATH: folder.path, FEATURES_DRAIN_SECONDS: '1' } })
  folder.write('broken', { 'index.ts': saying('broken', 'x', { before: "app.addHook('onClose', () => globalThis.flyliveNever)\n  throw new Error('no connection')" }) })
  t.match(await server.admin('POST', '/admin/features/rescan'), { status: 200, body: { added: ['broken'] } })
  t.match(await post(server, 'broken/enable'), { status: 422, body: { error: { message: /no connection/ } } })
  t.equal((await post(server, 'chat/reload')).status, 200)
  await server.close()
  never.resolve()
})

onBothStores(t, 'the subscriptions of a feature end when it fails to start, or when it is reloaded or disabled', async (t, env) => {
  const folder = featureFolder(t)
  const seen: unknown[] = []
  Object.assign(shared, { flyliveSeen: seen })
  const subscriber = (text: string, after = '') => ({ 'index.ts': saying('hears', text, { before: `await app.bus.subscribe('topic', () => { globalThis.flyliveSeen.push('${text}') })\n  ${after}` }) })
  folder.write('hears', subscriber('failed', "throw new Error('no connection')"))
  const server = await build(t, { env: { ...env, FEATURES: 'auth,hears', FEATURES_PATH: folder.path } })
  const hear = async () => {
    await server.app.bus.publish('topic', 'x')
    await server.app.bus.check()
    return seen.splice(0)
  }
  t.match(infoOf(server, 'hears'), { state: 'failed', error: /no connection/ })
  t.same(await hear(), [])
  folder.write('hears', subscriber('first'))
  t.equal((await post(server, 'hears/reload')).status, 200)
  t.same(await hear(), ['first'])
  folder.write('hears', subscriber('failed again', "throw new Error('no connection')"))
  t.equal((await post(server, 'hears/reload')).status, 422)
  t.same(await hear(), ['first'])
  folder.write('hears', subscriber('second'))
  t.equal((await post(server, 'hears/reload')).status, 200)
  t.same(await hear(), ['second'])
  t.equal((await post(server, 'hears/disable')).status, 200)
  t.same(await hear(), [])
})

t.test('hooks and jobs run in the current feature instance', async (t) => {
  const folder = featureFolder(t)
  const gate = Promise.withResolvers<void>()
  const seen: unknown[] = []
  Object.assign(shared, { flyliveGate: gate.promise, flyliveSeen: seen })
  folder.write('aslow', { 'index.ts': saying('aslow', 'x', { before: "app.hooks.on('media:produce', async () => { globalThis.flyliveSeen.push('waiting'); await globalThis.flyliveGate })" }) })
  const second = (text: string) => saying('second', text, { before: `let closed = false\n  app.addHook('onClose', async () => { closed = true })\n  app.hooks.on('media:produce', async () => { globalThis.flyliveSeen.push(closed ? 'closed' : '${text}') })\n  app.jobs.on('second', async () => { globalThis.flyliveSeen.push(closed ? 'closed job' : 'job ${text}') })` })
  folder.write('second', { 'index.ts': second('old') })
  const server = await build(t, { env: { FEATURES: 'auth,aslow,second', FEATURES_PATH: folder.path } })
  const asked = server.app.hooks.ask('media:produce', 'r1', {} as never)
  await until(() => seen.includes('waiting'))
  folder.write('second', { 'index.ts': second('new') })
  t.equal((await post(server, 'second/reload')).status, 200)
  gate.resolve()
  await asked
  t.same(seen, ['waiting', 'new'])

  const take = server.app.jobStore.takeDue.bind(server.app.jobStore)
  const taken = Promise.withResolvers<void>()
  const go = Promise.withResolvers<void>()
  server.app.jobStore.takeDue = async (...args) => {
    const jobs = await take(...args)
    if (args[0] !== 'second' || jobs.length === 0) return jobs
    taken.resolve()
    await go.promise
    return jobs
  }
  await server.app.jobs.schedule('second', 'k', 0)
  await taken.promise
  t.equal((await post(server, 'second/disable')).status, 200)
  server.app.jobStore.takeDue = take
  go.resolve()
  t.equal((await post(server, 'second/enable')).status, 200)
  await until(() => seen.length === 3)
  t.equal(seen[2], 'job new', 'the job waits until its handler exists')
})

t.test('rejects a reload that creates a circular dependency', async (t) => {
  const folder = featureFolder(t)
  folder.write('base', { 'index.ts': saying('base', 'x') })
  folder.write('top', { 'index.ts': saying('top', 'x', { dependencies: ['base'] }) })
  const server = await build(t, { env: { FEATURES: 'auth,base,top', FEATURES_PATH: folder.path } })
  folder.write('base', { 'index.ts': saying('base', 'y', { dependencies: ['top'] }) })
  t.match(await post(server, 'base/reload'), { status: 422, body: { error: { message: /depends on itself/ } } })
  t.equal((await post(server, 'base/disable')).status, 409)
})

t.test('new settings repair a feature that failed because of its settings', async (t) => {
  const folder = featureFolder(t)
  folder.write('picky', { 'index.ts': "import { defineFeature, z } from 'flylive-audio-server/feature'\nexport const config = z.object({ n: z.int().max(5).default(1) })\nexport default defineFeature(async function picky (app, { n }) { if (n === 3) throw new Error('not three') }, { name: 'picky', config })\n" })
  const server = await build(t, { env: { FEATURES: 'auth,picky', FEATURES_PATH: folder.path, FEATURES_CONFIG: '{"picky":{"n":3}}' } })
  t.match(infoOf(server, 'picky'), { state: 'failed', error: /not three/ })
  t.match(await server.admin('PATCH', '/admin/features/picky/config', { n: 2 }), { status: 200, body: { state: 'enabled', error: null, config: { n: 2 } } })
})

t.test('an invalid config export makes only its own feature fail', async (t) => {
  const folder = featureFolder(t)
  const withConfig = (name: string, config: string) => `import fp from 'fastify-plugin'\nimport { z } from 'zod'\nexport const config = ${config}\nexport default fp(async function odd () {}, { name: '${name}' })\n`
  folder.write('piped', { 'index.ts': withConfig('piped', 'z.object({ n: z.int().optional() }).transform((x) => x)') })
  folder.write('twice', { 'index.ts': withConfig('twice', "z.object({ a: z.string().meta({ id: 'Same' }).optional(), b: z.number().meta({ id: 'Same' }).optional() })") })
  folder.write('constructor', { 'index.ts': saying('ctor', 'x') })
  const server = await build(t, { env: { FEATURES: 'auth,piped,twice,constructor', FEATURES_PATH: folder.path } })
  for (const name of ['piped', 'twice']) t.match(infoOf(server, name), { state: 'failed', error: /index\.ts/ }, name)
  t.equal(infoOf(server, 'constructor'), undefined, 'the name is not a valid feature name')
  t.equal((await server.admin('GET', '/admin/features')).status, 200)
  t.equal((await fetch(`${server.url}/health`)).status, 200)
})

t.test('a failing afterReply function affects neither the reply nor the server', async (t) => {
  const folder = featureFolder(t)
  folder.write('after', { 'index.ts': saying('after', 'x').replace('room: false }, () => (', "room: false }, (_data, { afterReply }) => (afterReply(() => { throw new Error('after') }),") })
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth,after', FEATURES_PATH: folder.path }, log: (line) => { lines.push(line) } })
  const client = await server.connect(1)
  t.match(await client.request('after:say', {}), { ok: true, data: { text: 'x' } })
  await client.flush()
  t.notOk(client.events.some((event) => 'ok' in event), 'no second reply')
  t.match(lines.find(({ msg }) => msg === 'an afterReply callback failed'), { level: 50, err: { message: 'after' } })
})

t.test('a response in progress survives a reload', async (t) => {
  const folder = featureFolder(t)
  folder.write('web', { 'index.ts': saying('web', 'x', { before: "app.get('/web/stream', async (_request, reply) => { const { PassThrough } = await import('node:stream'); const stream = globalThis.flyliveStream = new PassThrough(); stream.write('a'); return reply.send(stream) })" }) })
  const server = await build(t, { env: { FEATURES: 'auth,web', FEATURES_PATH: folder.path, FEATURES_DRAIN_SECONDS: '0' } })
  const response = await fetch(`${server.url}/web/stream`)
  t.equal((await post(server, 'web/reload')).status, 200)
  const stream = shared.flyliveStream as { end (text: string): void }
  stream.end('b')
  t.equal(await response.text(), 'ab')
})

t.test('rejects a malformed URL with the usual error', async (t) => {
  const server = await build(t)
  for (const path of ['/admin/rooms/a%zz', '/nowhere/%c0']) {
    const response = await fetch(server.url + path)
    t.equal(response.status, 400)
    t.match(await response.json(), { error: { code: 'VALIDATION_FAILED', message: String } })
  }
})

t.test('a route that exceeds its deadline returns UNAVAILABLE; a failing message handler does not affect the sender', async (t) => {
  const folder = featureFolder(t)
  folder.write('hangs', {
    'index.ts': saying('hangs', 'x', {
      before: `
  app.get('/hangs/forever', () => new Promise(() => {}))
  app.cluster.on('hangs:noted', () => { throw new Error('a message handler') })
  await app.bus.subscribe('hangs', () => { throw new Error('a subscription') })`
    })
  })
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth,hangs', FEATURES_PATH: folder.path, FEATURES_DEADLINE_SECONDS: '1' }, log: (line) => { lines.push(line) } })
  await server.app.bus.publish('hangs', 'x')
  await server.app.cluster.send('hangs:noted' as never, {} as never)
  t.equal(lines.filter(({ msg }) => msg === 'a message handler failed').length, 2)
  const route = await fetch(`${server.url}/hangs/forever`)
  t.equal(route.status, 503)
  t.match(await route.json(), { error: { code: 'UNAVAILABLE' } })
  t.match(lines.find(({ msg }) => msg === 'a call to a feature exceeded its deadline'), { feature: 'hangs', call: 'route GET /hangs/forever' })
})

t.test('settings that JSON cannot represent appear as text', async (t) => {
  const folder = featureFolder(t)
  folder.write('large', { 'index.ts': "import { defineFeature, z } from 'flylive-audio-server/feature'\nexport const config = z.object({ most: z.coerce.bigint().default(9007199254740993n), each: z.array(z.coerce.bigint()).default([1n]) })\nexport default defineFeature(async function large () {}, { name: 'large', config })\n" })
  const server = await build(t, { env: { FEATURES: 'auth,large', FEATURES_PATH: folder.path } })
  const list = async () => (await server.admin('GET', '/admin/features')).body as unknown as { features: { name: string }[] }
  t.match((await list()).features.find(({ name }) => name === 'large'), { state: 'enabled', config: { most: '9007199254740993', each: ['1'] } })
  t.match(await server.admin('PATCH', '/admin/features/large/config', { most: '5' }), { status: 200, body: { config: { most: '5' } } })
})

t.test('a feature cannot take a route of the server at the start', async (t) => {
  const folder = featureFolder(t)
  folder.write('says', { 'index.ts': saying('says', 'x', { before: "app.get('/health', async () => 'mine')" }) })
  const server = await build(t, { env: { FEATURES: 'auth,says', FEATURES_PATH: folder.path } })
  t.match(infoOf(server, 'says'), { state: 'failed', error: /GET \/health belongs to the server itself/ })
})
