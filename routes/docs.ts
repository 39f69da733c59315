import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { Contract } from '../plugins/contract/index.ts'
import { httpPage, messagesPage } from '../plugins/contract/page.ts'

/** Something to send, and the tag by which a browser knows that it still has it. */
interface Page {
  type: string
  body: string | Buffer
  etag: string
}

const page = (type: string, body: string | Buffer): Page =>
  ({ type, body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"` })
const json = (value: unknown) => page('application/json; charset=utf-8', JSON.stringify(value, null, 2))
const htmlType = 'text/html; charset=utf-8'

const swaggerUi = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
const own = join(import.meta.dirname, '..', 'plugins', 'contract', 'assets')
/** The few files that the pages load. */
const assets: Readonly<Record<string, readonly [type: string, path: string]>> = {
  'docs.css': ['text/css; charset=utf-8', join(own, 'docs.css')],
  'http.js': ['text/javascript; charset=utf-8', join(own, 'http.js')],
  'swagger-ui.css': ['text/css; charset=utf-8', join(swaggerUi, 'swagger-ui.css')],
  'swagger-ui-bundle.js': ['text/javascript; charset=utf-8', join(swaggerUi, 'swagger-ui-bundle.js')]
}

const tags = ['docs']

/** /docs: the contract of the moment, for programs and for people. */
export default (async function docs (app) {
  /** Made once for each contract, that is after each change of what runs. */
  const made = new WeakMap<Contract, Map<string, Page>>()
  function current (name: string, make: (contract: Contract) => Page): Page {
    const contract = app.contract()
    const pages = made.get(contract) ?? new Map<string, Page>()
    made.set(contract, pages)
    const known = pages.get(name) ?? make(contract)
    pages.set(name, known)
    return known
  }
  const http = page(htmlType, httpPage())

  app.get('/docs/openapi.json', {
    schema: { tags, summary: 'The HTTP interface, as OpenAPI 3.1', response: { 200: z.looseObject({ openapi: z.string() }) } }
  }, (request, reply) => send(request, reply, current('openapi', ({ openapi }) => json(openapi))))
  app.get('/docs/asyncapi.json', {
    schema: { tags, summary: 'The WebSocket, as AsyncAPI 3.0', response: { 200: z.looseObject({ asyncapi: z.string() }) } }
  }, (request, reply) => send(request, reply, current('asyncapi', ({ asyncapi }) => json(asyncapi))))

  const hidden = { schema: { hide: true } }
  app.get('/docs', hidden, (request, reply) => send(request, reply, http))
  app.get('/docs/messages', hidden, (request, reply) => send(request, reply, current('messages', ({ asyncapi }) => page(htmlType, messagesPage(asyncapi)))))
  for (const [name, [type, path]] of Object.entries(assets)) {
    let asset: Promise<Page> | undefined
    app.get(`/docs/${name}`, hidden, async (request, reply) => {
      asset ??= readFile(path).then((body) => page(type, body))
      // A file that can't be read now may be there later.
      asset.catch(() => { asset = undefined })
      return send(request, reply, await asset)
    })
  }
}) satisfies FastifyPluginAsync

/** Always asked for again: what runs may have changed. */
function send (request: FastifyRequest, reply: FastifyReply, { type, body, etag }: Page) {
  reply.header('etag', etag).header('cache-control', 'no-cache')
  if (request.headers['if-none-match'] === etag) return reply.code(304).send()
  return reply.header('content-type', type).send(body)
}
