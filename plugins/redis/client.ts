import type { Socket } from 'node:net'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import type { Config } from '../../config/load.ts'
import { afterReading } from '../errors/timeout.ts'
import { clusterKeyPrefix, followPrimary } from './redis-cluster.ts'

type RedisConfig = Pick<Config, 'NODE_ID' | 'REDIS_URL' | 'REDIS_HOST' | 'REDIS_PORT' | 'REDIS_USERNAME' | 'REDIS_PASSWORD' | 'REDIS_DB' | 'REDIS_TLS' | 'REDIS_SENTINELS' | 'REDIS_SENTINEL_NAME' | 'REDIS_SENTINEL_PASSWORD' | 'REDIS_CLUSTER_NODES'>

/** Maximum delay between connection attempts, in milliseconds. */
const maxRetryDelayMs = 500
/** The message of ioredis's error after `commandTimeout`. */
const commandTimedOut = 'Command timed out'
/** A command fails after this multiple of the timeout, even if Redis replies to earlier commands in the meantime. */
const maxTimeouts = 15

/**
 * Creates the client for a Redis that is configured as a URL, a host and port, Sentinels (which report the current
 * primary), or nodes of a Redis Cluster. The client connects when `connect()` is called.
 *
 * @param config must configure Redis
 * @param commandTimeout how long Redis may be silent before commands fail, in milliseconds
 */
export function createRedisClient (config: RedisConfig, commandTimeout: number): Redis {
  const { client, timedOut } = connectionTo(config, commandTimeout)
  controlSending(client, commandTimeout, timedOut)
  return client
}

/** Commands that are written to the socket together. */
interface Batch {
  /** Set once the commands are written, in milliseconds of `performance.now()`. */
  writtenAt?: number
}

/**
 * Replaces the client's `sendCommand`.
 *
 * Commands are written in batches, so that a burst needs few writes. After a pause, the first batch is written on the
 * next tick. Later batches are written at the end of the current event loop iteration. Unlike ioredis's
 * auto-pipelining, this does not wait for replies before it sends further commands, and does not copy all defined
 * commands each time.
 *
 * A command times out only if Redis has sent nothing for the whole timeout, because a command in a burst waits for
 * the commands before it. After {@link maxTimeouts} times the timeout, it fails in any case. Before a command fails,
 * the client reads all replies that have arrived: Node.js runs timers before it reads sockets, so after the process was
 * blocked, a command could otherwise fail although Redis replied in time.
 *
 * @param timeoutMs the client's `commandTimeout`, in milliseconds
 * @param timedOut called when a command has timed out
 */
function controlSending (client: Redis, timeoutMs: number, timedOut: (() => void) | undefined): void {
  const send = client.sendCommand.bind(client)
  let batch: Batch = {}
  let hasWritten = false
  let receivedAt = 0
  client.on('connect', () => client.stream.on('data', () => { receivedAt = performance.now() }))

  function write (socket: Socket): void {
    batch.writtenAt = performance.now()
    batch = {}
    socket.uncork()
  }

  function writeLater (socket: Socket): void {
    socket.cork()
    if (hasWritten) {
      setImmediate(write, socket)
      return
    }
    hasWritten = true
    process.nextTick(write, socket)
    setImmediate(() => { hasWritten = false })
  }

  client.sendCommand = (command, stream) => {
    const { reject } = command
    const own = batch
    const msLeft = () => {
      const now = performance.now()
      const { writtenAt = now } = own
      return Math.min(Math.max(writtenAt, receivedAt) + timeoutMs, writtenAt + maxTimeouts * timeoutMs) - now
    }
    const failLater = (error: Error) => {
      afterReading(Math.max(0, msLeft()), () => {
        if (command.isSettled) return
        if (msLeft() > 0) return failLater(error)
        reject(error)
        timedOut?.()
      })
    }
    command.reject = (error) => error.message === commandTimedOut ? failLater(error) : reject(error)
    // The client has no socket until it connects for the first time.
    const socket = client.stream as Socket | undefined
    if (socket && socket.writableCorked === 0) writeLater(socket)
    return send(command, stream)
  }
}

function connectionTo (config: RedisConfig, commandTimeout: number): { client: Redis, timedOut?: () => void } {
  const options: RedisOptions = {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout,
    connectTimeout: 2000,
    retryStrategy: (attempt) => Math.min(50 * 2 ** attempt, maxRetryDelayMs),
    // A primary that became a replica keeps its connections, so the client reconnects to find the new primary. In a
    // Redis Cluster, the keys may also have moved, or the node may have lost contact with the other nodes.
    reconnectOnError: ({ message }) => message.includes('READONLY') || /^(MOVED|CLUSTERDOWN) /.test(message),
    connectionName: `flylive:${config.NODE_ID}`
  }
  if (config.REDIS_URL !== undefined) return { client: new Redis(config.REDIS_URL, options) }
  const access: RedisOptions = {
    ...options,
    db: config.REDIS_DB,
    ...(config.REDIS_USERNAME === undefined ? {} : { username: config.REDIS_USERNAME }),
    ...(config.REDIS_PASSWORD === undefined ? {} : { password: config.REDIS_PASSWORD }),
    ...(config.REDIS_TLS ? { tls: {} } : {})
  }
  if (config.REDIS_SENTINELS.length > 0) {
    const client = new Redis({
      ...access,
      sentinels: config.REDIS_SENTINELS.map(({ host, port }) => ({ host, port })),
      name: config.REDIS_SENTINEL_NAME,
      sentinelRetryStrategy: (attempt) => Math.min(50 * 2 ** attempt, maxRetryDelayMs),
      ...(config.REDIS_SENTINEL_PASSWORD === undefined ? {} : { sentinelPassword: config.REDIS_SENTINEL_PASSWORD }),
      ...(config.REDIS_TLS ? { enableTLSForSentinelMode: true, sentinelTLS: {} } : {})
    })
    return { client }
  }
  if (config.REDIS_CLUSTER_NODES.length > 0) {
    const keyPrefix = clusterKeyPrefix(config.REDIS_DB)
    const { username, password, tls, connectTimeout } = access
    const { Connector, verify } = followPrimary(config.REDIS_CLUSTER_NODES, keyPrefix, {
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(tls === undefined ? {} : { tls }),
      ...(connectTimeout === undefined ? {} : { connectTimeout }),
      commandTimeout
    })
    return { client: new Redis({ ...access, db: 0, keyPrefix, Connector }), timedOut: verify }
  }
  return { client: new Redis({ ...access, host: config.REDIS_HOST, port: config.REDIS_PORT }) }
}
