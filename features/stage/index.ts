import fp from 'fastify-plugin'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { readPage } from './assets.ts'
import type { Asset } from './assets.ts'
import { createGuestSigner, guestReply, guestRequest } from './guests.ts'

/** A page to try rooms with: enter one, talk, hear who is there. For developers; off in production. */
export default fp(async function stage (app) {
  const { JWT_SECRET, NODE_ENV } = app.config
  const page = await readPage({ sourceMap: NODE_ENV === 'development' })
  for (const [url, asset] of page) app.get(url, { schema: { hide: true } }, (request, reply) => send(asset, request.headers['if-none-match'], reply))

  // Whoever can reach this needs no token of the backend's: never in production.
  if (NODE_ENV !== 'production') await app.register(guestRoute(JWT_SECRET))
}, { name: 'stage', dependencies: [] })

interface Answer {
  header (name: string, value: string): Answer
  code (status: number): Answer
  send (body?: string): Answer
}

function send (asset: Asset, known: string | undefined, reply: Answer): Answer {
  // Always asked for again, so that a reload of the feature shows at once.
  reply.header('etag', asset.etag).header('cache-control', 'no-cache')
  if (known === asset.etag) return reply.code(304).send()
  return reply.header('content-type', asset.type).send(asset.text)
}

const guestRoute = (secret: string): FastifyPluginAsyncZod => async function guests (app) {
  const sign = createGuestSigner(secret)
  app.post('/stage/session', {
    schema: { summary: 'A token for a guest, to try things with', body: guestRequest, response: { 200: guestReply } }
  }, async ({ body }, reply) => {
    reply.header('cache-control', 'no-store')
    return sign(body.name)
  })
}
