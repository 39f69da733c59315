import bearerAuth from '@fastify/bearer-auth'
import fp from 'fastify-plugin'
import type { RouteOptions } from 'fastify'

export interface Admin {
  /** Whether /admin exists: there is a key. */
  readonly enabled: boolean
  /**
   * Puts the key before a route under /admin; others are left as they are.
   *
   * @returns false for an admin route where there is no key: it must not be reachable
   */
  guard (route: RouteOptions): boolean
}

declare module 'fastify' {
  interface FastifyInstance {
    admin: Admin
  }
}

/**
 * Every route under /admin, the kernel's and every feature's, asks for one of
 * the admin keys. It goes by the route and not by the text of the request, so
 * that no spelling of a URL gets around it.
 */
export default fp(async function admin (app) {
  const keys = app.config.ADMIN_API_KEY
  const enabled = keys.length > 0
  if (enabled) {
    await app.register(bearerAuth, {
      keys: new Set(keys),
      addHook: false,
      verifyErrorLogLevel: 'info',
      // The plugin sends whatever this returns; its types know only a string.
      errorResponse: ((error: Error) => ({ error: { code: 'UNAUTHORIZED', message: error.message } })) as never
    })
  }
  app.decorate('admin', {
    enabled,
    guard (route) {
      if (route.url !== '/admin' && !route.url.startsWith('/admin/')) return true
      if (!app.verifyBearerAuth) return false
      route.onRequest = [app.verifyBearerAuth, ...[route.onRequest ?? []].flat()]
      return true
    }
  } satisfies Admin)
  app.addHook('onRoute', (route) => {
    if (!app.admin.guard(route)) throw new Error(`${route.url} is an admin route, and there is no admin key`)
  })
}, { name: 'admin', dependencies: ['config'] })
