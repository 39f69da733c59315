import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { TooManyConnections, withDetails } from '../errors/codes.ts'
import { addressKey, isPrivate } from './addresses.ts'
import type { ClientConnection } from './admission.ts'

/** Limits the number of connections per address and per user. */
export interface ConnectionQuotas {
  /**
   * Counts a new connection until it closes.
   *
   * @param address the client's address
   * @param connection if undefined, the call counts nothing and only checks whether a new connection would be allowed
   * @throws TOO_MANY_CONNECTIONS (details `{limit}`) if the address, or its IPv6 /64 network, has too many connections
   *   to this server
   */
  countAddress (address: string, connection?: ClientConnection): void
  /** @returns the number of the user's sessions on other servers; 0 if the directory is unavailable */
  countElsewhere (userKey: string): Promise<number>
  /**
   * Counts a user's new connection until it closes.
   *
   * @param elsewhere the promise that {@link countElsewhere} returned, if the caller has already called that method
   * @param connection if undefined, the call counts nothing and only checks whether a new connection would be allowed
   * @throws TOO_MANY_CONNECTIONS (details `{limit}`) if the user has too many connections across all servers
   */
  countUser (userKey: string, connection?: ClientConnection, elsewhere?: Promise<number>): Promise<void>
}

/** Counts open connections by key. */
class ConnectionCounter {
  readonly #byKey = new Map<string, number>()

  /** @returns the number of open connections with that key */
  get (key: string): number {
    return this.#byKey.get(key) ?? 0
  }

  add (key: string, connection: ClientConnection): void {
    this.#byKey.set(key, this.get(key) + 1)
    connection.once('close', () => {
      const left = this.get(key) - 1
      if (left > 0) this.#byKey.set(key, left)
      else this.#byKey.delete(key)
    })
  }
}

/**
 * Number of connections that an address is allowed to open beyond MAX_CONNECTIONS_PER_IP, so that clients with
 * WebSockets can also send HTTP requests.
 */
const moreForRequests = 64

/**
 * @returns a function that tests whether an address is exempt from the limit. Private addresses are exempt unless the
 *   limit is configured, because such addresses may belong to proxies
 */
const exemption = ({ variables }: FastifyInstance['config']) => variables.MAX_CONNECTIONS_PER_IP === undefined ? isPrivate : () => false

/**
 * Closes a new connection if its address has too many connections, even before the client sends a complete request. Has
 * no effect with TRUST_PROXY, because all connections then come from the proxy's address.
 */
export function limitSockets ({ config, server }: Pick<FastifyInstance, 'config' | 'server'>): void {
  if (config.TRUST_PROXY) return
  const sockets = new ConnectionCounter()
  const isExempt = exemption(config)
  server.on('connection', (socket: Socket) => {
    const { remoteAddress: address } = socket
    if (address === undefined || isExempt(address)) return
    const key = addressKey(address)
    if (sockets.get(key) >= config.MAX_CONNECTIONS_PER_IP + moreForRequests) socket.destroy()
    else sockets.add(key, socket)
  })
}

export function createConnectionQuotas ({ config, directory, nodeId }: Pick<FastifyInstance, 'config' | 'directory' | 'nodeId'>): ConnectionQuotas {
  const { MAX_CONNECTIONS_PER_USER: perUser, MAX_CONNECTIONS_PER_IP: perAddress } = config
  const isExempt = exemption(config)
  const addresses = new ConnectionCounter()
  const users = new ConnectionCounter()

  return {
    countAddress (address, connection) {
      if (isExempt(address)) return
      const key = addressKey(address)
      if (addresses.get(key) >= perAddress) throw withDetails(new TooManyConnections('your address'), { limit: perAddress })
      if (connection) addresses.add(key, connection)
    },
    async countElsewhere (userKey) {
      const sessions = await directory.sessionsOf(userKey).catch(() => [])
      return sessions.filter((session) => session.nodeId !== nodeId).length
    },
    async countUser (userKey, connection, elsewhere) {
      // Count this connection before waiting, so that simultaneous new connections of a user cannot exceed the limit
      // together.
      if (connection) users.add(userKey, connection)
      const here = users.get(userKey) + (connection ? 0 : 1)
      if (here > perUser || here + await (elsewhere ?? this.countElsewhere(userKey)) > perUser) throw withDetails(new TooManyConnections('you'), { limit: perUser })
    }
  }
}
