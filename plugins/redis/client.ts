import type { Socket } from 'node:net'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import type { Config } from '../../config/load.ts'
import { clusterKeyPrefix, followPrimary } from './redis-cluster.ts'

type RedisConfig = Pick<Config, 'NODE_ID' | 'REDIS_URL' | 'REDIS_HOST' | 'REDIS_PORT' | 'REDIS_USERNAME' | 'REDIS_PASSWORD' | 'REDIS_DB' | 'REDIS_TLS' | 'REDIS_SENTINELS' | 'REDIS_SENTINEL_NAME' | 'REDIS_SENTINEL_PASSWORD' | 'REDIS_CLUSTER_NODES'>

/** Maximum delay between connection attempts, in milliseconds. */
const maxRetryDelayMs = 500
/** The message of ioredis's error after `commandTimeout`. */
const commandTimedOut = 'Command timed out'

/**
 * Creates the client for the configured Redis. The configuration contains a URL, a host and a port, Sentinels (which
 * report the current primary), or nodes of a Redis Cluster. The client connects when `connect()` is called.
 *
 * @param config must configure Redis
 * @param commandTimeout timeout of each command, in milliseconds
 */
export function createRedisClient (config: RedisConfig, commandTimeout: number): Redis {
  const { client, timedOut } = connectionTo(config, commandTimeout)
  readBeforeTimeouts(client, timedOut)
  sendTogether(client)
  return client
}

/**
 * Makes the client read all available replies before a command times out. Node.js runs timers before it reads sockets.
 * If the process was blocked for longer than the timeout, all commands in flight would otherwise fail, even if Redis
 * replied in time.
 *
 * @param timedOut called when Redis did not reply to a command in time
 */
function readBeforeTimeouts (client: Redis, timedOut: (() => void) | undefined): void {
  const send = client.sendCommand.bind(client)
  client.sendCommand = (command, stream) => {
    const { reject } = command
    command.reject = (error) => {
      if (error.message !== commandTimedOut) return reject(error)
      setImmediate(reject, error)
      timedOut?.()
    }
    return send(command, stream)
  }
}

/**
 * Writes all commands from one turn of the event loop to the socket together. Unlike ioredis's auto-pipelining, does
 * not wait for replies before sending further commands, and does not copy all defined commands each time.
 */
function sendTogether (client: Redis): void {
  const send = client.sendCommand.bind(client)
  client.sendCommand = (command, stream) => {
    const socket = client.stream as Socket | undefined
    if (socket && socket.writableCorked === 0) {
      socket.cork()
      process.nextTick(() => socket.uncork())
    }
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
