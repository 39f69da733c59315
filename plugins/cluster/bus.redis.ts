import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import type { Redis } from 'ioredis'
import { StartError } from '../../config/error.ts'
import { unavailable } from '../errors/codes.ts'
import { withTimeout } from '../errors/timeout.ts'
import type { Bus, TrackedMessage } from './bus.ts'

// Redis shares pub/sub channels between databases, so channel names contain the database number.
const channelPrefix = (db: number) => `msab:${db}:`

/** How long a starting server waits for its subscriptions, in milliseconds. */
const startTimeoutMs = 30_000

/** How long a connection check waits for Redis to echo its message, in milliseconds. */
const checkTimeoutMs = 2000

/** Delay before a failed renewal of the subscriptions is repeated, in milliseconds. */
const renewalRetryMs = 1000

// This server keeps each published message until Redis echoes it, so that the message is delivered exactly once here,
// even if the connection breaks. If the server keeps more messages than this number, it considers the connection
// broken.
const maxInFlight = 10_000

// "<node> <sequence> <message>". No server has the id "-", so every server delivers a message from the node "-".
const payloadOf = (node: string, sequence: number, message: string) => `${node} ${sequence} ${message}`
function parsePayload (payload: string) {
  const first = payload.indexOf(' ')
  const second = payload.indexOf(' ', first + 1)
  return { node: payload.slice(0, first), sequence: Number(payload.slice(first + 1, second)), message: payload.slice(second + 1) }
}

/** The messages that this server has published and that Redis has not echoed yet. */
function createInFlight (deliver: (name: string, message: string) => void) {
  const messages = new Map<number, { name: string, message: string }>()
  let sequence = 0

  /** Delivers a message on this server, because Redis will probably not echo the message. A later echo is ignored. */
  function deliverHere (number: number): void {
    const sent = messages.get(number)
    if (!sent) return
    messages.delete(number)
    deliver(sent.name, sent.message)
  }

  return {
    nextSequence: () => ++sequence,
    add: (number: number, name: string, message: string) => { messages.set(number, { name, message }) },
    /** @returns whether the message was still in flight */
    returned: (number: number) => messages.delete(number),
    get overloaded () {
      return messages.size > maxInFlight
    },
    deliverHere,
    /** @param name the channel's name in Redis; if omitted, all channels */
    deliverAllHere: (name?: string) => { for (const [number, sent] of [...messages]) if (name === undefined || sent.name === name) deliverHere(number) },
    dropChannel (name: string) {
      for (const [number, sent] of messages) if (sent.name === name) messages.delete(number)
    }
  }
}

/**
 * Message bus for deployments with several servers, over Redis pub/sub. A server delivers its own messages when Redis
 * echoes them, so that all servers deliver messages in the same order. While Redis is unreachable, a server delivers
 * its own messages immediately.
 *
 * Resolves once Redis is reachable and the bus is subscribed to its Redis channels.
 *
 * @param redis a client whose commands fail immediately while the client is disconnected
 * @param db database number; deployments that share one Redis use different numbers
 * @param nodeId unique id of this process
 * @throws {StartError} if Redis does not accept the subscriptions in time, for example because it is at `maxclients`
 */
