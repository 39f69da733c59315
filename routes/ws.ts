import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { createOriginCheck } from '../plugins/connections/origins.ts'
import { createConnectionQuotas } from '../plugins/connections/quotas.ts'
import { Draining, FeatureDisabled, NotFound, OriginNotAllowed, Overloaded, toWire, Unauthorized, UpgradeRequired } from '../plugins/errors/codes.ts'
import { sendError } from '../plugins/errors/index.ts'
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

/** Maximum characters of an origin in log lines and responses. */
const maxOriginLength = 200

/**
 * Accepts WebSocket connections to `/ws` and to all paths that features register.
 * Rejections are sent as HTTP responses, before the upgrade. Browsers hide these responses from pages, so
 * `POST /ws` returns what an upgrade with the same token would return.
 */
export default (async function ws (app) {
  const { config } = app
  const quotas = createConnectionQuotas(app)
  const isOriginAllowed = createOriginCheck(config)
  const identities = new WeakMap<object, Identity>()
  // Sockets whose upgrade is in progress. These sockets count toward the limit, too; otherwise, a burst could exceed it.
  const arriving = new Set<object>()
  const refused = app.metrics.counter('flylive_socket_refused_total', 'Connections rejected before the upgrade, by code', ['code'])

  /**
   * @param socket of the new connection; undefined: counts nothing, and only checks whether the server would accept a connection
   * @throws the reason for which the server rejects the connection
   */
  async function admit (request: FastifyRequest, socket?: Socket): Promise<Identity> {
    if (app.drain.draining) throw new Draining()
    if (app.sockets.size + arriving.size >= config.MAX_CONNECTIONS) throw new Overloaded()
    if (!isOriginAllowed(request)) throw new OriginNotAllowed(originOf(request))
    quotas.countAddress(request.ip, socket)
    if (socket) {
      arriving.add(socket)
      socket.once('close', () => arriving.delete(socket))
    }
    const entrance = app.gate.entranceOf(request.raw)
    const identity = await (entrance?.authenticate ?? identify)(request)
    // The path of a feature may identify users by its own rules.
    if (!userId.safeParse(identity.user.id).success) throw new Unauthorized("The user's id is not valid")
    await quotas.countUser(userKeyOf(identity.user.id), socket)
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

  /** Logs and counts rejected upgrades, one line each. */
  function sendRefusal (error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const { status, wire } = toWire(error)
    if (request.ws) refused.inc({ code: wire.code })
    const isFault = wire.code === 'INTERNAL'
    if (request.ws || isFault) {
      const line = { code: wire.code, path: request.originalUrl.split('?')[0], address: request.ip, origin: originOf(request), ...(isFault ? { err: error } : {}) }
      request.log[isFault ? 'error' : 'warn'](line, `connection rejected: ${wire.message}`)
    }
    return sendError(request, reply, status, wire)
  }

  app.route({
    method: 'GET',
    url: webSocketUrl,
    exposeHeadRoute: false,
    schema: { hide: true },
    onRequest: async (request) => {
      if (!request.ws) throw new UpgradeRequired()
      try {
        identities.set(request.raw, { ...await admit(request, request.raw.socket), address: request.ip })
      } catch (error) {
        arriving.delete(request.raw.socket)
        throw error
      }
    },
    errorHandler: sendRefusal,
    handler: () => { throw new UpgradeRequired() },
    wsHandler: (socket, request) => {
      arriving.delete(request.raw.socket)
      app.sockets.accept(socket, request.raw, identities.get(request.raw) as Identity, app.gate.entranceOf(request.raw))
    }
  })

  app.route({
    method: 'POST',
    url: webSocketUrl,
    schema: { hide: true },
    errorHandler: sendRefusal,
    handler: async (request, reply) => {
      await admit(request)
      return reply.code(204).header('cache-control', 'no-store').send()
    }
  })
}) satisfies FastifyPluginAsync

/** @returns the origin of a request; undefined if it has none */
function originOf ({ headers: { origin } }: FastifyRequest): string | undefined {
  return origin?.slice(0, maxOriginLength)
}

/** @returns a newly generated guest user, for one connection without a token */
function anonymous (): Identity {
  const id = `guest-${randomUUID()}`
  const name = `Guest ${id.slice(6, 10)}`
  return { user: { id, name, roles: [], profile: { userId: id, id, name } } }
}
