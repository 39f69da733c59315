import { randomUUID } from 'node:crypto'
import { unavailable } from 'flylive-audio-server/feature'
import type { Logger, Redis } from 'flylive-audio-server/feature'

export interface SubscriptionOptions {
  /** Publishes; the subscription gets a connection of its own, made like this one. */
  redis: Redis
  channel: string
  log: Logger
  /** Gets what the backend publishes, in order. */
  receive: (text: string) => void
  /** Between two canaries, in milliseconds. */
  everyMs?: number
  /** How long a canary may be under way, in milliseconds. */
  patienceMs?: number
}

export interface Subscription {
  /** @throws UNAVAILABLE while what is published on the channel does not arrive */
  check (): void
  /** Waits until the channel is listened to, but not for ever: a Redis that is away comes back. */
  ready (): Promise<void>
  close (): void
}

/** How long a start waits for the subscription, in milliseconds. */
const startMs = 5000
/** By it servers tell canaries from events before they look into them. */
const canaryStart = '{"event":"msab:canary",'

/** An envelope like any other, but to nobody: should somebody else listen, it finds no one to give it to. */
const canaryText = (token: string) =>
  `${canaryStart}"user_id":0,"room_id":null,"payload":{},"timestamp":${JSON.stringify(new Date().toISOString())},"correlation_id":${JSON.stringify(token)}}`

/**
 * Listens to the backend's channel and makes sure of it: an own message, the
 * canary, is sent around again and again. Where none comes back although the
 * connection looks well, it is given up for a new one.
 */
export function createSubscription ({ redis, channel, log, receive, everyMs = 2500, patienceMs = 2000 }: SubscriptionOptions): Subscription {
  const name = randomUUID()
  const first = Promise.withResolvers<void>()
  let sequence = 0
  /** The canary that is under way. */
  let awaited: { text: string, timer: NodeJS.Timeout } | undefined
  let problem: string | undefined = 'the channel is not listened to yet'
  let wasWell = false
  let closed = false
  let subscriber = connect()

  function connect (): Redis {
    const connection = redis.duplicate({
      enableOfflineQueue: true,
      maxRetriesPerRequest: null,
      autoResubscribe: false,
      lazyConnect: true
    })
    connection.on('error', (err: Error) => log.debug({ err }, 'redis subscriber'))
    connection.on('message', (_channel: string, text: string) => { if (connection === subscriber) hear(text) })
    connection.on('ready', () => {
      connection.subscribe(channel).then(() => { if (connection === subscriber) sendCanary() },
        (err: unknown) => log.debug({ err }, 'redis subscriber'))
    })
    connection.connect().catch(() => { /* The error event has told; retrying goes on. */ })
    return connection
  }

  function hear (text: string): void {
    if (!text.startsWith(canaryStart)) return receive(text)
    if (text !== awaited?.text) return
    clearTimeout(awaited.timer)
    awaited = undefined
    if (problem !== undefined && wasWell) log.info('events of the backend arrive again')
    problem = undefined
    wasWell = true
    first.resolve()
  }

  function fail (why: string, err?: unknown): void {
    clearTimeout(awaited?.timer)
    awaited = undefined
    if (closed) return
    if (problem === undefined) log.warn({ err }, `events of the backend do not arrive: ${why}`)
    problem = why
  }

  function sendCanary (): void {
    if (closed) return
    clearTimeout(awaited?.timer)
    const text = canaryText(`${name} ${++sequence}`)
    const timer = setTimeout(() => {
      fail('messages do not come back from Redis')
      // Not while it is being connected anyway: that has its own patience.
      if (subscriber.status !== 'ready') return
      const deaf = subscriber
      subscriber = connect()
      deaf.disconnect()
    }, patienceMs)
    awaited = { text, timer }
    redis.publish(channel, text).catch((err: unknown) => { if (awaited?.text === text) fail('Redis cannot be reached', err) })
  }

  const beat = setInterval(() => { if (!awaited) sendCanary() }, everyMs)

  return {
    check () {
      if (problem !== undefined) throw unavailable(`Events of the backend do not arrive: ${problem}`)
    },
    async ready () {
      const timer = setTimeout(first.resolve, startMs)
      await first.promise
      clearTimeout(timer)
    },
    close () {
      closed = true
      clearInterval(beat)
      clearTimeout(awaited?.timer)
      subscriber.disconnect()
    }
  }
}
