import type { Bus, BusHandler } from './bus.ts'

/** Subscribers of this process by channel. */
export interface Subscribers {
  /** @returns whether it is the channel's first */
  add (channel: string, handler: BusHandler): boolean
  /** @returns whether it was the channel's last */
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
    async publish (channel, message, send) {
      const sent = send?.(undefined)
      subscribers.deliver(channel, message)
      await sent
      return true
    },
    envelope: () => undefined,
    async check () {},
    onHealed () {},
    async close () {}
  }
}
