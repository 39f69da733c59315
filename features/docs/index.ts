import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { defineFeature, z } from 'flylive-audio-server/feature'
import type { ContractTables, HttpReply, HttpRequest } from 'flylive-audio-server/feature'
import type { Documents } from './documents.ts'
import { httpPage, messagesPage } from './page.ts'

/** A response body and its ETag. */
interface Page {
  type: string
  body: string | Buffer
  etag: string
}

const page = (type: string, body: string | Buffer): Page =>
  ({ type, body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"` })
const json = (value: unknown) => page('application/json; charset=utf-8', JSON.stringify(value, null, 2))
const htmlType = 'text/html; charset=utf-8'

/** Packages that this feature requires but that are not installed in production. */
const packages = ['swagger-ui-dist', 'zod-openapi']
const { resolve } = createRequire(import.meta.url)

const tags = ['docs']

/**
 * Serves the API contract under /docs, as JSON documents and HTML pages. By default, this feature is disabled in
 * production.
 */
export default defineFeature(async function docs (app) {
  const missing = packages.filter((name) => !isInstalled(name))
  if (missing.length > 0) throw new Error(`The feature docs needs ${missing.join(' and ')}. Install them: npm run setup -- --start`)
  const { documentsOf } = await import('./documents.ts')

  /**
   * The documents and pages for each contract. They are rendered only once per contract. The contract changes when a
   * feature is loaded or unloaded.
   */
  const rendered = new WeakMap<ContractTables, { documents: Documents, pages: Map<string, Page> }>()
  function current (name: string, render: (documents: Documents) => Page): Page {
    const tables = app.contract()
    const known = rendered.get(tables) ?? { documents: documentsOf(tables, app.config), pages: new Map<string, Page>() }
    rendered.set(tables, known)
    const rendering = known.pages.get(name) ?? render(known.documents)
    known.pages.set(name, rendering)
    return rendering
  }
  const http = page(htmlType, httpPage())

  app.get('/docs/openapi.json', {
    schema: { tags, summary: 'The HTTP interface, as OpenAPI 3.1', response: { 200: z.looseObject({ openapi: z.string() }) } }
  }, (request, reply) => { send(request, reply, current('openapi', ({ openapi }) => json(openapi))) })
  app.get('/docs/asyncapi.json', {
    schema: { tags, summary: 'The WebSocket interface, as AsyncAPI 3.0', response: { 200: z.looseObject({ asyncapi: z.string() }) } }
  }, (request, reply) => { send(request, reply, current('asyncapi', ({ asyncapi }) => json(asyncapi))) })

  const hidden = { schema: { hide: true } }
  app.get('/docs', hidden, (request, reply) => send(request, reply, http))
  app.get('/docs/messages', hidden, (request, reply) => send(request, reply, current('messages', ({ asyncapi }) => page(htmlType, messagesPage(asyncapi)))))
  for (const [name, [type, path]] of Object.entries(assets())) {
    let asset: Promise<Page> | undefined
    app.get(`/docs/${name}`, hidden, async (request, reply) => {
      asset ??= readFile(path).then((body) => page(type, body))
      // If reading the file fails, forget the promise, so that the next request reads the file again.
      asset.catch(() => { asset = undefined })
      return send(request, reply, await asset)
    })
  }
}, { name: 'docs' })

function isInstalled (name: string): boolean {
  try {
    resolve(`${name}/package.json`)
    return true
  } catch {
    return false
  }
}

/** @returns the content type and the path of each static file that the pages load, by name */
function assets (): Readonly<Record<string, readonly [type: string, path: string]>> {
  const own = join(import.meta.dirname, 'assets')
  const swaggerUi = dirname(resolve('swagger-ui-dist/package.json'))
  return {
    'docs.css': ['text/css; charset=utf-8', join(own, 'docs.css')],
    'http.js': ['text/javascript; charset=utf-8', join(own, 'http.js')],
    'swagger-ui.css': ['text/css; charset=utf-8', join(swaggerUi, 'swagger-ui.css')],
    'swagger-ui-bundle.js': ['text/javascript; charset=utf-8', join(swaggerUi, 'swagger-ui-bundle.js')]
  }
}

/** Sends a page. Browsers must revalidate the page before each use, because other features may be running now. */
function send (request: HttpRequest, reply: HttpReply, { type, body, etag }: Page) {
  reply.header('etag', etag).header('cache-control', 'no-cache')
  if (request.headers['if-none-match'] === etag) return reply.code(304).send()
  return reply.header('content-type', type).send(body)
}
