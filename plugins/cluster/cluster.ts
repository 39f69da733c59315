import type { Bus } from './bus.ts'
import type { NodeLeases } from './leases.ts'
import type { Locks } from './locks.ts'
import type { Cluster } from './messages.ts'
import { createRequests } from './requests.ts'

export interface ClusterParts {
  bus: Bus
  leases: Pick<NodeLeases, 'areAlive'>
  locks: Locks
  nodeId: string
}

const channel = 'control'

/** Resolves when the server is subscribed to cluster messages and requests. */
export async function createCluster ({ bus, leases, locks, nodeId }: ClusterParts): Promise<Cluster> {
  const handlers = new Map<string, Set<(data: never) => void>>()
  await bus.subscribe(channel, (message) => {
    const { kind, data } = JSON.parse(message) as { kind: string, data: never }
    for (const handler of handlers.get(kind) ?? []) handler(data)
  })
  return {
    on (kind, handler) {
      const ofKind = handlers.get(kind) ?? new Set()
      handlers.set(kind, ofKind.add(handler))
      return () => { ofKind.delete(handler) }
    },
    send: (kind, data) => bus.publish(channel, JSON.stringify({ kind, data })),
    tryLock: locks.tryLock,
    ...await createRequests(bus, leases, nodeId)
  }
}
