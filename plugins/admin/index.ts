import { createHash, timingSafeEqual } from 'node:crypto'
import bearerAuth from '@fastify/bearer-auth'
import fp from 'fastify-plugin'
import type { FastifyRequest, RouteOptions } from 'fastify'
import type { UserId } from '../connections/user.ts'
import { createLockout } from './lockout.ts'

export interface Admin {
  /** Whether /admin exists: there is a key. */
  readonly enabled: boolean
  /**
   * Puts the key before a route under /admin; others are left as they are.
   *
   * @returns false for an admin route where there is no key: it must not be reachable
   */
  guard (route: RouteOptions): boolean
  /**
   * Writes down what an admin has changed: one line of the log with `audit: true`,
   * which key it was, and from where.
   *
   * @param action what was done, like `room.close`
   * @param change to what, and the state before and after where there is one
   */
  audit (request: FastifyRequest, action: string, change: { before: unknown, after: unknown, [target: string]: unknown }): void
}

/** The seats of a room that the admin API shows. */
export interface Seating {
  seatCount: number
  seats: { seatIndex: number, userId: UserId, isMuted: boolean }[]
  lockedSeats: number[]
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** The seats of rooms, in the order asked; undefined for a room without any use of seats. Called by the admin API; the first answer counts. */
    'admin:seating': (roomIds: readonly string[]) => Promise<readonly (Seating | undefined)[]>
  }
}

declare module 'fastify' {
  interface FastifyInstance {
    admin: Admin
  }
}

const digest = (key: string) => createHash('sha256').update(key).digest()

/**
 * Every route under /admin, the kernel's and every feature's, asks for one of
 * the admin keys. It goes by the route and not by the text of the request, so
 * that no spelling of a URL gets around it.
 */
export default fp(async function admin (app) {
  const keys = app.config.ADMIN_API_KEY.map(digest)
  const enabled = keys.length > 0
  const lockout = createLockout(app.hasDecorator('redis') ? app.redis : undefined)
  if (enabled) {
    await app.register(bearerAuth, {
      keys: new Set<string>(),
      auth: async (given, request) => {
        const known = digest(given)
        // All of them, however early one fits: the time tells nothing.
        const fits = keys.filter((key) => timingSafeEqual(key, known)).length > 0
        if (!fits) await lockout.wrong(request.ip)
        return fits
      },
      addHook: false,
      verifyErrorLogLevel: 'info',
      // The plugin sends whatever this returns; its types know only a string.
      errorResponse: ((error: Error) => ({ error: { code: 'UNAUTHORIZED', message: error.message } })) as never
    })
  }
  app.decorate('admin', {
    enabled,
    guard (route) {
      // The page of that name holds nothing; what it shows it has to ask for.
      if (!route.url.startsWith('/admin/')) return true
      if (!app.verifyBearerAuth) return false
      const locked = async (request: FastifyRequest) => { await lockout.check(request.ip) }
      route.onRequest = [locked, app.verifyBearerAuth, ...[route.onRequest ?? []].flat()]
      return true
    },
    audit (request, action, change) {
      const key = request.headers.authorization?.replace(/^Bearer\s+/i, '') ?? ''
      app.log.info({ audit: true, action, key: digest(key).toString('hex').slice(0, 8), ip: request.ip, ...change }, `admin: ${action}`)
    }
  } satisfies Admin)
  app.addHook('onRoute', (route) => {
    if (!app.admin.guard(route)) throw new Error(`${route.url} is an admin route, and there is no admin key`)
  })
}, { name: 'admin', dependencies: ['config', 'redis'] })
