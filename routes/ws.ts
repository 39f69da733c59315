import type { Socket } from 'node:net'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { guest, maxOriginLength } from '../plugins/connections/admission.ts'
import { NotFound, toWire, UpgradeRequired } from '../plugins/errors/codes.ts'
import { sendError } from '../plugins/errors/index.ts'
import type { Identity, Session, User } from '../plugins/connections/session.ts'
import { handleFault } from '../plugins/features/supervisor.ts'
import type { Entrance } from '../plugins/gate/gate.ts'
import { webSocketUrl } from '../plugins/gate/index.ts'

/**
 * Accepts WebSocket connections to `/ws` and to all paths that features register. Rejections are sent as HTTP
 * responses, before the upgrade. Browsers hide these responses from pages, so a page can call `POST /ws` to check
 * whether the server would accept an upgrade with the same token. The response is 204 if the server would accept the
 * upgrade; otherwise, it is the rejection.
 */
export default (async function ws (app) {
  const { admission } = app.sockets
  const identities = new WeakMap<object, Identity>()
  /** The path on which each session was opened. */
  const paths = new WeakMap<Session, string>()
  const refused = app.metrics.counter('flylive_socket_refused_total', 'Connections rejected before the upgrade, by code', ['code'])

  /**
   * @param socket the new connection's socket; if undefined, only checks whether the server would accept a connection,
   *   and counts no connection
   * @throws an error if the server rejects the connection
   */
  async function admit (request: FastifyRequest, socket?: Socket): Promise<Identity> {
    admission.checkOrigin(request.raw)
    admission.enter(request.raw, socket)
    const entrance = app.gate.entranceOf(request.raw)
    const authenticate = entrance?.authenticate ?? identify
    const identity = await admission.identify(request.raw, (verified) => authenticate(request, verified), socket)
    // The feature may have removed the path while the server was identifying the user.
    if (entrance && !app.gate.accepts(entrance.path)) throw new NotFound(entrance.path)
    return identity
  }

  async function identify (request: FastifyRequest, verified: (user: User) => void): Promise<Identity> {
    const auth = app.features.getFeature('auth')
    return auth ? await auth.authenticate(request, verified) : guest(app)
  }

  /** Closes a session if no feature serves its path any more, because nobody would handle the session's frames. */
  function closeIfWithdrawn (session: Session): void {
    const path = paths.get(session)
    if (path !== undefined && !app.gate.accepts(path)) session.close('SHUTTING_DOWN')
  }
  app.hooks.on('feature:loaded', () => { for (const session of app.sockets.all()) closeIfWithdrawn(session) })

  /** Sends the response to a rejected request. If the request is an upgrade, logs and counts the rejection. */
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

  /**
   * Handles an error of a feature's `receive` as a fault of the feature. If the error left this function, the ws package
   * would handle no more frames of the connection.
   */
  function receiveFailed (err: unknown, { path, owner }: Entrance): void {
    if (!handleFault(err, 'exception')) app.log.error({ err, feature: owner, path }, 'failed to handle a frame')
  }

  app.route({
    method: 'GET',
    url: webSocketUrl,
    exposeHeadRoute: false,
    schema: { hide: true },
    onRequest: async (request) => {
      if (!request.ws) throw new UpgradeRequired()
      try {
        identities.set(request.raw, await admit(request, request.raw.socket))
      } catch (error) {
        admission.arrived(request.raw.socket)
        throw error
      }
    },
    errorHandler: sendRefusal,
    handler: () => { throw new UpgradeRequired() },
    wsHandler: (socket, request) => {
      admission.arrived(request.raw.socket)
      const identity = identities.get(request.raw) as Identity
      const entrance = app.gate.entranceOf(request.raw)
      if (!entrance) {
        app.sockets.accept(socket, request.raw, identity)
        return
      }
      const { path } = entrance
      // Look up the handlers when they are called, because a reload of the feature replaces them.
      const current = () => app.gate.connectionPathOf(path)
      const session = app.sockets.accept(socket, request.raw, identity, {
        ...entrance,
        opened: (session) => current()?.opened?.(session),
        ...(entrance.receive && {
          reader (session, data, isBinary) {
            try {
              current()?.receive?.(session, data, isBinary)
            } catch (error) {
              receiveFailed(error, entrance)
            }
          }
        })
      })
      paths.set(session, path)
      closeIfWithdrawn(session)
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
