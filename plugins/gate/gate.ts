import { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { Face } from '../connections/face.ts'
import type { Identity, Session } from '../connections/session.ts'
import { isCoded, NotFound, toWire } from '../errors/codes.ts'
import type { CodedError } from '../errors/codes.ts'
import { refuseUpgrade, rejectUpgrade } from '../errors/upgrades.ts'
import type { Registration, Registrations, RegistrationTable } from '../registrations.ts'
import { checkPath, checkPrefix, isBelow, overlapsRoute, pathOf } from './paths.ts'

/**
 * Handles every HTTP request to a prefix and to the paths below it. If the handler throws, the gate
 * sends an error response.
 */
export type HttpHandler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

export interface HttpPathOptions {
  /**
   * True if a resource that outlives reloads (see `app.keep`) responds to the requests. A reload of the feature then
   * neither waits for in-flight requests nor ends them. The resource must end these requests when it is disposed of.
   */
  kept?: boolean
}

/** An HTTP request handler and its options. */
export interface HttpPath extends HttpPathOptions {
  handler: HttpHandler
}

/** A path on which the kernel opens WebSockets, with the same limits, errors and sessions as on `/ws`. */
export interface ConnectionPath {
  /** The message format (face) of the sessions. Default: the native protocol. */
  face?: Face<string | Uint8Array>
  /**
   * The subprotocol to select if the client offers it, or a function that selects one of the offered subprotocols.
   * Default: `msab.v1`.
   */
  subprotocol?: string | ((offered: readonly string[]) => string | undefined)
  /**
   * Called after a session opens on this path, before its first frame is handled. If the feature is reloaded while a
   * client connects, the new generation's function is called.
   */
  opened?: (session: Session) => void
  /**
   * Handles the frames of the path's sessions. If `receive` is set, the face (message format) does not parse the
   * frames. The server has already checked the frames against the connection's limits. After a reload, the new
   * generation receives the frames of existing sessions.
   */
  receive?: (session: Session, data: Buffer, isBinary: boolean) => void
  /**
   * Identifies the user. By default, the `auth` feature identifies users.
   *
   * @throws an error with an error code; the server then rejects the upgrade with this error
   */
  authenticate?: (request: FastifyRequest) => Identity | Promise<Identity>
  handle?: undefined
}

/** A path on which the feature handles WebSocket upgrades itself. */
export interface HandledPath {
  /**
   * Handles an upgrade request and takes over the socket of the request. If it throws or rejects before it has written
   * to the socket, the server rejects the upgrade. If it throws or rejects later, the server closes the socket.
   */
  handle: (request: IncomingMessage, socket: Duplex, head: Buffer) => void | Promise<void>
}

export type UpgradePath = ConnectionPath | HandledPath

/** Registers paths. The paths are removed when the feature is unloaded. */
export interface GateRegistrar {
  /**
   * Handles all HTTP requests to a prefix and to the paths below it. The server adds no headers: the handler must set
   * all headers, including those for CORS.
   *
   * @param prefix one or more path segments, such as `/hls`; no other feature and no server route may use a path below
   *   this prefix
   * @throws if the prefix is taken
   */
  http (prefix: string, handler: HttpHandler, options?: HttpPathOptions): void
  /**
   * Accepts upgrades at exactly this path. If a reload of the feature removes the path, the server closes the path's
   * sessions with SHUTTING_DOWN.
   *
   * @throws if the path is taken
   */
  upgrade (path: string, options: UpgradePath): void
}

declare module '../registrations.ts' {
  interface RegistrationKinds {
    /** HTTP request handlers, by prefix. */
    http: HttpPath
    /** Accepted upgrades, by path. */
    upgrade: UpgradePath
  }
}

/** An owner's existing paths and routes, which new paths must not overlap. */
export interface PathOwner {
  name: string
  registrations: Registrations
  routes: readonly { url: string }[]
}

/**
 * Creates an owner's registrar, which rejects paths that are already taken.
 *
 * @param others returns the other owners, whose paths and routes a new path must not overlap; called on each
 *   registration
 */
export function createGateRegistrar (registrations: Registrations, others: () => Iterable<PathOwner>): GateRegistrar {
  return {
    http (prefix, handler, options = {}) {
      checkPrefix(prefix)
      if (registrations.has('http', prefix)) throw new Error(`The prefix ${prefix} is registered twice`)
      for (const other of others()) {
        const taken = other.registrations.entries('http').some(([known]) => isBelow(prefix, known) || isBelow(known, prefix)) || other.routes.some(({ url }) => overlapsRoute(prefix, url))
        if (taken) throw new Error(`The prefix ${prefix} overlaps a path of ${other.name}`)
      }
      registrations.add('http', prefix, { ...options, handler })
    },
    upgrade (path, options) {
      checkPath(path)
      if (registrations.has('upgrade', path)) throw new Error(`Upgrades to ${path} are registered twice`)
      for (const other of others()) if (other.registrations.has('upgrade', path)) throw new Error(`Upgrades to ${path} belong to ${other.name}`)
      registrations.add('upgrade', path, options)
    }
  }
}

/** @throws if the route is below another owner's prefix */
export function checkRoute (url: string, owners: Iterable<PathOwner>): void {
  for (const { name, registrations } of owners) {
    const below = registrations.entries('http').find(([prefix]) => overlapsRoute(prefix, url))
    if (below) throw new Error(`The route ${url} is below the prefix ${below[0]} of ${name}`)
  }
}

/** The path on which a connection was opened, and the owner of the path. */
export interface Entrance extends ConnectionPath {
  path: string
  owner: string
}

/** Routes requests and upgrades to the owners of their paths. */
export interface Gate {
  /** Emits `upgrade` for each upgrade request for which the kernel opens a WebSocket. */
  readonly webSockets: EventEmitter
  /** @returns false if the request's path is not claimed */
  serve (request: IncomingMessage, response: ServerResponse): boolean
  /** Passes an upgrade to the owner of its path, or rejects it with NOT_FOUND. */
  upgrade (request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** @returns the path on which the connection was opened; undefined if the connection did not come through the gate */
  entranceOf (request: IncomingMessage): Entrance | undefined
  /**
   * @returns the current owner's handlers for the path; undefined if nobody claims the path, or if its owner handles
   *   upgrades itself
   */
  connectionPathOf (path: string): ConnectionPath | undefined
  /** Whether upgrades at a path are currently accepted. */
  accepts (path: string): boolean
}

/** @param webSocketUrl the route that opens WebSockets for all claimed paths */
export function createGate (log: FastifyBaseLogger, registrations: RegistrationTable, webSocketUrl: string): Gate {
  const webSockets = new EventEmitter()
  const http = registrations.inService('http')
  const upgrades = registrations.inService('upgrade')
  const entrances = new WeakMap<IncomingMessage, Entrance>()

  function findHttp (path: string): Registration<HttpPath> | undefined {
    if (http.size === 0) return
    for (let prefix = path; prefix !== ''; prefix = prefix.slice(0, prefix.lastIndexOf('/'))) {
      const found = http.get(prefix)?.[0]
      if (found) return found
    }
  }

  function openWebSocket (request: IncomingMessage, path: string, { value, owner, inFlight }: Registration<ConnectionPath>, socket: Duplex, head: Buffer): void {
    const { authenticate } = value
    entrances.set(request, { ...value, path, owner, ...(authenticate && { authenticate: (request) => inFlight.run(() => authenticate(request), `authentication ${path}`) }) })
    if (path !== webSocketUrl) {
      const url = request.url as string
      Object.assign(request, { originalUrl: url, url: url.replace(path, webSocketUrl) })
    }
    webSockets.emit('upgrade', request, socket, head)
  }

  return {
    webSockets,
    serve (request, response) {
      const found = findHttp(pathOf(request.url ?? '/'))
      if (!found) return false
      const { value: { handler, kept = false }, inFlight, owner } = found
      const failed = (error: unknown) => {
        const { status, wire } = toWire(error)
        if (status >= 500 || status === 429) log[wire.code === 'INTERNAL' ? 'error' : 'warn']({ err: error, feature: owner, path: request.url?.split('?', 1)[0] }, 'request failed')
        respondWithError(response, error)
      }
      if (!kept) response.once('close', inFlight.begin((error) => respondWithError(response, error), `http ${request.url ?? ''}`))
      Promise.try(handler, request, response).catch(failed)
      return true
    },
    upgrade (request, socket, head) {
      const path = pathOf(request.url ?? '/')
      const found = upgrades.get(path)?.[0]
      if (!found) return refuseUpgrade(log, request, socket, new NotFound(path) as CodedError)
      const { value, owner, inFlight } = found
      if (!value.handle) return openWebSocket(request, path, { value, owner, inFlight }, socket, head)
      const bytesBefore = (socket as Socket).bytesWritten
      Promise.try(value.handle, request, socket, head).catch((err: unknown) => {
        const isAnswered = (socket as Socket).bytesWritten > bytesBefore
        if (isCoded(err) && !isAnswered) return refuseUpgrade(log, request, socket, err)
        log.error({ err, feature: owner, path }, 'failed to handle an upgrade')
        if (isAnswered) socket.destroy()
        else rejectUpgrade(socket, err)
      })
    },
    entranceOf: (request) => entrances.get(request),
    connectionPathOf (path) {
      const found = upgrades.get(path)?.[0]?.value
      return found?.handle ? undefined : found
    },
    accepts: (path) => upgrades.has(path)
  }
}

/** Sends an error response or, if a response has already begun, closes the connection. */
function respondWithError (response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const { status, wire } = toWire(error)
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...(status === 503 ? { 'retry-after': '1' } : {}) })
  response.end(JSON.stringify({ error: wire }))
}
