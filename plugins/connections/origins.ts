import type { FastifyInstance, FastifyRequest } from 'fastify'

/** Origins of pages on this machine. */
const loopbackOrigin = /^https?:\/\/(localhost|([a-z0-9-]+\.)+localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/

/**
 * @returns the origins that are allowed to connect in addition to the server's own origin: CORS_ORIGINS and, in
 *   development, all loopback origins; true if all origins are allowed to connect
 */
export function allowedOrigins ({ CORS_ORIGINS, NODE_ENV }: Pick<FastifyInstance['config'], 'CORS_ORIGINS' | 'NODE_ENV'>): true | (string | RegExp)[] {
  if (CORS_ORIGINS.includes('*')) return true
  return NODE_ENV === 'development' ? [...CORS_ORIGINS, loopbackOrigin] : [...CORS_ORIGINS]
}

/**
 * @returns a function that tests whether a request comes from the server's own origin or from another allowed origin.
 *   Requests without an origin pass, because they do not come from a browser
 */
export function createOriginCheck (config: FastifyInstance['config']): (request: Pick<FastifyRequest, 'headers' | 'host'>) => boolean {
  const allowed = allowedOrigins(config)
  return ({ headers: { origin }, host }) => {
    if (origin === undefined || allowed === true) return true
    return allowed.some((one) => typeof one === 'string' ? one === origin : one.test(origin)) || isSameHost(origin, host)
  }
}

/**
 * Whether an origin's host and port match a Host header. The header may contain the default port or capital letters.
 */
function isSameHost (origin: string, host: string): boolean {
  const page = URL.parse(origin)
  if (page === null || !/^https?:$/.test(page.protocol)) return false
  // The header has no scheme. The parser removes the default port of the origin's scheme.
  return URL.parse(`${page.protocol}//${host}`)?.host === page.host
}
