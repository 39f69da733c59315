import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import type { Config } from '../../config/load.ts'

type RedisConfig = Pick<Config, 'NODE_ID' | 'REDIS_URL' | 'REDIS_HOST' | 'REDIS_PORT' | 'REDIS_USERNAME' | 'REDIS_PASSWORD' | 'REDIS_DB' | 'REDIS_TLS' | 'REDIS_SENTINELS' | 'REDIS_SENTINEL_NAME' | 'REDIS_SENTINEL_PASSWORD'>

/** Maximum delay between two connection attempts, in milliseconds. */
const maxRetryDelayMs = 500
/** The message of the error that ioredis throws after `commandTimeout`. */
const commandTimedOut = 'Command timed out'

/**
 * Creates the client for the configured Redis, from its URL, from its host and port, or through Sentinels, which return
 * the current primary. The client connects when `connect()` is called.
 *
 * @param config must name a Redis
 * @param commandTimeout in milliseconds
 */
export function createRedisClient (config: RedisConfig, commandTimeout: number): Redis {
  const client = connectionTo(config, commandTimeout)
  readBeforeTimeouts(client)
  return client
}

/**
 * Makes the client read the replies that have arrived before it times out a command. Node.js runs timers before it
 * reads sockets. Without this function, a process that was blocked for longer than the timeout would fail all in-flight
 * commands, although Redis replied in time.
 */
function readBeforeTimeouts (client: Redis): void {
  const send = client.sendCommand.bind(client)
  client.sendCommand = (command, stream) => {
    const { reject } = command
    command.reject = (error) => {
      if (error.message === commandTimedOut) setImmediate(reject, error)
      else reject(error)
    }
    return send(command, stream)
  }
}

function connectionTo (config: RedisConfig, commandTimeout: number): Redis {
  const options: RedisOptions = {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout,
    connectTimeout: 2000,
    // Commands sent in the same turn of the event loop share one round trip.
    enableAutoPipelining: true,
    retryStrategy: (attempt) => Math.min(50 * 2 ** attempt, maxRetryDelayMs),
    // A primary that became a replica keeps its connections, so the client reconnects to find the new primary.
    reconnectOnError: ({ message }) => message.includes('READONLY'),
    autoPipeliningIgnoredCommands: [],
    connectionName: `flylive:${config.NODE_ID}`
  }
  if (config.REDIS_URL !== undefined) return new Redis(config.REDIS_URL, options)
  const access: RedisOptions = {
    ...options,
    db: config.REDIS_DB,
    ...(config.REDIS_USERNAME === undefined ? {} : { username: config.REDIS_USERNAME }),
    ...(config.REDIS_PASSWORD === undefined ? {} : { password: config.REDIS_PASSWORD }),
    ...(config.REDIS_TLS ? { tls: {} } : {})
  }
  if (config.REDIS_SENTINELS.length > 0) {
    return new Redis({
      ...access,
      sentinels: config.REDIS_SENTINELS.map(({ host, port }) => ({ host, port })),
      name: config.REDIS_SENTINEL_NAME,
      sentinelRetryStrategy: (attempt) => Math.min(50 * 2 ** attempt, maxRetryDelayMs),
      ...(config.REDIS_SENTINEL_PASSWORD === undefined ? {} : { sentinelPassword: config.REDIS_SENTINEL_PASSWORD }),
      ...(config.REDIS_TLS ? { enableTLSForSentinelMode: true, sentinelTLS: {} } : {})
    })
  }
  return new Redis({ ...access, ...(config.REDIS_HOST === undefined ? {} : { host: config.REDIS_HOST }), port: config.REDIS_PORT })
}
