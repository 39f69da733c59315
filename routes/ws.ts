import { randomUUID } from 'node:crypto'
import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import { createConnectionQuotas } from '../plugins/connections/quotas.ts'
import { Draining, FeatureDisabled, NotFound, OriginNotAllowed, Overloaded, Unauthorized, UpgradeRequired } from '../plugins/errors/codes.ts'
import { userKeyOf } from '../plugins/connections/session.ts'
import type { Identity } from '../plugins/connections/session.ts'
import { webSocketUrl } from '../plugins/gate/index.ts'
import { userId } from '../plugins/schema/ids.ts'

/** The object that the feature `auth` provides. */
export interface Authenticator {
  /**
   * @param request a WebSocket upgrade request
   * @throws UNAUTHORIZED; UNAVAILABLE if the token cannot be checked
   */
  authenticate (request: FastifyRequest): Promise<Identity>
  /**
   * Signs a token, for guests and tests. Absent if the feature cannot sign tokens.
   *
   * @param expiresIn for example `12h`
   */
  sign? (claims: object, expiresIn: string): string
}

declare module '../plugins/features/feature.ts' {
  interface FeatureSlots {
    auth: Authenticator
  }
}

/**
 * Accepts WebSocket connections to `/ws` and to all paths that features register.
 * Rejections are sent as HTTP responses, before the upgrade.
 */
export default (async function ws (app) {
  const { config } = app
  const quotas = createConnectionQuotas(app)
  const identities = new WeakMap<object, Identity>()
  // Sockets whose upgrade is in progress. They count too; otherwise a burst could exceed the limit.
  const arriving = new Set<object>()
  const refused = app.metrics.counter('flylive_socket_refused_total', 'Connections rejected before the upgrade, by code', ['code'])

  async function admit (request: FastifyRequest): Promise<Identity> {
    if (app.drain.draining) throw new Draining()
    if (app.sockets.size + arriving.size >= config.MAX_CONNECTIONS) throw new Overloaded()
    if (!originAllowed(request)) throw new OriginNotAllowed()
    const { socket } = request.raw
    quotas.countAddress(socket, request.ip)
    arriving.add(socket)
    socket.once('close', () => arriving.delete(socket))
    const entrance = app.gate.entranceOf(request.raw)
    const identity = await (entrance?.authenticate ?? identify)(request)
    // The path of a feature may identify users by its own rules.
    if (!userId.safeParse(identity.user.id).success) throw new Unauthorized("The user's id is not valid")
    await quotas.countUser(socket, userKeyOf(identity.user.id))
    // The feature may have removed the path while the client was being identified.
    if (app.drain.draining) throw new Draining()
    if (entrance && !app.gate.accepts(entrance.path)) throw new NotFound(entrance.path)
    return identity
  }

  async function identify (request: FastifyRequest): Promise<Identity> {
    const auth = app.features.getFeature('auth')
    if (auth) return await auth.authenticate(request)
    if (config.ALLOW_ANONYMOUS) return anonymous()
    throw new FeatureDisabled('auth')
  }

  /** Native clients send no Origin. A browser's origin must be this server's or a configured one. */
  function originAllowed (request: FastifyRequest): boolean {
    const { origin } = request.headers
    if (origin === undefined || config.CORS_ORIGINS.includes('*') || config.CORS_ORIGINS.includes(origin)) return true
    return URL.canParse(origin) && new URL(origin).host === request.host
  }

  app.route({
    method: 'GET',
    url: webSocketUrl,
    exposeHeadRoute: false,
    schema: { hide: true },
    onRequest: async (request) => {
      if (!request.ws) throw new UpgradeRequired()
      try {
        identities.set(request.raw, { ...await admit(request), address: request.ip })
      } catch (error) {
        arriving.delete(request.raw.socket)
        refused.inc({ code: (error as { code?: string }).code ?? 'INTERNAL' })
        throw error
      }
    },
    handler: () => { throw new UpgradeRequired() },
    wsHandler: (socket, request) => {
      arriving.delete(request.raw.socket)
      app.sockets.accept(socket, request.raw, identities.get(request.raw) as Identity, app.gate.entranceOf(request.raw))
    }
  })
}) satisfies FastifyPluginAsync

/** @returns a newly generated guest user, for one connection without a token */
function anonymous (): Identity {
  const id = `guest-${randomUUID()}`
  const name = `Guest ${id.slice(6, 10)}`
  return { user: { id, name, roles: [], profile: { userId: id, id, name } } }
}