export async function createRedisBus (redis: Redis, db: number, nodeId: string, log: FastifyBaseLogger, timeoutMs = startTimeoutMs): Promise<Bus> {
  const prefix = channelPrefix(db)
  // Handlers, by the channel's name in Redis.
  const subscribers = new EventEmitter<Record<string, [message: string]>>().setMaxListeners(0)
  const inFlight = createInFlight((name, message) => { subscribers.emit(name, message) })
  const healed: (() => void)[] = []
  const checks = new Map<string, () => void>()
  const checkChannel = `${prefix}canary:${nodeId}`
  const subscribed = Promise.withResolvers<void>()
  let wasReady = false
  /** Whether the current connection has all subscriptions, so that Redis echoes the messages of this server. */
  let isSubscribed = false
  let renewal: NodeJS.Timeout | undefined

  const subscriber = redis.duplicate({
    enableOfflineQueue: true,
    maxRetriesPerRequest: null,
    autoResubscribe: false,
    lazyConnect: true
  })
  let lastError = 'no reply'
  subscriber.on('error', (err: Error) => {
    lastError = err.message
    log.debug({ err }, 'redis subscriber connection failed')
  })
  subscriber.on('message', (name: string, payload: string) => {
    const { node, sequence, message } = parsePayload(payload)
    if (node === nodeId && !inFlight.returned(sequence)) return
    subscribers.emit(name, message)
  })
  function renewSubscriptions (): void {
    subscriber.subscribe(...subscribers.eventNames() as string[]).then(() => {
      isSubscribed = true
      if (wasReady) healed.forEach((fn) => fn())
      wasReady = true
      subscribed.resolve()
    }, (err: Error) => {
      lastError = err.message
      log.warn({ err }, 'failed to renew the redis subscriptions, will retry')
      renewLater()
    })
  }
  function renewLater (): void {
    renewal ??= setTimeout(() => {
      renewal = undefined
      // Without a connection, the next connection renews the subscriptions.
      if (subscriber.status === 'ready' && !isSubscribed) renewSubscriptions()
    }, renewalRetryMs).unref()
  }
  subscriber.on('ready', renewSubscriptions)
  // Redis will not echo the messages that were in flight on this connection, so deliver these messages on this server.
  subscriber.on('close', () => {
    isSubscribed = false
    inFlight.deliverAllHere()
  })
  subscribers.on(checkChannel, (message) => checks.get(message)?.())
  subscriber.connect().catch(() => { /* The `error` event logs the failure; the client retries. */ })

  function track (channel: string, message: string): TrackedMessage {
    const number = inFlight.nextSequence()
    // Without subscribers on this server, the message need not be delivered here.
    if (subscribers.listenerCount(prefix + channel) > 0) inFlight.add(number, prefix + channel, message)
    const deaf = !isSubscribed || inFlight.overloaded
    return {
      encoded: { channel: prefix + channel, payload: payloadOf(nodeId, number, message) },
      settle (receivers) {
        if (deaf || receivers === 0) inFlight.deliverHere(number)
      },
      discard () {
        inFlight.returned(number)
      }
    }
  }

  await withTimeout(subscribed.promise, timeoutMs, () => {
    subscriber.disconnect()
    throw new StartError(`Redis did not accept the server's subscriptions within ${timeoutMs / 1000} s: ${lastError}`)
  })
  return {
    track,
    encode: (channel, message) => ({ channel: prefix + channel, payload: payloadOf('-', 0, message) }),
    async publish (channel, message) {
      const { encoded, settle } = track(channel, message)
      try {
        settle(await redis.publish(encoded.channel, encoded.payload))
        return true
      } catch {
        settle(0)
        return false
      }
    },
    async subscribe (channel, handler) {
      const name = prefix + channel
      const first = subscribers.listenerCount(name) === 0
      subscribers.on(name, handler)
      if (!first || subscriber.status !== 'ready') return
      try {
        await subscriber.subscribe(name)
      } catch (err) {
        // If the client is disconnected, the `ready` handler subscribes to all channels after the client reconnects.
        log.debug({ err, channel }, 'subscription delayed')
        if (subscriber.status as string !== 'ready') return
        isSubscribed = false
        // Redis will not echo this channel's messages that are in flight.
        inFlight.deliverAllHere(name)
        renewLater()
      }
    },
    async unsubscribe (channel, handler) {
      const name = prefix + channel
      subscribers.off(name, handler)
      if (subscribers.listenerCount(name) > 0) return
      inFlight.dropChannel(name)
      if (subscriber.status !== 'ready') return
      await subscriber.unsubscribe(name).catch(() => { /* If the connection is broken, its subscriptions have already ended. */ })
    },
    async check () {
      const token = String(inFlight.nextSequence())
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      checks.set(token, resolve)
      // Do not use publish() here: it delivers the message on this server even if Redis does not echo the message.
      redis.publish(checkChannel, payloadOf('-', 0, token)).catch((err: unknown) => reject(unavailable('Redis is unreachable', err)))
      await withTimeout(promise, checkTimeoutMs, () => { throw unavailable('Redis does not deliver messages') })
        .finally(() => checks.delete(token))
    },
    onHealed (fn) {
      healed.push(fn)
    },
    async close () {
      subscriber.disconnect()
    }
  }
}
