import { randomUUID } from 'node:crypto'
import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import proxyAddr from '@fastify/proxy-addr'
import type { FastifyInstance } from 'fastify'
import { trustProxyOption } from '../../config/addresses.ts'
import { FeatureDisabled, OriginNotAllowed, Unauthorized, unavailable } from '../errors/codes.ts'
import { userId } from '../schema/ids.ts'
import type {} from './authenticator.ts'
import { createOriginCheck } from './origins.ts'
import { createConnectionQuotas } from './quotas.ts'
import { userKeyOf } from './session.ts'
import type { Identity, User } from './session.ts'

/** An object that emits `close` when a client's connection closes, such as a network socket. */
export type ClientConnection = Pick<EventEmitter, 'once'>

/** Decides which connections the server accepts. */
export interface Admission {
  /**
   * Checks a new connection whose user is not known yet. Counts the connection towards MAX_CONNECTIONS_PER_IP until the
   * connection closes. Also counts it towards MAX_CONNECTIONS until it closes or gets a session; the session is then
   * counted instead.
   *
   * @param request the first HTTP request of the connection
   * @param connection if undefined, the call counts nothing and only checks whether a new connection would be accepted
   * @returns the client's address
   * @throws DRAINING, OVERLOADED, TOO_MANY_CONNECTIONS
   */
  enter (request: IncomingMessage, connection?: ClientConnection): string
  /** @throws ORIGIN_NOT_ALLOWED */
  checkOrigin (request: IncomingMessage): void
  /**
   * Identifies a connection's user, and counts the connection towards MAX_CONNECTIONS_PER_USER until it closes.
   *
   * @param authenticate returns the user or throws a coded error. This function may call `verified` as soon as the user
   *   is known, so that the user's sessions on other servers are counted while authentication continues
   * @param connection if undefined, nothing is counted
   * @returns the identity that `authenticate` returned, with the client's address
   * @throws any error that `authenticate` throws; UNAUTHORIZED if the user's id is invalid; UNAVAILABLE if the
   *   connection has closed; TOO_MANY_CONNECTIONS, DRAINING
   */
  identify (request: IncomingMessage, authenticate: (verified: (user: User) => void) => Identity | Promise<Identity>, connection?: ClientConnection): Promise<Identity>
  /**
   * Identifies a token's user, or creates a guest if the `auth` feature is off and ALLOW_ANONYMOUS is set.
   *
   * @throws UNAUTHORIZED, UNAVAILABLE, FEATURE_DISABLED
   */
  userOf (token: string | undefined, verified?: (user: User) => void): Promise<Identity>
  /**
   * Stops counting a connection. Called when the server rejects the connection or opens a session for it; an open
   * session is counted instead.
   */
  arrived (connection: ClientConnection): void
  /** Calls {@link arrived} for the connection for which {@link identify} returned the identity. */
  opened (identity: Identity): void
}

/** Maximum length of an origin in log lines and responses, in characters. */
export const maxOriginLength = 200

/** @param size returns the number of open sessions */
export function createAdmission (app: FastifyInstance, size: () => number): Admission {
  const { config } = app
  const isOriginAllowed = createOriginCheck(config)
  const clientOf = createClientReader(trustProxyOption(config.TRUST_PROXY))
  // Connections that have no session yet. These connections count towards MAX_CONNECTIONS, so that a burst of
  // connections cannot exceed the limit.
  const arriving = new Set<ClientConnection>()
  const closed = new WeakSet<ClientConnection>()
  const identified = new WeakMap<Identity, ClientConnection>()
  let quotas: ReturnType<typeof createConnectionQuotas> | undefined
  // The quotas are created on first use, because the directory is registered after this plugin.
  const quotasOf = () => {
    quotas ??= createConnectionQuotas(app)
    return quotas
  }

  return {
    enter (request, connection) {
      if (app.drain.draining) throw app.nodes.refusal('DRAINING')
      if (size() + arriving.size >= config.MAX_CONNECTIONS || app.nodes.isFull) throw app.nodes.refusal('OVERLOADED')
      const { address } = clientOf(request)
      quotasOf().countAddress(address, connection)
      if (!connection) return address
      arriving.add(connection)
      connection.once('close', () => {
        arriving.delete(connection)
        closed.add(connection)
      })
      return address
    },
    checkOrigin (request) {
      if (!isOriginAllowed({ headers: request.headers, host: clientOf(request).host })) throw new OriginNotAllowed(request.headers.origin?.slice(0, maxOriginLength))
    },
    async identify (request, authenticate, connection) {
      let early: { userKey: string, elsewhere: Promise<number> } | undefined
      const verified = ({ id }: User) => {
        const userKey = userKeyOf(id)
        early = { userKey, elsewhere: quotasOf().countElsewhere(userKey) }
      }
      const identity = { ...await authenticate(verified), address: clientOf(request).address }
      // A feature may identify users by its own rules, so the id is checked here.
      if (!userId.safeParse(identity.user.id).success) throw new Unauthorized("The user's id is invalid")
      // Do not count a closed connection. A closed connection would stay in the count, because its `close` event has
      // already been emitted.
      if (connection && closed.has(connection)) throw unavailable('The client has disconnected')
      const userKey = userKeyOf(identity.user.id)
      await quotasOf().countUser(userKey, connection, early?.userKey === userKey ? early.elsewhere : undefined)
      if (app.drain.draining) throw app.nodes.refusal('DRAINING')
      if (connection) identified.set(identity, connection)
      return identity
    },
    async userOf (token, verified) {
      const auth = app.features.getFeature('auth')
      if (auth) return await auth.identify(token, verified)
      return guest(app)
    },
    arrived: (connection) => { arriving.delete(connection) },
    opened (identity) {
      const connection = identified.get(identity)
      if (connection) arriving.delete(connection)
    }
  }
}

/**
 * @returns a newly generated guest user, for one connection without a token
 * @throws FEATURE_DISABLED if ALLOW_ANONYMOUS is not set
 */
export function guest ({ config }: Pick<FastifyInstance, 'config'>): Identity {
  if (!config.ALLOW_ANONYMOUS) throw new FeatureDisabled('auth')
  const id = `guest-${randomUUID()}`
  const name = `Guest ${id.slice(6, 10)}`
  return { user: { id, name, roles: [], profile: { userId: id, id, name } } }
}

interface Client {
  address: string
  host: string
}

/**
 * Creates a function that reads the client's address and the requested host, like Fastify's `request.ip` and
 * `request.host`. The results are cached, because a connection may have many requests and may outlive the network
 * socket of its first request.
 */
function createClientReader (trusted: ReturnType<typeof trustProxyOption>): (request: IncomingMessage) => Client {
  const isTrusted = trusted === false ? () => false : typeof trusted === 'function' ? trusted : proxyAddr.compile(trusted)
  const clients = new WeakMap<IncomingMessage, Client>()

  function read (request: IncomingMessage): Client {
    const { headers, socket: { remoteAddress = '' } } = request
    const forwarded = headers['x-forwarded-host']
    const host = forwarded !== undefined && isTrusted(remoteAddress, 0) ? String(forwarded).split(',').at(-1)?.trim() : headers.host
    return { address: remoteAddress === '' ? '' : proxyAddr(request, isTrusted), host: host ?? '' }
  }

  return (request) => {
    const client = clients.get(request) ?? read(request)
    clients.set(request, client)
    return client
  }
}
