import { randomUUID } from 'node:crypto'
import { unavailable, withTimeout } from 'flylive-audio-server/feature'
import type { Logger, Redis } from 'flylive-audio-server/feature'

export interface SubscriptionOptions {
  /** The connection that publishes canaries (test messages). The subscription uses a duplicate of this connection. */
  redis: Redis
  channel: string
  log: Logger
  /** Receives the messages that the backend publishes, in order. */
  receive: (text: string) => void
  /** Interval between two canaries (test messages), in milliseconds. */
  canaryIntervalMs?: number
  /** Maximum time until a canary (test message) arrives, in milliseconds. */
  canaryTimeoutMs?: number
}

export interface Subscription {
  /** @throws UNAVAILABLE if messages published on the channel do not arrive */
  check (): void
  /**
   * Waits up to 5 s for the first canary (test message). If no canary arrives, the subscription keeps retrying in the
   * background.
   */
  ready (): Promise<void>
  close (): void
}

/** Timeout of {@link Subscription.ready}, in milliseconds. */
const startTimeoutMs = 5000
/** Servers recognise a canary (test message) by this prefix, without parsing the message. */
const canaryPrefix = '{"event":"msab:canary",'

/** A canary is a valid envelope without a recipient, so that other subscribers of the channel ignore the canary. */
const canaryText = (token: string) =>
  `${canaryPrefix}"user_id":0,"room_id":null,"payload":{},"timestamp":${JSON.stringify(new Date().toISOString())},"correlation_id":${JSON.stringify(token)}}`

/**
 * Subscribes to the backend's channel. To verify that messages arrive, the subscription periodically
 * publishes a test message (a canary) on the channel. If a canary does not arrive although the connection
 * looks healthy, the subscription reconnects.
 */
export function createSubscription ({ redis, channel, log, receive, canaryIntervalMs = 2500, canaryTimeoutMs = 2000 }: SubscriptionOptions): Subscription {
  const name = randomUUID()
  const first = Promise.withResolvers<void>()
  let sequence = 0
  let pendingCanary: { text: string, timer: NodeJS.Timeout } | undefined
  let problem: string | undefined = 'not subscribed yet'
  let wasHealthy = false
  let closed = false
  let subscriber = connect()

  function connect (): Redis {
    const connection = redis.duplicate({
      enableOfflineQueue: true,
      maxRetriesPerRequest: null,
      autoResubscribe: false,
      lazyConnect: true
    })
    connection.on('error', (err: Error) => log.debug({ err }, 'redis subscriber failed'))
    connection.on('message', (_channel: string, text: string) => { if (connection === subscriber) onMessage(text) })
    connection.on('ready', () => {
      connection.subscribe(channel).then(() => { if (connection === subscriber) sendCanary() },
        (err: unknown) => log.debug({ err }, 'redis subscriber failed'))
    })
    connection.connect().catch(() => { /* The `error` handler has logged the failure, and ioredis retries. */ })
    return connection
  }

  function onMessage (text: string): void {
    if (!text.startsWith(canaryPrefix)) return receive(text)
    if (text !== pendingCanary?.text) return
    clearTimeout(pendingCanary.timer)
    pendingCanary = undefined
    if (problem !== undefined && wasHealthy) log.info('receiving events from the backend again')
    problem = undefined
    wasHealthy = true
    first.resolve()
  }

  function fail (reason: string, err?: unknown): void {
    clearTimeout(pendingCanary?.timer)
    pendingCanary = undefined
    if (closed) return
    if (problem === undefined) log.warn({ err, reason }, 'not receiving events from the backend')
    problem = reason
  }

  function sendCanary (): void {
    if (closed) return
    clearTimeout(pendingCanary?.timer)
    const text = canaryText(`${name} ${++sequence}`)
    const timer = setTimeout(() => {
      fail('Redis does not deliver messages')
      // A connection that is not ready is already reconnecting.
      if (subscriber.status !== 'ready') return
      const previous = subscriber
      subscriber = connect()
      previous.disconnect()
    }, canaryTimeoutMs)
    pendingCanary = { text, timer }
    redis.publish(channel, text).catch((err: unknown) => { if (pendingCanary?.text === text) fail('Redis is unreachable', err) })
  }

  const canaryTimer = setInterval(() => { if (!pendingCanary) sendCanary() }, canaryIntervalMs)

  return {
    check () {
      if (problem !== undefined) throw unavailable(`The server does not receive events from the backend: ${problem}`)
    },
    ready: () => withTimeout(first.promise, startTimeoutMs, () => {}),
    close () {
      closed = true
      clearInterval(canaryTimer)
      clearTimeout(pendingCanary?.timer)
      subscriber.disconnect()
    }
  }
}
