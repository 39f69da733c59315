import t from 'tap'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'

/** Returns the source of a feature that adds a field to the join reply. */
const adding = (name: string, field: string, { body = `app.messages.adds('room:join', z.object({ ${field}: z.string() }))`, dependencies = [] as string[] } = {}) => `import { defineFeature, z } from 'flylive-audio-server/feature'
export default defineFeature(async function ${name} (app) {
  ${body}
  app.hooks.on('room:join', () => ({ ${field}: '${name}' }))
}, { name: '${name}', dependencies: ${JSON.stringify(dependencies)} })
`
const infoOf = (server: TestServer, name: string) => server.app.features.list().find((one) => one.name === name)

t.test('two features cannot add the same field to a message', async (t) => {
  const folder = featureFolder(t)
  folder.write('one', { 'index.ts': adding('one', 'mood') })
  folder.write('two', { 'index.ts': adding('two', 'mood') })
  const server = await build(t, { env: { FEATURES: 'auth,seats,one,two', FEATURES_PATH: folder.path } })
  t.match(infoOf(server, 'one'), { state: 'enabled' })
  t.match(infoOf(server, 'two'), { state: 'failed', error: /The field mood of room:join belongs to one/ })
  const ada = await server.connect(1)
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { mood: 'one' })

  for (const [body, message] of [
    ["app.messages.adds('room:join', z.object({ ownerId: z.string() }))", /The field ownerId of room:join belongs to the kernel/],
    ["app.messages.adds('room:join', z.object({ seats: z.array(z.string()) }))", /The field seats of room:join belongs to seats/],
    ["app.messages.adds('session:ready', z.object({ serverTime: z.string() }))", /The field serverTime of session:ready belongs to the kernel/],
    ["app.messages.accepts('room:join', z.object({ seatCount: z.string() }))", /The field seatCount of the request room:join belongs to seats/]
  ] as const) {
    folder.write('two', { 'index.ts': adding('two', 'other', { body }) })
    t.match(await server.admin('POST', '/admin/features/two/enable'), { status: 422, body: { error: { code: 'FEATURE_LOAD_FAILED', message } } })
  }

  folder.write('two', { 'index.ts': adding('two', 'other') })
  t.match(await server.admin('POST', '/admin/features/two/enable'), { status: 200 })
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { mood: 'one', other: 'two' })
  folder.write('two', { 'index.ts': adding('two', 'mood') })
  t.match(await server.admin('POST', '/admin/features/two/reload'), { status: 422, body: { error: { message: /The field mood of room:join belongs to one/ } } }, 'a reload is rejected, too')
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { mood: 'one', other: 'two' }, 'the previous generation keeps running')
})

t.test('a running feature cannot add a field of another feature', async (t) => {
  const errors: string[] = []
  Object.assign(globalThis, { fieldErrors: errors })
  const folder = featureFolder(t)
  const late = (code: string) => `try { ${code} } catch (error) { globalThis.fieldErrors.push(error.message) }`
  folder.write('one', {
    'index.ts': `import { defineFeature, z } from 'flylive-audio-server/feature'
const one = z.object({ text: z.string() })
export const requests = { 'one:say': { request: one, reply: one } }
export default defineFeature(async function one (app) {
  app.hooks.on('session:open', () => {
    ${late("app.messages.accepts('room:join', z.object({ seatCount: z.string() }))")}
    ${late("app.messages.adds('session:ready', z.object({ serverTime: z.string() }))")}
    ${late("app.messages.events({ 'chat:message': z.object({ content: z.number() }) })")}
    ${late("app.messages.on('one:say', { ...requests['one:say'], room: false }, ({ text }) => ({ text }))")}
    ${late("app.messages.adds('one:say', z.object({ mood: z.string() }))")}
  })
}, { name: 'one' })
`
  })
  const server = await build(t, { env: { FEATURES: 'auth,chat,seats,one', FEATURES_PATH: folder.path } })
  const ada = await server.connect(1)
  t.match(errors, [/The field seatCount of the request room:join belongs to seats/, /The field serverTime of session:ready belongs to the kernel/, /The field content of chat:message belongs to chat/])
  t.match(await ada.ok('room:join', { roomId: 'r1', seatCount: 3 }), { roomId: 'r1' })
  await ada.ok('chat:message', { content: 'hello' })
  t.match(await ada.event('chat:message'), { content: 'hello' })
  t.match(await ada.ok('one:say', { text: 'hi' }), { text: 'hi' }, 'a message of its own takes effect at once')
})

t.test('a feature that declares no fields overwrites none', async (t) => {
  const folder = featureFolder(t)
  folder.write('one', { 'index.ts': adding('one', 'mood') })
  folder.write('two', { 'index.ts': adding('two', 'mood', { body: '' }) })
  folder.write('three', { 'index.ts': adding('three', 'ownerId', { body: '' }) })
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth,one,two,three', FEATURES_PATH: folder.path }, log: (line) => lines.push(line) })
  const ada = await server.connect(1)
  for (let i = 0; i < 2; i++) t.match(await ada.ok('room:join', { roomId: 'r1' }), { ownerId: 1, mood: 'one' })
  t.match(lines.filter(({ field }) => field === 'mood'), [{ hook: 'room:join', msg: /second value is ignored/ }])
})
