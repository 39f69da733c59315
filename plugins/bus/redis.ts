import type { Redis } from 'ioredis'
import type { FastifyBaseLogger } from 'fastify'
import { unavailable } from '../errors/codes.ts'
import type { Bus } from './bus.ts'
import { createSubscribers } from './local.ts'

// Pub/sub does not know databases, so the channels carry the number themselves.
const channelPrefix = (db: number) => `msab:${db}:`

/** How long a message may be under way before the bus counts as deaf, in milliseconds. */
const canaryMs = 2000

// Published messages whose own copy has not come back yet are remembered, so
// that one whose fate is unknown when the connection breaks is delivered here
// exactly once. More than this many under way can only mean that nothing comes back.
const maxUnderWay = 10_000

/**
 * The bus of several servers: Redis pub/sub. A message is delivered to this
 * server's subscribers when Redis sends it back, so that Redis decides one
 * order for all servers.
 *
 * @returns once it hears; the Redis must be reachable
 * @param redis commands; fails at once while not connected
 * @param db database number, to keep deployments on one Redis apart
 * @param nodeId tells this server's messages from others'
 */
export async function createRedisBus (redis: Redis, db: number, nodeId: string, log: FastifyBaseLogger): Promise<Bus> {
  const prefix = channelPrefix(db)
  const subscribers = createSubscribers()
  const healed: (() => void)[] = []
  const underWay = new Map<number, { channel: string, message: string }>()
  const canaries = new Map<string, () => void>()
  const canaryChannel = `canary:${nodeId}`
  let sequence = 0
  const heard = Promise.withResolvers<void>()
  let wasReady = false

  const subscriber = redis.duplicate({
    enableOfflineQueue: true,
    maxRetriesPerRequest: null,
    autoResubscribe: false,
    lazyConnect: true
  })
  subscriber.on('error', (err: Error) => log.debug({ err }, 'redis subscriber'))
  subscriber.on('message', (name: string, text: string) => {
    const channel = name.slice(prefix.length)
    // "<node> <sequence> <message>"
    const first = text.indexOf(' ')
    const second = text.indexOf(' ', first + 1)
    if (text.slice(0, first) === nodeId && !underWay.delete(Number(text.slice(first + 1, second)))) return
    subscribers.deliver(channel, text.slice(second + 1))
  })
  subscriber.on('ready', () => {
    const channels = [...subscribers.channels(), canaryChannel].map((channel) => prefix + channel)
    subscriber.subscribe(...channels).then(() => {
      if (wasReady) healed.forEach((fn) => fn())
      wasReady = true
      heard.resolve()
    }, (err: unknown) => log.warn({ err }, 'redis subscriptions could not be renewed'))
  })
  subscriber.on('close', () => {
    // What was under way will not come back on this connection.
    for (const number of [...underWay.keys()]) deliverHere(number)
  })
  subscribers.add(canaryChannel, (message) => canaries.get(message)?.())
  subscriber.connect().catch(() => { /* The error event has told; retrying goes on. */ })

  /** Delivers a message whose own copy is not going to come; a late copy is ignored. */
  function deliverHere (number: number) {
    const message = underWay.get(number)
    if (!message) return
    underWay.delete(number)
    subscribers.deliver(message.channel, message.message)
  }

  await heard.promise
  return {
    async subscribe (channel, handler) {
      if (!subscribers.add(channel, handler) || subscriber.status !== 'ready') return
      try {
        await subscriber.subscribe(prefix + channel)
      } catch (err) {
        // Not connected now: all channels are subscribed to again once it is.
        log.debug({ err, channel }, 'subscribing is put off')
      }
    },
    async unsubscribe (channel, handler) {
      if (!subscribers.delete(channel, handler)) return
      for (const [number, sent] of underWay) if (sent.channel === channel) underWay.delete(number)
      if (subscriber.status !== 'ready') return
      await subscriber.unsubscribe(prefix + channel).catch(() => { /* A broken connection has no subscriptions. */ })
    },
    async publish (channel, message, send) {
      const number = ++sequence
      // Without subscribers here nothing comes back, and nothing needs to.
      if (subscribers.has(channel)) underWay.set(number, { channel, message })
      const deaf = subscriber.status !== 'ready' || underWay.size > maxUnderWay
      try {
        const envelope = { channel: prefix + channel, text: `${nodeId} ${number} ${message}` }
        const receivers = await (send ? send(envelope) : redis.publish(envelope.channel, envelope.text))
        // Nobody, or not this server, gets it back: then it is done here.
        if (deaf || receivers === 0) deliverHere(number)
        return true
      } catch {
        deliverHere(number)
        return false
      }
    },
    // By nobody, and so taken by everybody who hears it.
    envelope: (channel, message) => ({ channel: prefix + channel, text: `- 0 ${message}` }),
    async check () {
      const token = String(++sequence)
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      canaries.set(token, resolve)
      const timeout = setTimeout(() => reject(unavailable('Messages do not come back from Redis')), canaryMs)
      try {
        // Not by publish(), which would deliver it here if Redis did not.
        redis.publish(prefix + canaryChannel, `- 0 ${token}`).catch((err: unknown) => reject(unavailable('Redis cannot be reached', err)))
        await promise
      } finally {
        clearTimeout(timeout)
        canaries.delete(token)
      }
    },
    onHealed (fn) {
      healed.push(fn)
    },
    async close () {
      subscriber.disconnect()
    }
  }
}
