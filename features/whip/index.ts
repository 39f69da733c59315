import { defineFeature, roomId, z } from 'flylive-audio-server/feature'
import { MethodNotAllowed } from './errors.ts'

export * as errors from './errors.ts'

const room = z.object({ roomId })
const resource = z.object({ roomId, id: z.string().min(1).max(160) })
const pin = z.object({ pin: z.string().min(4).max(32).optional() })
const sdp = z.string().max(65_536)

/** WHIP (RFC 9725): encoders send audio to a room. WHEP: players receive the mix of a room. */
export default defineFeature(async function whip (app) {
  // This import is dynamic, so that a server without this feature does not load the libraries.
  const { createSessions } = await import('./sessions.ts')
  const sessions = createSessions(app)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(['application/sdp', 'application/trickle-ice-sdpfrag'], { parseAs: 'string' }, (_request, body, done) => done(null, body))
  // Pages from other origins can read only the response headers listed here.
  app.addHook('onSend', async (_request, reply) => { reply.header('access-control-expose-headers', 'location, etag, link, accept-patch') })

  // These routes are not in the generated contract, because their bodies are not JSON. docs/whip.md describes the
  // routes.
  for (const kind of ['whip', 'whep'] as const) {
    app.post(`/${kind}/:roomId`, {
      schema: { hide: true, params: room, querystring: pin, body: sdp }
    }, async (request, reply) => {
      const { id, answer, etag, links } = await sessions.open(kind, request, request.params.roomId, request.query.pin, request.body)
      return await reply.code(201).headers({
        'content-type': 'application/sdp',
        'cache-control': 'no-store',
        'accept-patch': 'application/trickle-ice-sdpfrag',
        location: `/${kind}/${request.params.roomId}/${id}`,
        etag,
        ...(links.length > 0 ? { link: links } : {})
      }).send(answer)
    })
    app.patch(`/${kind}/:roomId/:id`, {
      schema: { hide: true, params: resource, body: sdp }
    }, async (request, reply) => {
      const restarted = await sessions.patch(kind, request, request.params, request.headers['if-match'], request.body)
      if (!restarted) return await reply.code(204).send()
      return await reply.code(200).headers({ 'content-type': 'application/trickle-ice-sdpfrag', etag: restarted.etag }).send(restarted.fragment)
    })
    app.delete(`/${kind}/:roomId/:id`, {
      schema: { hide: true, params: resource }
    }, async (request, reply) => {
      await sessions.end(kind, request, request.params)
      return await reply.code(200).send()
    })
    // RFC 9725, section 4.1, reserves these methods.
    for (const [url, allowed] of [[`/${kind}/:roomId`, 'POST'], [`/${kind}/:roomId/:id`, 'PATCH, DELETE']] as const) {
      app.route({
        method: allowed === 'POST' ? ['GET', 'PUT'] : ['GET', 'PUT', 'POST'],
        url,
        schema: { hide: true },
        async handler (_request, reply) {
          reply.header('allow', allowed)
          throw new MethodNotAllowed(allowed)
        }
      })
    }
  }

  app.hooks.on('media:consumerClosed', sessions.consumerClosed)
  app.hooks.on('media:producerClosed', (_roomId, _producer, owner) => sessions.producerClosed(owner))
  const timer = setInterval(sessions.check, 5000).unref()
  app.addHook('onClose', async () => clearInterval(timer))
}, { name: 'whip', dependencies: ['rooms', 'sfu', 'sockets', 'cluster'] })
