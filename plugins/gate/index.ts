import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import fp from 'fastify-plugin'
import { Draining } from '../errors/codes.ts'
import type { CodedError } from '../errors/codes.ts'
import { refuseUpgrade } from '../errors/upgrades.ts'
import { createGate, createGateRegistrar } from './gate.ts'
import type { Gate, GateRegistrar, PathOwner } from './gate.ts'

/** The gate API for the kernel. Registers the kernel's own paths. */
export interface KernelGate extends GateRegistrar, Pick<Gate, 'webSockets' | 'entranceOf' | 'connectionPathOf' | 'accepts'> {
  /** The kernel's own paths and routes. */
  kernel (): PathOwner
}

declare module 'fastify' {
  interface FastifyInstance {
    gate: KernelGate
  }
}

/**
 * How long a closing server waits before it destroys open sockets, in milliseconds. By then, all sessions have been
 * closed.
 */
const closeTimeoutMs = 5000

/** The route that opens WebSockets (routes/ws.ts). */
export const webSocketUrl = '/ws'

/**
 * The kernel's routes (routes/). The routes are reserved here, because the kernel registers them only after the
 * features have claimed paths.
 */
const reserved = ['/admin/*', '/health', '/livez', '/metrics', '/readyz', webSocketUrl]

/**
 * Serves the paths that features and the kernel claim outside Fastify's routes: HTTP prefixes and
 * upgrades. Upgrades at other paths are rejected before Fastify receives the request.
 */
export default fp(async function gatePlugin (app) {
  const gate = createGate(app.log, app.registrations, webSocketUrl)
  const registrar = createGateRegistrar(app.registrations.kernel, () => [])
  const routes = reserved.map((url) => ({ url }))

  app.addHook('onRoute', ({ url, method }) => {
    // Skip the CORS preflight route, because it matches all paths.
    if (method !== 'OPTIONS') routes.push({ url })
  })
  // This hook runs before the hooks for security headers, CORS and rate limits, which do not apply to claimed paths.
  app.addHook('onRequest', (request, reply, done) => {
    if (!gate.serve(request.raw, reply.raw)) return done()
    reply.hijack()
  })
  // When an HTTP server closes, Node does not close the sockets of upgraded connections.
  const sockets = new Set<Duplex>()
  let isClosing = false
  app.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    // Reject upgrades here while Fastify is closing: Fastify would send a response but leave the socket open.
    if (isClosing) refuseUpgrade(app.log, request, socket, new Draining() as CodedError)
    else gate.upgrade(request, socket, head)
  })
  app.addHook('preClose', async () => {
    isClosing = true
    setTimeout(() => { for (const socket of sockets) socket.destroy() }, closeTimeoutMs).unref()
  })

  registrar.upgrade(webSocketUrl, {})

  app.decorate('gate', {
    webSockets: gate.webSockets,
    ...registrar,
    entranceOf: gate.entranceOf,
    connectionPathOf: gate.connectionPathOf,
    accepts: gate.accepts,
    kernel: () => ({ name: 'the server itself', registrations: app.registrations.kernel, routes })
  } satisfies KernelGate)
}, { name: 'gate', dependencies: ['registrations'] })
