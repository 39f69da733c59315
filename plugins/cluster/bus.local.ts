import type { Bus, BusHandler } from './bus.ts'

/** Creates a message bus for a single server. The bus calls the handlers directly. */
export function createLocalBus (): Bus {
  const channels = new Map<string, Set<BusHandler>>()
  return {
    async subscribe (channel, handler) {
      channels.set(channel, (channels.get(channel) ?? new Set()).add(handler))
    },
    async unsubscribe (channel, handler) {
      const handlers = channels.get(channel)
      handlers?.delete(handler)
      if (handlers?.size === 0) channels.delete(channel)
    },
    async publish (channel, message) {
      for (const handler of channels.get(channel) ?? []) handler(message)
      return true
    },
    encode: () => undefined,
    track: () => undefined,
    async check () {},
    onHealed () {},
    async close () {}
  }
}
