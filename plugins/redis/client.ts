import type { Socket } from 'node:net'
import { Redis } from 'ioredis'
import type { Command, RedisOptions } from 'ioredis'
import type { Config } from '../../config/load.ts'
import { clusterKeyPrefix, followPrimary } from './redis-cluster.ts'

type RedisConfig = Pick<Config, 'NODE_ID' | 'REDIS_URL' | 'REDIS_HOST' | 'REDIS_PORT' | 'REDIS_USERNAME' | 'REDIS_PASSWORD' | 'REDIS_DB' | 'REDIS_TLS' | 'REDIS_SENTINELS' | 'REDIS_SENTINEL_NAME' | 'REDIS_SENTINEL_PASSWORD' | 'REDIS_CLUSTER_NODES'>

/** Maximum delay between connection attempts, in milliseconds. */
const maxRetryDelayMs = 500
/** A command fails after this many times the timeout, even if Redis replies to other commands in the meantime. */
const maxTimeouts = 15
/** Interval at which a client checks for overdue commands, as a fraction of the timeout. */
const lookShare = 1 / 16

/**
 * Creates the client. The settings name Redis as a URL, as a host and port, as Sentinels (which report the current
 * primary), or as nodes of a Redis Cluster. The client connects when `connect()` is called.
 *
 * @param config the settings that contain the address of Redis
 * @param timeoutMs how long Redis may be silent before commands fail, in milliseconds
 */
export function createRedisClient (config: RedisConfig, timeoutMs: number): Redis {
  const { client, timedOut } = connectionTo(config, timeoutMs)
  return controlSending(client, timeoutMs, timedOut)
}

const isUnsettled = ({ isSettled }: Command) => !isSettled

/** Commands that are written to the socket together. */
interface Batch {
  commands: Command[]
  /** When the commands were written, in milliseconds of `performance.now()`. */
  writtenAt: number
}

/**
 * Replaces the client's methods `sendCommand` and `duplicate`, so that duplicates of the client also send commands in
 * this way.
 *
 * The client writes commands in batches, so that a burst of commands needs only a few writes. After a pause, the first
 * batch waits for two rounds of `process.nextTick`, so that replies and events are sent to clients first. Later batches
 * are written at the end of the current event loop iteration. In contrast to ioredis's auto-pipelining, the client does
 * not wait for replies before it sends further commands, and does not copy all defined commands for each batch.
 *
 * A command in a burst has to wait for the earlier commands. A command therefore times out only if Redis sends nothing
 * for the whole timeout. After {@link maxTimeouts} times the timeout, the command fails in any case. In contrast to
 * ioredis's `commandTimeout`, this timeout does not need a timer for each command.
 *
 * @param timedOut called when commands have timed out
 * @returns the client
 */
function controlSending (client: Redis, timeoutMs: number, timedOut: () => void = () => {}): Redis {
  const send = client.sendCommand.bind(client)
  const duplicate = client.duplicate.bind(client)
  const emptyBatch = (): Batch => ({ commands: [], writtenAt: Infinity })
  let batch = emptyBatch()
  /** The batches that have been written and may still contain commands without a reply, oldest first. */
  let written: Batch[] = []
  let hasWritten = false
  let receivedAt = 0

  function write (socket: Socket): void {
    batch.writtenAt = performance.now()
    if (batch.commands.length > 0) written.push(batch)
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
    const first = written.findIndex((batch) => !isOverdue(batch) && batch.commands.some(isUnsettled))
    const checked = written.splice(0, first === -1 ? written.length : first)
    const overdue = checked.flatMap(({ commands }) => commands.filter(isUnsettled))
    for (const command of overdue) command.reject(new Error('Command timed out'))
    if (overdue.length > 0) timedOut()
  }

  let looking: NodeJS.Timeout | undefined
  client.on('connect', () => {
    client.stream.on('data', () => { receivedAt = performance.now() })
    // With `setImmediate`, the client checks for overdue commands only after Node.js has read the replies that have
    // already arrived. Node.js runs timers before it reads sockets: if the process was blocked, a command could
    // otherwise fail although Redis replied in time.
    looking = setInterval(setImmediate, timeoutMs * lookShare, failOverdue).unref()
  })
  client.on('close', () => {
    clearInterval(looking)
    const lost = [...written, batch].flatMap(({ commands }) => commands.filter(isUnsettled))
    written = []
    batch = emptyBatch()
    // Without a limit on retries (`maxRetriesPerRequest`), ioredis would keep these commands until it reconnects.
    for (const command of lost) command.reject(new Error('Connection is closed'))
  })

  client.sendCommand = (command, stream) => {
    // The client has no socket before its first connection.
    const socket = client.stream as Socket | undefined
    if (socket && socket.writableCorked === 0) writeLater(socket)
    const result = send(command, stream)
    // Without a connection, ioredis has already rejected the command.
    if (!command.isSettled) batch.commands.push(command)
    return result
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
    // Reconnect to find the new primary: a primary that becomes a replica does not close its connections. In a Redis
    // Cluster, the keys may also have moved, or the node may have lost contact with the other nodes.
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
