import type { Socket } from 'node:net'
import { Redis } from 'ioredis'
import type { Command, RedisOptions } from 'ioredis'
import type { Config } from '../../config/load.ts'
import { clusterKeyPrefix, followPrimary } from './redis-cluster.ts'

type RedisConfig = Pick<Config, 'NODE_ID' | 'REDIS_URL' | 'REDIS_HOST' | 'REDIS_PORT' | 'REDIS_USERNAME' | 'REDIS_PASSWORD' | 'REDIS_DB' | 'REDIS_TLS' | 'REDIS_SENTINELS' | 'REDIS_SENTINEL_NAME' | 'REDIS_SENTINEL_PASSWORD' | 'REDIS_CLUSTER_NODES'>

/** Maximum delay between connection attempts, in milliseconds. */
const maxRetryDelayMs = 500
/** A command fails after this multiple of the timeout, even if Redis replies to earlier commands in the meantime. */
const maxTimeouts = 15
/** Interval at which a client looks for overdue commands, as a fraction of the timeout. */
const lookShare = 1 / 16

/**
 * Creates the client for a Redis that is configured as a URL, a host and port, Sentinels (which report the current
 * primary), or nodes of a Redis Cluster. The client connects when `connect()` is called.
 *
 * @param config must contain the address of Redis
 * @param timeoutMs how long Redis may be silent before commands fail, in milliseconds
 */
export function createRedisClient (config: RedisConfig, timeoutMs: number): Redis {
  const { client, timedOut } = connectionTo(config, timeoutMs)
  return controlSending(client, timeoutMs, timedOut)
}

/** Commands that are written to the socket together. */
interface Batch {
  commands: Command[]
  /** When the commands were written, in milliseconds of `performance.now()`. */
  writtenAt: number
}

/**
 * Replaces the client's `sendCommand` and `duplicate`. The client's duplicates send their commands in the same way.
 *
 * Commands are written in batches, so that a burst needs few writes. After a pause, the first batch waits for two
 * rounds of `process.nextTick`, so that replies and events are sent to clients first. Later batches are written at the
 * end of the current event loop iteration. Unlike ioredis's auto-pipelining, this does not wait for replies before it
 * sends further commands, and does not copy all defined commands for each batch.
 *
 * A command in a burst waits for the commands before it, so it times out only if Redis sends nothing for the whole
 * timeout. After {@link maxTimeouts} times the timeout, the command fails in any case. Unlike ioredis's
 * `commandTimeout`, this needs no timer per command.
 *
 * @param timedOut called when commands have timed out
 * @returns the client
 */
function controlSending (client: Redis, timeoutMs: number, timedOut: () => void = () => {}): Redis {
  const send = client.sendCommand.bind(client)
  const duplicate = client.duplicate.bind(client)
  const emptyBatch = (): Batch => ({ commands: [], writtenAt: Infinity })
  let batch = emptyBatch()
  /** The batches that have been written and may contain unsettled commands, oldest first. */
  let written: Batch[] = []
  let hasWritten = false
  let receivedAt = 0

  function write (socket: Socket): void {
    batch.writtenAt = performance.now()
    written.push(batch)
    batch = emptyBatch()
    socket.uncork()
  }

  function writeLater (socket: Socket): void {
    socket.cork()
    if (hasWritten) {
      setImmediate(write, socket)
      return
    }
    hasWritten = true
    process.nextTick(process.nextTick, write, socket)
    setImmediate(() => { hasWritten = false })
  }

  function failOverdue (): void {
    const now = performance.now()
    const isOverdue = ({ writtenAt }: Batch) => now >= Math.min(Math.max(writtenAt, receivedAt) + timeoutMs, writtenAt + maxTimeouts * timeoutMs)
    const isUnsettled = ({ isSettled }: Command) => !isSettled
    const first = written.findIndex((batch) => !isOverdue(batch) && batch.commands.some(isUnsettled))
    const checked = written.splice(0, first === -1 ? written.length : first)
    const overdue = checked.flatMap(({ commands }) => commands.filter(isUnsettled))
    for (const command of overdue) command.reject(new Error('Command timed out'))
    if (overdue.length > 0) timedOut()
  }

  let looking: NodeJS.Timeout | undefined
  client.on('connect', () => {
    client.stream.on('data', () => { receivedAt = performance.now() })
    // Look only after reading the replies that have already arrived. Node.js runs timers before it reads sockets, so
    // if the process was blocked, a command could otherwise fail although Redis replied in time.
    looking = setInterval(setImmediate, timeoutMs * lookShare, failOverdue).unref()
  })
  // When the connection is lost, ioredis rejects its commands.
  client.on('close', () => {
    clearInterval(looking)
    written = []
  })

  client.sendCommand = (command, stream) => {
    batch.commands.push(command)
    // The client has no socket until it connects for the first time.
    const socket = client.stream as Socket | undefined
    if (socket && socket.writableCorked === 0) writeLater(socket)
    return send(command, stream)
  }
  client.duplicate = (override) => controlSending(duplicate(override), timeoutMs, timedOut)
  return client
}

function connectionTo (config: RedisConfig, timeoutMs: number): { client: Redis, timedOut?: () => void } {
  const options: RedisOptions = {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
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
      commandTimeout: timeoutMs
    })
    return { client: new Redis({ ...access, db: 0, keyPrefix, Connector }), timedOut: verify }
  }
  return { client: new Redis({ ...access, host: config.REDIS_HOST, port: config.REDIS_PORT }) }
}
