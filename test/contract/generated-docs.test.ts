import { globSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { Validator } from '@seriousme/openapi-schema-validator'
import t from 'tap'
import type { AsyncApi } from '../../features/docs/asyncapi.ts'
import { contractDocs } from '../../scripts/docs-contract.ts'
import { build } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { checkAsyncApi, readAsyncApi, readOpenApi, readPayloads } from '../support/documents.ts'
import type { OpenApiDocument } from '../support/documents.ts'
import { featureFolder } from '../support/features.ts'

const root = join(import.meta.dirname, '..', '..')

/** All features except the bridge to the backend, because the bridge needs a backend. */
const features = globSync('features/*/index.ts', { cwd: root }).map((file) => basename(dirname(file))).filter((name) => name !== 'laravel-bridge')

const get = async ({ url }: TestServer, path: string) => {
  const response = await fetch(url + path)
  return { etag: response.headers.get('etag'), body: await response.json() as unknown }
}
const readDocuments = async (server: TestServer) => {
  const [openapi, asyncapi] = [await get(server, '/docs/openapi.json'), await get(server, '/docs/asyncapi.json')]
  return { openapi: openapi.body as OpenApiDocument, asyncapi: asyncapi.body as AsyncApi, etags: [openapi.etag, asyncapi.etag] }
}

const codeOf = (field: string, { description = 'Waves at somebody', code = 'NOBODY_THERE' } = {}) => `import createError from '@fastify/error'
import fp from 'fastify-plugin'
import { z } from 'zod'
export const errors = { Nobody: createError('${code}', 'There is no %s', 404) }
export const requests = { 'wave:send': { request: z.object({ ${field}: z.string().max(64) }).describe(${JSON.stringify(description)}), reply: z.object({ ${field}: z.string() }) } }
export default fp(async function wave (app) {
  app.messages.events({ 'wave:received': z.object({ ${field}: z.string() }) })
  app.messages.adds('room:join', z.object({ ${field}Waves: z.array(z.string()) }))
  app.messages.on('wave:send', requests['wave:send'], (data) => data)
  app.get('/waves/:${field}', { schema: { summary: 'Returns a wave', params: z.object({ ${field}: z.string() }), response: { 200: z.object({ ${field}: z.string() }) } } }, async ({ params }) => params)
}, { name: 'wave', dependencies: ['rooms'] })
`

const folder = featureFolder(t)
folder.write('wave', { 'index.ts': codeOf('to') })
const server = await build(t, { env: { FEATURES: [...features, 'wave'].join(), FEATURES_PATH: folder.path, WEBHOOK_URLS: 'http://127.0.0.1:9/webhooks', WEBHOOK_SECRET: 'a-secret-for-tests' } })
const documents = await readDocuments(server)

t.test('docs/contract matches the schemas', async (t) => {
  const docs = await contractDocs()
  for (const [path, text] of Object.entries(docs)) t.ok(readFileSync(join(root, path), 'utf8') === text, `${path} is stale: npm run docs:contract`)
  const readme = docs['docs/contract/README.md'] ?? ''
  for (const file of globSync('features/*/index.ts', { cwd: root })) {
    const name = basename(dirname(file))
    const { requests = {}, errors = {} } = await import(join(root, file)) as { requests?: object, errors?: Record<string, unknown> }
    for (const type of Object.keys(requests)) t.ok(readme.includes(`#### \`${type}\` (request)`), type)
    for (const made of Object.values(errors)) {
      if (typeof made !== 'function' || !(made.prototype instanceof Error)) continue
      const { code, statusCode } = new (made as new () => { code: string, statusCode: number })()
      t.ok(readme.includes(`| \`${code}\` | ${statusCode} | ${name} |`), code)
    }
  }
  for (const [type, limit] of [['room:join', 60], ['seat:take', 30], ['seat:lock', 240]] as const) {
    const [, section = ''] = readme.split(`#### \`${type}\` (request)`)
    t.match(section.split('####')[0], `Limit: ${limit} per user per minute`, `${type} has the default limit, not the limit of tests`)
  }
  for (const text of Object.values(docs)) t.notMatch(text, new RegExp(root), 'contains no local paths')
})

t.test('the OpenAPI and AsyncAPI documents are valid', async (t) => {
  const { openapi, asyncapi } = documents
  t.same(await new Validator().validate(structuredClone(openapi) as never), { valid: true })
  t.equal(checkAsyncApi(asyncapi), undefined)

  const { requests, events } = readAsyncApi(asyncapi)
  t.ok(requests.length > 20 && events.size > 20)
  const payloadOf = readPayloads(asyncapi)
  for (const [key, { name, examples = [] }] of Object.entries(asyncapi.components.messages)) {
    t.equal(examples.length, 1, `${name} has an example`)
    for (const { payload } of examples) t.equal(payloadOf(key)(payload), undefined, name)
  }
  for (const { type, owner } of server.app.messages.contract().flatMap(({ owner, routes }) => routes.map(({ type }) => ({ type, owner })))) {
    const operation = Object.values(asyncapi.operations).find(({ action, title }) => action === 'receive' && title === type)
    t.same(operation?.tags, [{ name: owner }], type)
  }
})

t.test('every REST operation documents its responses', async (t) => {
  const { openapi } = documents
  for (const [path, operations] of Object.entries(openapi.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const { summary, responses } = operation as typeof operation & { summary?: string }
      t.ok(summary, `${method} ${path} has a summary`)
      const success = Object.entries(responses).filter(([status]) => status.startsWith('2'))
      t.ok(success.length > 0, `${method} ${path} documents a success`)
      for (const [status, { content }] of success) {
        for (const { schema } of Object.values(content ?? {})) t.ok(Object.keys(schema).length > 0, `${method} ${path} ${status}`)
        if (status !== '204') t.ok(content, `${method} ${path} ${status} has a body`)
      }
      t.ok('4XX' in responses && '5XX' in responses)
      if (path.startsWith('/admin')) t.same(operation.security, [{ adminKey: [] }])
    }
  }
  t.ok(readOpenApi(openapi).length > 20)
})

t.test('the OpenAPI and AsyncAPI documents describe the running features', async (t) => {
  const change = async (feature: string, how: 'enable' | 'disable' | 'reload') => {
    const { status, body } = await server.admin('POST', `/admin/features/${feature}/${how}`)
    t.equal(status, 200, JSON.stringify(body))
  }
  const inReply = ({ asyncapi }: { asyncapi: AsyncApi }, field: string) => field in (asyncapi.components.messages['room-join.reply']?.payload.properties?.data?.properties ?? {})

  const first = documents
  t.ok('wave-send.request' in first.asyncapi.operations)
  t.ok('wave-received.event' in first.asyncapi.operations)
  t.match(first.asyncapi['x-error-codes'].find(({ code }) => code === 'NOBODY_THERE'), { status: 404, feature: 'wave', meaning: 'There is no …' })
  t.ok(inReply(first, 'toWaves'))
  t.ok(inReply(first, 'chatHistory'))
  t.ok('/waves/{to}' in first.openapi.paths)
  t.ok('/admin/gifts' in first.openapi.paths)
  t.ok('chat-message.request' in first.asyncapi.operations)
  t.match(JSON.stringify(first), /KEY_REUSED/)
  const unchanged = await readDocuments(server)
  t.same(unchanged.etags, first.etags)

  for (const name of ['wave', 'chat', 'gifts']) await change(name, 'disable')
  const without = await readDocuments(server)
  t.notOk('wave-send.request' in without.asyncapi.operations)
  t.notOk('wave-received.event' in without.asyncapi.operations)
  t.notMatch(JSON.stringify(without), /NOBODY_THERE|waves/)
  t.notOk(inReply(without, 'toWaves'))
  t.notOk('/waves/{to}' in without.openapi.paths)
  t.notOk('chat-message.request' in without.asyncapi.operations)
  t.notOk(inReply(without, 'chatHistory'))
  t.notOk('/admin/gifts' in without.openapi.paths)
  t.notMatch(JSON.stringify(without), /KEY_REUSED/)

  for (const name of ['gifts', 'wave', 'chat']) await change(name, 'enable')
  t.same((await readDocuments(server)).etags, first.etags, 'the order in which features are enabled does not matter')

  folder.write('wave', { 'index.ts': codeOf('whom', { code: 'NOBODY_HERE' }) })
  t.same((await readDocuments(server)).etags, first.etags, 'the documents describe the running features, not the files on disk')
  await change('wave', 'reload')
  const reloaded = await readDocuments(server)
  t.match(reloaded.asyncapi.components.messages['wave-send.request']?.payload.properties?.data, { properties: { whom: { type: 'string', maxLength: 64 }, roomId: {} }, required: ['whom'] })
  t.match(reloaded.asyncapi.components.messages['wave-received.event']?.payload.properties?.data, { properties: { whom: {} } })
  t.ok(inReply(reloaded, 'whomWaves'))
  t.notOk(inReply(reloaded, 'toWaves'))
  t.ok('/waves/{whom}' in reloaded.openapi.paths)
  t.notOk('/waves/{to}' in reloaded.openapi.paths)
  t.match(JSON.stringify(reloaded), /NOBODY_HERE/)
  t.notMatch(JSON.stringify(reloaded), /NOBODY_THERE/)
  t.same(await new Validator().validate(structuredClone(reloaded.openapi) as never), { valid: true })
  t.equal(checkAsyncApi(reloaded.asyncapi), undefined)
})
