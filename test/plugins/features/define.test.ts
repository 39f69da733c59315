import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import { defineFeature, z } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'
import { build } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'

const config = z.object({ seconds: z.int().default(5).transform((seconds) => seconds * 1000), name: z.string().optional() })

/**
 * Registers a feature as a plain plugin, without the loader.
 *
 * @returns the options that the feature received
 */
async function given (options?: Record<string, unknown>): Promise<unknown> {
  let got: unknown
  const app = Fastify()
  const feature = defineFeature(async (_app, options) => { got = options }, { name: 'x', config })
  await (options === undefined ? app.register(feature) : app.register(feature, options))
  return got
}

t.test('applies the settings schema without the loader', async (t) => {
  t.strictSame(await given(), { seconds: 5000 })
  t.strictSame(await given({ seconds: 2, name: 'y', prefix: '/x' }), { seconds: 2000, name: 'y' })
  await t.rejects(given({ seconds: 'many' }), { name: 'ZodError' })
})

t.test('the loader applies the settings schema once', async (t) => {
  const folder = featureFolder(t)
  folder.write('wait', {
    'index.ts': `import { defineFeature, z } from 'flylive-audio-server/feature'
export const requests = { 'wait:time': { request: z.object({}), reply: z.object({ ms: z.int() }) } }
export const config = z.object({ seconds: z.int().default(5).transform((seconds) => seconds * 1000) })
export default defineFeature(async (app, { seconds }) => {
  app.messages.on('wait:time', { ...requests['wait:time'], room: false }, () => ({ ms: seconds }))
}, { name: 'wait', config })
`
  })
  const server = await build(t, { env: { FEATURES: 'auth,wait', FEATURES_PATH: folder.path } })
  const ada = await server.connect(1)
  t.same(await ada.ok('wait:time'), { ms: 5000 })
  t.match(await server.admin('PATCH', '/admin/features/wait/config', { seconds: 2 }), { status: 200 })
  t.same(await ada.ok('wait:time'), { ms: 2000 })
})

t.test('several features can use the same plugin function', async (t) => {
  const folder = featureFolder(t)
  const using = (name: string, more = '') => `import { defineFeature } from 'flylive-audio-server/feature'
export default defineFeature(globalThis.sharedPlugin, { name: '${name}'${more} })
`
  const started: string[] = []
  const shared = Object.freeze(async (app: FeatureInstance) => { started.push(app.hasPlugin('chat') ? 'with chat' : 'without chat') })
  Object.assign(globalThis, { sharedPlugin: shared })
  folder.write('one', { 'index.ts': using('one') })
  folder.write('two', { 'index.ts': using('two', ", dependencies: ['chat']") })
  const { app } = await build(t, { env: { FEATURES: 'auth,chat,one,two', FEATURES_PATH: folder.path } })
  t.same(app.features.list().filter(({ name }) => ['one', 'two'].includes(name)).map(({ state, error }) => error ?? state), ['enabled', 'enabled'])
  t.same(started, ['without chat', 'with chat'])
})

t.test('sets name, dependencies and decorators', async (t) => {
  const alone = Fastify()
  await t.rejects(async () => { await alone.register(defineFeature(async () => {}, { name: 'x', dependencies: ['y'] })) }, /dependency 'y' of plugin 'x' is not registered/)
  const feature = defineFeature(async (app) => { app.decorate('made', true) }, { name: 'x', dependencies: ['y'], decorators: ['offered'] })

  const other = Fastify()
  other.register(fp(async function y () {}, { name: 'y' }))
  await t.rejects(async () => { await other.register(feature) }, /decorator 'offered' required by 'x'/)

  const whole = Fastify() as FastifyInstance & { made?: boolean }
  whole.register(fp(async function y (instance) { instance.decorate('offered', 1) }, { name: 'y' }))
  await whole.register(feature)
  t.equal(whole.made, true, 'decorates the parent instance')
})

t.test('a feature\'s instance has exactly the public surface', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,reactions' } })
  const [generation] = server.app.features.generations().filter(({ name }) => name === 'reactions')
  const app = generation?.app as unknown as FeatureInstance
  const plain = new Set(Object.getOwnPropertyNames(Fastify()))
  const added = Object.getOwnPropertyNames(app).filter((name) => !plain.has(name)).sort()
  t.strictSame(added, [
    'admin', 'blobs', 'bus', 'clock', 'cluster', 'config', 'contract', 'directory', 'drain', 'features', 'gate', 'hooks', 'jobs', 'keep', 'kv', 'messages', 'metrics', 'nodeId', 'reactions', 'redis', 'rooms', 'sfu', 'sockets', 'store'
  ])
  t.strictSame(Object.keys(app.messages).sort(), ['accepts', 'adds', 'dispatch', 'events', 'on'])
})
