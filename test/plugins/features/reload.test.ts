import t from 'tap'
import { build } from '../../support/build.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { featureFolder } from '../../support/features.ts'

/* eslint no-template-curly-in-string: off -- the code of features is written as text. */

// After a reload, a feature runs the current code on disk.

const index = (answer: string) => `import fp from 'fastify-plugin'
import { events, requests } from './messages.ts'
import { decorate } from './lib/outer.ts'
export { requests }
export default fp(async function poll (app) {
  app.messages.events(events)
  app.messages.on('poll:vote', { ...requests['poll:vote'], room: false }, ({ choice }) => ({ text: decorate(choice + ${JSON.stringify(answer)}) }))
  app.get('/poll', async () => ({ text: decorate('route' + ${JSON.stringify(answer)}) }))
  app.addHook('onClose', async () => { globalThis.pollClosed = [...globalThis.pollClosed ?? [], ${JSON.stringify(answer)}] })
}, { name: 'poll' })
`
const messages = (choices: string) => `import { z } from 'zod'
export const requests = { 'poll:vote': { request: z.object({ choice: z.enum(${choices}) }), reply: z.object({ text: z.string() }) } }
export const events = {}
`
const files = {
  'index.ts': index('!'),
  'messages.ts': messages("['yes', 'no']"),
  'lib/outer.ts': "import { inner } from './inner.ts'\nexport const decorate = (text: string) => `<${inner(text)}>`\n",
  'lib/inner.ts': 'export const inner = (text: string) => `[${text}]`\n'
}

t.test('runs changed code: handler, route, schema, nested helper, onClose', async (t) => {
  const folder = featureFolder(t)
  folder.write('poll', files)
  const server = await build(t, { env: { FEATURES_PATH: folder.path } })
  const client = await server.connect(1)
  const closed = () => (globalThis as { pollClosed?: string[] }).pollClosed ?? []
  const route = async () => (await (await fetch(`${server.url}/poll`)).json() as { text: string }).text
  const reload = async () => {
    const { status, body } = await server.admin('POST', '/admin/features/poll/reload')
    t.equal(status, 200)
    return body
  }
  t.same(await client.ok('poll:vote', { choice: 'yes' }), { text: '<[yes!]>' })
  t.equal(await client.fails('poll:vote', { choice: 'maybe' }), 'VALIDATION_FAILED')
  t.equal(await route(), '<[route!]>')

  folder.write('poll', { 'index.ts': index('?') })
  t.match(await reload(), { name: 'poll', state: 'enabled', generation: 2, changed: { enabled: emptyArray, disabled: emptyArray } })
  t.same(await client.ok('poll:vote', { choice: 'yes' }), { text: '<[yes?]>' })
  t.equal(await route(), '<[route?]>')
  t.same(closed(), ['!'], 'the old instance is closed by its own code')

  folder.write('poll', { 'messages.ts': messages("['yes', 'maybe']"), 'lib/inner.ts': 'export const inner = (text: string) => text.toUpperCase()\n' })
  await reload()
  t.same(await client.ok('poll:vote', { choice: 'maybe' }), { text: '<MAYBE?>' })
  t.equal(await client.fails('poll:vote', { choice: 'no' }), 'VALIDATION_FAILED')
  t.same(closed(), ['!', '?'])

  folder.write('poll', { 'index.ts': index('.').replace("app.get('/poll'", "app.get('/poll/new'"), 'messages.ts': messages("['yes']").replace("'poll:vote'", "'poll:choose'") })
  t.equal((await server.admin('POST', '/admin/features/poll/reload')).status, 422, 'the handler has lost its schema')
  t.same(await client.ok('poll:vote', { choice: 'maybe' }), { text: '<MAYBE?>' })
  folder.write('poll', { 'index.ts': index('.').replace("app.get('/poll'", "app.get('/poll/new'").replaceAll('poll:vote', 'poll:choose') })
  await reload()
  t.equal(await client.fails('poll:vote', { choice: 'yes' }), 'UNKNOWN_TYPE')
  t.same(await client.ok('poll:choose', { choice: 'yes' }), { text: '<YES.>' })
  t.equal((await fetch(`${server.url}/poll`)).status, 404)
  t.equal((await fetch(`${server.url}/poll/new`)).status, 200)
})
