import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { AbstractConnector, Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'

// All keys of a deployment have the same hash tag. One primary of the Redis Cluster therefore holds all keys, and
// scripts can use any of them. The servers connect only to this primary. For this connection, the servers use an
// ordinary client, which keeps commands and messages in order. Other deployments use other tags, so other primaries may
// hold their keys.

export interface ClusterAddress {
  host: string
  port: number
}

export interface ClusterAccess extends Pick<RedisOptions, 'username' | 'password' | 'connectTimeout' | 'commandTimeout'> {
  tls?: object
}

/** Connects clients to the primary that holds the keys of one deployment. */
export interface ClusterPrimary {
  /** The connector class for clients. When a connector finds the primary, all connections to other nodes are closed. */
  Connector: NonNullable<RedisOptions['Connector']>
  /**
   * Closes the connections to a node that is no longer the primary, so that the clients of these connections reconnect.
   * Call this when a node does not reply.
   */
  verify (): void
}

/**
 * An entry of the reply to CLUSTER SLOTS: the first and the last slot of a range, and the nodes that hold the range.
 * The first of these nodes is the primary. This type omits all further fields.
 */
type SlotRange = [first: number, last: number, ...nodes: [host: string | null, port: number][]]

const retryMs = 50
const maxRetryMs = 500

/**
 * A Redis Cluster does not support several databases. The keys of each deployment therefore have a prefix that contains
 * the database number of the deployment.
 *
 * @returns the prefix of all keys of a deployment
 */
export const clusterKeyPrefix = (db: number) => `{msab:${db}}:`

/**
 * @param nodes some nodes of the cluster
 * @param keyPrefix the prefix of all keys, which contains a hash tag
 */
export function followPrimary (nodes: readonly ClusterAddress[], keyPrefix: string, access: ClusterAccess): ClusterPrimary {
  const connections = new Map<Socket, string>()
  const nameOf = ({ host, port }: ClusterAddress) => `${host}:${port}`
  /** The primary that holds the keys, and the replicas of this primary, according to the latest reply from a node. */
  let holders: ClusterAddress[] = []
  let isVerifying = false

  /** @throws if no node reports the primary */
  async function find (): Promise<ClusterAddress> {
    const candidates = new Map([...holders, ...nodes].map((node) => [nameOf(node), node]))
    try {
      // Ask all nodes at once, so that a node that hangs does not delay the search.
      return await Promise.any([...candidates.values()].map(ask))
    } catch (error) {
      throw (error as AggregateError).errors[0]
    }
  }

  async function ask (node: ClusterAddress): Promise<ClusterAddress> {
    const client = new Redis({ ...access, ...node, lazyConnect: true, enableReadyCheck: false, disableClientInfo: true, retryStrategy: () => null })
    let failure: Error | undefined
    client.on('error', (error: Error) => { failure ??= error })
    try {
      await client.connect()
      const [info, slot, ranges] = await Promise.all([client.cluster('INFO'), client.cluster('KEYSLOT', keyPrefix), client.cluster('SLOTS')]) as unknown as [string, number, SlotRange[]]
      // A node that has lost contact with the other nodes may still consider itself the primary.
      if (!info.includes('cluster_state:ok')) throw new Error(`Redis Cluster: ${nameOf(node)} reports that the cluster is down`)
      const [,, ...found] = ranges.find(([first, last]) => first <= slot && slot <= last) ?? [0, 0]
      const [primary, ...replicas] = found.map(([host, port]) => ({ host: host === null || host === '' ? node.host : host, port }))
      if (!primary) throw new Error(`Redis Cluster: no node has the slot ${slot}`)
      holders = [primary, ...replicas]
      return primary
    } catch (error) {
      throw failure ?? error
    } finally {
      client.disconnect()
    }
  }

  /** Closes the connections to all nodes except the primary. */
  function closeOthers (primary: ClusterAddress): void {
    for (const [socket, name] of connections) if (name !== nameOf(primary)) socket.destroy()
  }

  function open (primary: ClusterAddress): Socket {
    const socket = access.tls ? connectTls({ ...primary, ...access.tls }) : connectTcp(primary)
    connections.set(socket, nameOf(primary))
    socket.once('close', () => connections.delete(socket))
    return socket
  }

  class PrimaryConnector extends AbstractConnector {
    /** @param options the client's options */
    constructor (options: unknown) {
      super((options as { disconnectTimeout: number }).disconnectTimeout)
    }

    /**
     * @param info the reply to INFO
     * @returns whether the node is a primary
     */
    override check ({ role }: { role?: string }): boolean {
      return role !== 'slave'
    }

    /** Searches for the primary until it is found or the client is closed. */
    override async connect (emitError: (type: string, error: Error) => void): Promise<Socket> {
      this.connecting = true
      for (let attempt = 0; ; attempt++) {
        try {
          const primary = await find()
          if (!this.connecting) break
          closeOthers(primary)
          const socket = open(primary)
          this.stream = socket
          socket.once('error', (error) => { this.firstError = error })
          return socket
        } catch (error) {
          if (!this.connecting) break
          emitError('error', error as Error)
          await delay(Math.min(retryMs * 2 ** attempt, maxRetryMs))
        }
      }
      throw new Error('Connection is closed.')
    }
  }

  return {
    Connector: PrimaryConnector,
    verify () {
      if (isVerifying) return
      isVerifying = true
      find().then(closeOthers, () => { /* Ignore the error: the next command that times out starts another search. */ }).finally(() => { isVerifying = false })
    }
  }
}
