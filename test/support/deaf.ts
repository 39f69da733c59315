import { once } from 'node:events'
import { Redis } from 'ioredis'
import type { TestServer } from './build.ts'

/** For each Redis client, the duplicates of the client. A server subscribes with a duplicate of the server's client. */
const copies = new WeakMap<Redis, Redis[]>()
const { duplicate } = Redis.prototype
Redis.prototype.duplicate = function (...args) {
  const copy = duplicate.apply(this, args)
  copies.set(this, [...copies.get(this) ?? [], copy])
  return copy
}

/**
 * Closes the servers' subscriber connections, so that the servers miss all messages published from now on.
 *
 * @returns a function that reconnects the subscribers
 */
export function deafen (...servers: readonly TestServer[]): () => Promise<void> {
  const subscribers = servers.map(({ app: { redis } }) => {
    const subscriber = copies.get(redis)?.find(({ status }) => status === 'ready')
    if (!subscriber) throw new Error('A server has no subscriber connection')
    return subscriber
  })
  const heals = subscribers.map((subscriber) => {
    const { retryStrategy } = subscriber.options
    const ended = once(subscriber, 'end')
    subscriber.options.retryStrategy = () => null
    subscriber.stream.destroy()
    return async () => {
      await ended
      Object.assign(subscriber.options, { retryStrategy })
      await subscriber.connect()
    }
  })
  return async () => { await Promise.all(heals.map((heal) => heal())) }
}
