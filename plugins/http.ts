import cors from '@fastify/cors'
import rateLimit from '@fastify/rate-limit'
import fp from 'fastify-plugin'
import helmet from 'helmet'
import { addressKey } from './connections/addresses.ts'
import { allowedOrigins } from './connections/origins.ts'
import { limitSockets } from './connections/quotas.ts'
import { rateLimited } from './errors/codes.ts'
import { webSocketUrl } from './gate/index.ts'
import { pathOf } from './gate/paths.ts'

// Maximum number of requests per address per minute. This is enough for several dashboards and polling scripts behind
// one address.
const callsPerMinute = 3000
// Routes that are exempt from the rate limit, because monitoring systems poll them or because they have their own
// limit.
const unlimited = new Set([webSocketUrl, '/health', '/livez', '/readyz', '/metrics'])

/** Adds security headers and CORS to HTTP responses, and limits the requests and connections per address. */
export default fp(async function http (app) {
  const { config } = app
  limitSockets(app)
  app.addHook('onRequest', (request, reply, done) => {
    if (request.socket.remoteAddress !== undefined) return done()
    // The socket has no remote address, because the client has disconnected. The rate limit needs the address, so drop
    // the request.
    request.log.debug({ method: request.method, url: request.url }, 'the client disconnected before its request was handled')
    reply.hijack()
    request.raw.destroy()
  })
  const addSecurityHeaders = helmet({
    contentSecurityPolicy: {
      directives: {
        defaultSrc: ["'self'"],
        styleSrc: ["'self'"],
        fontSrc: ["'self'"],
        connectSrc: ["'self'", 'ws:', 'wss:'],
        imgSrc: ["'self'", 'data:'],
        mediaSrc: ["'self'", 'blob:', 'mediastream:'],
        baseUri: ["'none'"],
        frameAncestors: ["'none'"],
        // Browsers must not upgrade requests to HTTPS, because a development server uses plain HTTP.
        upgradeInsecureRequests: null
      }
    }
  })
  // A WebSocket upgrade needs the security headers only if it is rejected. The `onSend` hook adds these headers to the
  // rejection.
  app.addHook('onRequest', (request, reply, done) => request.ws ? done() : addSecurityHeaders(request.raw, reply.raw, () => done()))
  app.addHook('onSend', (request, reply, _payload, done) => request.ws ? addSecurityHeaders(request.raw, reply.raw, () => done()) : done())
  const origin = allowedOrigins(config)
  await app.register(cors, {
    delegator (request, callback) {
      // Allow pages from any origin to read why the server rejected a connection: the reason may be the page's origin
      // or a wrong path.
      const isExplanation = pathOf(request.raw.url ?? '/').endsWith(webSocketUrl)
      callback(null, {
        ...(isExplanation ? { origin: '*', methods: ['POST'] } : { origin, methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] }),
        // Answer OPTIONS requests that are not CORS preflights, too. WHIP clients send such requests.
        strictPreflight: false
      })
    }
  })
  await app.register(rateLimit, { global: false })
  const check = app.createRateLimit({ max: callsPerMinute, timeWindow: 60_000, keyGenerator: (request) => addressKey(request.ip) })
  app.addHook('onRequest', async (request) => {
    if (request.method !== 'POST' && unlimited.has(request.routeOptions.url ?? '')) return
    const result = await check(request)
    // Admins are exempt from the rate limit, because an admin may share an address with many users.
    if (!result.isAllowed && result.isExceeded && !app.admin.hasKey(request)) throw rateLimited(result.ttl)
  })
}, { name: 'http', dependencies: ['config', 'errors', 'gate', 'admin'] })
