import type { Bus, BusHandler } from './bus.ts'

/** Subscribers in this process, by channel. */
export interface Subscribers {
  /** @returns whether it is the first of the channel */
  add (channel: string, handler: BusHandler): boolean
  /** @returns whether it was the last of the channel */
  delete (channel: string, handler: BusHandler): boolean
  has (channel: string): boolean
  deliver (channel: string, message: string): void
  channels (): string[]
}

export function createSubscribers (): Subscribers {
  const handlers = new Map<string, Set<BusHandler>>()
  return {
    add (channel, handler) {
      const set = handlers.get(channel)
      if (set) set.add(handler)
      else handlers.set(channel, new Set([handler]))
      return set === undefined
    },
    delete (channel, handler) {
      const set = handlers.get(channel)
      if (!set?.delete(handler) || set.size > 0) return false
      handlers.delete(channel)
      return true
    },
    has: (channel) => handlers.has(channel),
    deliver (channel, message) {
      for (const handler of handlers.get(channel) ?? []) handler(message)
    },
    channels: () => [...handlers.keys()]
  }
}

/** The bus of a single server: a function call. */
export function createLocalBus (): Bus {
  const subscribers = createSubscribers()
  return {
    async subscribe (channel, handler) {
      subscribers.add(channel, handler)
    },
    async unsubscribe (channel, handler) {
      subscribers.delete(channel, handler)
    },
    async publish (channel, message) {
      subscribers.deliver(channel, message)
      return true
    },
    encode: () => undefined,
    track: () => undefined,
    async check () {},
    onHealed () {},
    async close () {}
  }
}
