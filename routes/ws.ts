import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import { Draining, FeatureDisabled, OriginNotAllowed, Overloaded, UpgradeRequired } from '../plugins/errors/codes.ts'
import { anonymous } from '../plugins/connections/anonymous.ts'
import { subprotocol } from '../plugins/connections/web-socket-server.ts'
import type { Identity } from '../plugins/connections/session.ts'

/** What the kernel asks of the feature `auth`. */
export interface Authenticator {
  /**
   * @param request an upgrade
   * @throws UNAUTHORIZED, or UNAVAILABLE when it can't be told
   */
  authenticate (request: FastifyRequest): Promise<Identity>
}

declare module '../plugins/features/feature.ts' {
  interface FeatureSlots {
    auth: Authenticator
  }
}

/** GET /ws: everything that may refuse a connection does so before the upgrade, as HTTP. */
export default (async function ws (app) {
  const { config } = app
  const identities = new WeakMap<object, Identity>()
  // Connections that are being looked at. They count, or a crowd that comes at
  // once would get in whole.
  const coming = new Set<object>()
  const refused = app.metrics.counter('flylive_socket_refused_total', 'Connections refused before the upgrade, by code', ['code'])

  async function admit (request: FastifyRequest): Promise<Identity> {
    if (app.drain.draining) throw new Draining()
    if (app.sockets.size + coming.size >= config.MAX_CONNECTIONS) throw new Overloaded()
    if (!originAllowed(request)) throw new OriginNotAllowed()
    const { socket } = request.raw
    coming.add(socket)
    socket.once('close', () => coming.delete(socket))
    const identity = await identify(request)
    // Since it was asked for.
    if (app.drain.draining) throw new Draining()
    return identity
  }

  async function identify (request: FastifyRequest): Promise<Identity> {
    const auth = app.features.getFeature('auth')
    if (auth) return await auth.authenticate(request)
    if (config.ALLOW_ANONYMOUS) return anonymous()
    throw new FeatureDisabled('auth')
  }

  /** Native clients send no Origin; a browser's must be this server's own or a configured one. */
  function originAllowed (request: FastifyRequest): boolean {
    const { origin } = request.headers
    if (origin === undefined || config.CORS_ORIGINS.includes('*') || config.CORS_ORIGINS.includes(origin)) return true
    return URL.canParse(origin) && new URL(origin).host === request.host
  }

  app.route({
    method: 'GET',
    url: '/ws',
    exposeHeadRoute: false,
    schema: { hide: true },
    onRequest: async (request) => {
      if (!request.ws) throw new UpgradeRequired()
      try {
        identities.set(request.raw, await admit(request))
      } catch (error) {
        coming.delete(request.raw.socket)
        refused.inc({ code: (error as { code?: string }).code ?? 'INTERNAL' })
        throw error
      }
    },
    handler: () => { throw new UpgradeRequired() },
    wsHandler: (socket, request) => {
      coming.delete(request.raw.socket)
      const session = app.sockets.accept(socket, request.raw, identities.get(request.raw) as Identity)
      // What the client sends meanwhile waits: the greeting is the first frame.
      app.messages.hold(session, (async () => {
        const extra = await app.hooks.collect('session:greet', session)
        session.send('session:ready', {
          sessionId: session.id,
          userId: session.user.id,
          protocol: subprotocol,
          features: app.features.enabled(),
          iceServers: [],
          ...extra,
          serverTime: Date.now()
        })
      })().catch((err: unknown) => {
        app.log.error({ err }, 'the greeting failed')
        session.close('OVERLOADED')
      }))
    }
  })
}) satisfies FastifyPluginAsync
