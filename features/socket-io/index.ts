import type { IncomingMessage, ServerResponse } from 'node:http'
import { defineFeature, isCoded, NotFound, ValidationFailed } from 'flylive-audio-server/feature'
import type { FeatureInstance, Identity } from 'flylive-audio-server/feature'
import { socketIoFace } from './face.ts'
import type { Client, Mapping } from './gateway.ts'
import { refusalOf } from './refusal.ts'

const name = 'socket-io'
const prefix = '/socket.io'
const path = `${prefix}/`
const methods = 'GET, POST'
/** Maximum length of an origin in log lines, in characters. */
const maxLogged = 200

/**
 * Accepts Socket.IO clients (protocol 5) over WebSockets and polling. Translates Socket.IO events and acks to the
 * server's requests, replies and events, and back, and adds no rules of its own.
 */
export default defineFeature(async function socketIo (app) {
  // This import is dynamic, so that a server without this feature does not load the libraries.
  const { createGateway } = await import('./gateway.ts')
  const mapping = await createMapping(app)
  const gateway = app.keep('gateway', () => createGateway(app.config, mapping), (gateway) => gateway.close())
  app.hooks.on('feature:loaded', (loaded) => { if (loaded === name) gateway.use(mapping) })

  app.gate.http(prefix, (request, response) => {
    allowPages(request, response)
    const { method = '' } = request
    if (method === 'OPTIONS') {
      response.writeHead(204).end()
      return
    }
    if (!methods.split(', ').includes(method)) throw new NotFound(`${method} ${path}`)
    checkRequest(app, request)
    gateway.handleRequest(request, response)
  }, { kept: true })
  for (const one of [path, prefix]) {
    app.gate.upgrade(one, {
      handle (request, socket, head) {
        checkRequest(app, request)
        gateway.handleUpgrade(request, socket, head)
      }
    })
  }
}, { name, dependencies: ['sockets', 'gate', 'messages'] })

/**
 * Lets pages from any origin read the responses. When a page whose origin is not allowed connects, it can therefore
 * read the error `Origin not allowed`. The responses before this error contain no data.
 */
function allowPages ({ headers: { origin } }: IncomingMessage, response: ServerResponse): void {
  response.setHeader('x-content-type-options', 'nosniff')
  if (origin === undefined) return
  response.setHeader('access-control-allow-origin', origin)
  // Allow credentials, because clients may be configured to send cookies. This server neither sets nor reads cookies.
  response.setHeader('access-control-allow-credentials', 'true')
  response.setHeader('access-control-allow-methods', methods)
  response.setHeader('access-control-allow-headers', 'authorization, content-type')
  response.setHeader('access-control-max-age', '600')
  response.setHeader('vary', 'origin')
}

async function createMapping (app: FeatureInstance): Promise<Mapping> {
  const { SocketIoLink } = await import('./link.ts')
  const { WS_MAX_QUEUE_BYTES: maxQueueBytes } = app.config
  // A client may be identified by one generation of the feature, and get its session from the next one.
  const identities = app.keep('identities', () => new WeakMap<Client, Identity>())
  const addresses = app.keep('addresses', () => new WeakMap<Client['conn'], string>())

  /**
   * Logs and counts a rejected client.
   *
   * @returns the error to send to the client
   */
  function refuse (error: unknown, { conn, handshake }: Client, hasToken: boolean): Error {
    const refusal = refusalOf(error, hasToken)
    const { code, message } = refusal.data
    refusals(app).inc({ code })
    const isFault = !isCoded(error)
    const origin = handshake.headers.origin?.slice(0, maxLogged)
    app.log[isFault ? 'error' : 'warn']({ code, path, address: addresses.get(conn), origin, ...(isFault ? { err: error } : {}) }, `connection rejected: ${message}`)
    return refusal
  }

  return {
    face: socketIoFace,
    arrived (connection) {
      addresses.set(connection, app.sockets.admit(connection.request, connection))
    },
    async identify (client) {
      const token = tokenOf(client)
      try {
        identities.set(client, await app.sockets.identify(client.request, token, client.conn))
      } catch (error) {
        throw refuse(error, client, token !== undefined)
      }
    },
    open: (client, face) => app.sockets.open({ identity: identities.get(client) as Identity, face, link: new SocketIoLink(client, maxQueueBytes) })
  }
}

/** @throws if the path is unknown, or if the request would open a connection that the server does not accept */
function checkRequest (app: FeatureInstance, request: IncomingMessage): void {
  const url = URL.parse(request.url ?? '', 'http://localhost')
  if (url === null) throw new ValidationFailed('The URL is not valid')
  if (url.pathname !== path && url.pathname !== prefix) throw new NotFound(url.pathname)
  if (url.searchParams.has('sid')) return
  try {
    app.sockets.admit(request)
  } catch (error) {
    if (isCoded(error)) refusals(app).inc({ code: error.code })
    throw error
  }
}

const refusals = ({ metrics }: FeatureInstance) => metrics.counter('flylive_socket_refused_total', 'Connections rejected before the upgrade, by code', ['code'])

/** @returns the token in the client's `auth` option or its `Authorization` header */
function tokenOf ({ handshake: { auth, headers } }: Client): string | undefined {
  const { token } = auth as { token?: unknown }
  if (typeof token === 'string' && token !== '') return token
  return /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1]
}
