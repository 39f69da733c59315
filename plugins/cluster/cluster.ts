import type { Bus } from './bus.ts'
import type { Locks } from './locks.ts'
import type { Cluster } from './messages.ts'

const channel = 'control'

/** @returns once messages arrive */
export async function createCluster (bus: Bus, locks: Locks): Promise<Cluster> {
  const handlers = new Map<string, Set<(data: never) => void>>()
  await bus.subscribe(channel, (message) => {
    const { kind, data } = JSON.parse(message) as { kind: string, data: never }
    for (const handler of handlers.get(kind) ?? []) handler(data)
  })
  return {
    on (kind, handler) {
      const mine = handlers.get(kind) ?? new Set()
      handlers.set(kind, mine.add(handler))
      return () => { mine.delete(handler) }
    },
    send: (kind, data) => bus.publish(channel, JSON.stringify({ kind, data })),
    tryLock: locks.tryLock
  }
}
