import t from 'tap'
import { build } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { until } from '../../support/retry.ts'

const calling = `import { defineFeature, z } from 'flylive-audio-server/feature'
const reply = z.object({ asked: z.array(z.string()), collected: z.record(z.string(), z.string()), handled: z.boolean() })
export const requests = { 'bell:ring': { request: z.object({}), reply } }
export default defineFeature(async (app) => {
  app.messages.on('bell:ring', { ...requests['bell:ring'], room: false }, async () => {
    app.hooks.emit('bell:rung', 'loud')
    return { asked: await app.hooks.ask('bell:who'), collected: await app.hooks.collect('bell:info'), handled: app.hooks.has('bell:who') }
  })
}, { name: 'bell' })
`
const handling = (name: string) => `import { defineFeature } from 'flylive-audio-server/feature'
export default defineFeature(async (app) => {
  app.hooks.on('bell:rung', (how) => globalThis.bellRung.push('${name} ' + how))
  app.hooks.on('bell:who', async () => { await globalThis.bellHeld; return '${name}' })
  app.hooks.on('bell:info', () => ({ ${name}: 'is here' }))
}, { name: '${name}' })
`

t.test('calls the handlers of the running features', async (t) => {
  const rung: string[] = []
  Object.assign(globalThis, { bellRung: rung, bellHeld: undefined })
  const folder = featureFolder(t)
  folder.write('bell', { 'index.ts': calling })
  folder.write('cat', { 'index.ts': handling('cat') })
  folder.write('dog', { 'index.ts': handling('dog') })
  const server = await build(t, { env: { FEATURES: 'auth,bell,cat,dog', FEATURES_PATH: folder.path } })
  const ada = await server.connect(1)
  const change = async (name: string, action: string) => (await server.admin('POST', `/admin/features/${name}/${action}`)).status
  const both = { asked: ['cat', 'dog'], collected: { cat: 'is here', dog: 'is here' }, handled: true }

  t.same(await ada.ok('bell:ring'), both)
  t.strictSame(rung.splice(0), ['cat loud', 'dog loud'])

  for (const name of ['cat', 'dog', 'bell']) t.equal(await change(name, 'reload'), 200)
  t.same(await ada.ok('bell:ring'), both, 'each handler runs once after a reload')
  t.strictSame(rung.splice(0).sort(), ['cat loud', 'dog loud'])

  t.equal(await change('cat', 'disable'), 200)
  t.same(await ada.ok('bell:ring'), { asked: ['dog'], collected: { dog: 'is here' }, handled: true })
  t.strictSame(rung.splice(0), ['dog loud'])
  t.equal(await change('dog', 'disable'), 200)
  t.same(await ada.ok('bell:ring'), { asked: [], collected: {}, handled: false })

  for (const name of ['dog', 'cat']) t.equal(await change(name, 'enable'), 200)
  t.match(await ada.ok('bell:ring'), { asked: ['dog', 'cat'] }, 'the handlers run in the order in which the features were enabled')
  t.equal(await change('dog', 'reload'), 200)
  t.match(await ada.ok('bell:ring'), { asked: ['dog', 'cat'] }, 'a reload does not change the order')
})

t.test('a reload waits for running handlers', async (t) => {
  const held = Promise.withResolvers<void>()
  Object.assign(globalThis, { bellRung: [], bellHeld: held.promise })
  const folder = featureFolder(t)
  folder.write('bell', { 'index.ts': calling })
  folder.write('cat', { 'index.ts': handling('cat') })
  const server = await build(t, { env: { FEATURES: 'auth,bell,cat', FEATURES_PATH: folder.path } })
  const ada = await server.connect(1)
  const inFlight = () => server.app.features.generations().find(({ name }) => name === 'cat')?.calls.running
  const answer = ada.ok('bell:ring')
  await until(() => inFlight() === 1)
  let reloaded = false
  const reload = server.app.features.reload('cat').finally(() => { reloaded = true })
  await until(() => server.app.features.list().find(({ name }) => name === 'cat')?.generation === 2)
  t.equal(reloaded, false)
  held.resolve()
  t.match(await answer, { asked: ['cat'] })
  await reload
})
