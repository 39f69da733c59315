import type { IncomingMessage } from 'node:http'
import bearerAuth from '@fastify/bearer-auth'
import fp from 'fastify-plugin'
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { Session, UserId } from '../connections/session.ts'
import { Unauthorized } from '../errors/codes.ts'
import { createLockout } from '../redis/lockout.ts'
import type { RoomRecord } from '../store/types.ts'
import { bearerOf, createSecretCheck, fingerprint } from './keys.ts'

export interface Admin {
  /** Whether an admin key is configured. Without a key, the /admin routes do not exist. */
  readonly enabled: boolean
  /**
   * Makes a route require an admin key if the route is under /admin.
   *
   * @returns false if the route is under /admin and no key is configured; the caller must then keep the route
   *   unreachable
   */
  guard (route: RouteOptions): boolean
  /** Whether a request contains a valid admin key. */
  hasKey (request: FastifyRequest): boolean
  /**
   * Whether a request outside /admin contains a valid admin key. A wrong key counts
   * towards the lockout and is logged, as under /admin.
   */
  identify (request: FastifyRequest): Promise<boolean>
  /**
   * Logs a change that a server admin or a room's host has made. The log line contains `audit: true`, the client's
   * address, and either the fingerprint of the admin's key or the ids of the host and the session.
   *
   * @param by an admin's request or a host's session
   * @param action the name of the change, such as `room.close`
   * @param change the target, and its state before and after the change
   */
  audit (by: FastifyRequest | Session, action: string, change: { before: unknown, after: unknown, [target: string]: unknown }): void
}

/** A room's seats, in the format of the admin API. */
export interface Seating {
  seatCount: number
  seats: { seatIndex: number, userId: UserId, isMuted: boolean }[]
  lockedSeats: number[]
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /**
     * Called by the admin API. Returns the seats of each given room, in the same order. If several
     * handlers are registered, only the first handler's result is used.
     */
    'admin:seating': (rooms: readonly RoomRecord[]) => Promise<readonly Seating[]>
  }
}

declare module 'fastify' {
  interface FastifyInstance {
    admin: Admin
  }
}

/** The fingerprint of the admin key in each request, for the audit log. */
const usedKeys = new WeakMap<IncomingMessage, string>()

/** Removes the key from a request, so that a feature that handles the request cannot read the key. */
async function hideKey ({ raw }: FastifyRequest): Promise<void> {
  usedKeys.set(raw, fingerprint(bearerOf(raw.headers) ?? ''))
  delete raw.headers.authorization
  raw.rawHeaders.forEach((name, index, list) => { if (index % 2 === 0 && /^authorization$/i.test(name)) list[index + 1] = '' })
}

/**
 * Replaces an error from @fastify/bearer-auth with this server's own error.
 *
 * @returns the replacement; any other error is returned unchanged
 */
function keyError (error: Error): Error {
  switch ((error as { code?: string }).code) {
    case 'FST_BEARER_AUTH_MISSING_AUTHORIZATION_HEADER': return new Unauthorized('The admin key is missing: send it as Authorization: Bearer KEY')
    case 'FST_BEARER_AUTH_INVALID_AUTHORIZATION_HEADER': return new Unauthorized('The admin key is wrong: send one of the keys in ADMIN_API_KEY as Authorization: Bearer KEY')
    default: return error
  }
}

/**
 * Requires an admin key on every route under /admin, whether the kernel or a feature registers the route. The plugin
 * checks the matched route rather than the request's URL, so no spelling of the URL bypasses the check.
 */
export default fp(async function admin (app) {
  const isKey = createSecretCheck(app.config.ADMIN_API_KEY)
  const enabled = app.config.ADMIN_API_KEY.length > 0
  const lockout = createLockout(app.hasDecorator('redis') ? app.redis : undefined, { name: 'admin', secret: 'admin key', log: app.log })

  function hasKey (request: FastifyRequest): boolean {
    const given = bearerOf(request.headers)
    return given !== undefined && isKey(given)
  }

  if (enabled) {
    await app.register(bearerAuth, {
      keys: new Set<string>(),
      // Accept the name of the scheme in any case (RFC 9110), as in tokens of users.
      specCompliance: 'rfc6749',
      auth: async (given, request) => {
        const matching = isKey(given)
        if (!matching) await lockout.wrong(request.ip)
        return matching
      },
      addHook: false,
      verifyErrorLogLevel: 'info'
    })
  }
  app.decorate('admin', {
    enabled,
    guard (route) {
      // The admin page (/admin) needs no key: the page contains no data, and loads all data from routes that require a
      // key.
      if (!route.url.startsWith('/admin/')) return true
      const verify = app.verifyBearerAuth
      if (!verify) return false
      const prepare = async (request: FastifyRequest, reply: FastifyReply) => {
        reply.header('cache-control', 'no-store')
        if (!hasKey(request)) await lockout.check(request.ip)
      }
      route.onRequest = [prepare, (request, reply, done) => verify(request, reply, (error) => done(error && keyError(error))), hideKey, ...[route.onRequest ?? []].flat()]
      return true
    },
    hasKey,
    async identify (request) {
      if (!enabled || bearerOf(request.headers) === undefined) return false
      if (hasKey(request)) return true
      const isLockedOut = await lockout.check(request.ip).then(() => false, () => true)
      if (!isLockedOut) await lockout.wrong(request.ip)
      return false
    },
    audit (by, action, change) {
      const who = 'raw' in by
        ? { key: usedKeys.get(by.raw), ip: by.ip }
        : { by: by.user.id, sessionId: by.id, ip: by.identity.address }
      app.log.info({ audit: true, action, ...who, ...change }, `${'raw' in by ? 'admin' : 'host'}: ${action}`)
    }
  } satisfies Admin)
  app.addHook('onRoute', (route) => {
    if (!app.admin.guard(route)) throw new Error(`${route.url} is an admin route, but no admin key is configured`)
  })
}, { name: 'admin', dependencies: ['config', 'redis'] })
