import t from 'tap'
import { z } from 'zod'
import { build, onEveryStore } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// Tests roomState.define: stored state is parsed, and definitions are removed with their features.

const loose = z.looseObject({})

onEveryStore(t, 'parses state, including state stored before the schema had a field', async (t, env) => {
  const { app, connect } = await build(t, { env: { FEATURES: 'auth', ...env } })
  const ada = await connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const { roomState } = app.rooms
  await roomState.define('box', loose).change('r1', () => ({ state: { n: 1 }, result: undefined }))
  const box = roomState.define('box', z.object({ n: z.int(), colour: z.string().default('red') }))
  t.same(await box.read('r1'), { n: 1, colour: 'red' })
  t.same(await box.readMany(['nowhere', 'r1']), [undefined, { n: 1, colour: 'red' }])
  t.equal(await box.read('nowhere'), undefined)
  t.same(box.peek('r1'), { n: 1, colour: 'red' })
  t.equal(box.peek('r1'), box.peek('r1'), 'parsed once per version')
  t.equal(await box.change('r1', (state) => ({ result: state?.colour })), 'red')
  t.same(await roomState.define('box', loose).read('r1'), { n: 1 }, 'a decision without a new state changes nothing')
})

onEveryStore(t, 'rejects changes while the stored state does not match the schema, and limits the log lines', async (t, env) => {
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth', ...env }, log: (line) => lines.push(line) })
  const { rooms: { roomState } } = server.app
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const raw = roomState.define('box', loose)
  const box = roomState.define('box', z.object({ n: z.int() }))
  const changes: unknown[] = []
  box.onChange((_room, state) => { changes.push(state) })
  await raw.change('r1', () => ({ state: { n: 'one' }, result: undefined }))
  t.equal(box.peek('r1'), undefined)
  await t.rejects(box.read('r1'), { code: 'INTERNAL', statusCode: 500 })
  t.same(await box.readMany(['r1']), [undefined], 'a list omits the invalid state')
  let decided = false
  await t.rejects(box.change('r1', () => {
    decided = true
    return { state: { n: 2 }, result: undefined }
  }), { code: 'INTERNAL', statusCode: 500 })
  t.equal(decided, false)
  t.same(await raw.read('r1'), { n: 'one' }, 'the invalid state is not overwritten')
  t.same(changes, [])
  await raw.change('r1', () => ({ state: { n: 3 }, result: undefined }))
  t.same([changes, box.peek('r1'), await box.read('r1')], [[{ n: 3 }], { n: 3 }, { n: 3 }])
  const logged = lines.filter(({ state, roomId }) => state === 'box' && roomId === 'r1')
  t.ok(logged.length >= 1 && logged.length <= 3, `${logged.length} lines`)
})

/** A feature that defines the room state `box`, and sends an event for each call of the state's handlers. */
const boxFeature = (name: string, fields: string) => `import { defineFeature, z } from 'flylive-audio-server/feature'
export const requests = { '${name}:put': { request: z.object({ n: z.int() }), reply: z.looseObject({}) } }
export default defineFeature(async (app) => {
  const changes = []
  const box = app.rooms.roomState.define('box', z.object({ n: z.int(), ${fields} }))
  box.onChange((room, state) => { changes.push(state); app.rooms.emit(room.roomId, '${name}:seen', { state, changes: changes.length }, { local: true }) })
  box.onWake(async (roomId) => { app.rooms.emit(roomId, '${name}:woken', {}) })
  app.messages.events({ '${name}:seen': z.looseObject({}), '${name}:woken': z.looseObject({}) })
  app.messages.on('${name}:put', requests['${name}:put'], async ({ n }, { room }) =>
    ({ before: await box.change(room.roomId, (state) => ({ state: { ...state, n }, wakeAt: n > 100 ? 1 : undefined, result: state ?? null })) }))
}, { name: '${name}' })
`

t.test('a definition is removed with its feature', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const folder = featureFolder(t)
  folder.write('box', { 'index.ts': boxFeature('box', 'a: z.int().default(1)') })
  folder.write('crate', { 'index.ts': boxFeature('crate', 'b: z.int().default(2)') })
  const server = await build(t, { env: { FEATURES: 'auth,box', FEATURES_PATH: folder.path, ...env } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const change = async (name: string, action: string) => (await server.admin('POST', `/admin/features/${name}/${action}`)).status
  t.same(await ada.ok('box:put', { n: 1 }), { before: null })
  t.match(await ada.event('box:seen'), { state: { n: 1 }, changes: 1 })

  t.not(await change('crate', 'enable'), 200, 'the state belongs to another feature')
  folder.write('box', { 'index.ts': boxFeature('box', 'a: z.int().default(5)') })
  t.equal(await change('box', 'reload'), 200)
  t.match(await ada.ok('box:put', { n: 2 }), { before: { n: 1 } }, 'the next instance takes over the state')
  t.match(await ada.event('box:seen'), { state: { n: 2 }, changes: 1 }, 'the handler of the previous instance is removed')

  t.equal(await change('box', 'disable'), 200)
  t.equal(await change('crate', 'enable'), 200)
  const from = ada.events.length
  t.match(await ada.ok('crate:put', { n: 101 }), { before: { n: 2, b: 2 } })
  t.match(await ada.event('crate:woken'), {})
  await until(() => ada.events.slice(from).some(({ type }) => type === 'crate:seen'))
  t.notOk(ada.events.slice(from).some(({ type }) => type.startsWith('box:')))
})

t.test('state survives a restart even after a failed reload of the feature that defines the state', async (t) => {
  const folder = featureFolder(t)
  const feature = (end = '') => `import { defineFeature, z } from 'flylive-audio-server/feature'
export const requests = { 'box:put': { request: z.object({ n: z.int() }), reply: z.looseObject({}) } }
export default defineFeature(async (app) => {
  const box = app.rooms.roomState.define('box', z.object({ n: z.int() }), { durable: true })
  app.messages.on('box:put', requests['box:put'], async ({ n }, { room }) =>
    ({ before: await box.change(room.roomId, (state) => ({ state: { n }, result: state ?? null })) }))
  ${end}
}, { name: 'box' })
`
  folder.write('box', { 'index.ts': feature() })
  const env = { FEATURES: 'auth,box', FEATURES_PATH: folder.path, DATA_DIR: t.testdir() }
  const first = await build(t, { env })
  const ada = await first.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  folder.write('box', { 'index.ts': feature("throw new Error('a fault')") })
  t.equal((await first.admin('POST', '/admin/features/box/reload')).status, 422)
  t.same(await ada.ok('box:put', { n: 7 }), { before: null })
  await first.close()

  folder.write('box', { 'index.ts': feature() })
  const bob = await (await build(t, { env })).connect(2)
  await bob.ok('room:join', { roomId: 'r1' })
  t.same(await bob.ok('box:put', { n: 8 }), { before: { n: 7 } })
})
