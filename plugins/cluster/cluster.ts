import type { RegistrationTable } from '../registrations.ts'
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
  registrations: RegistrationTable
}

declare module '../registrations.ts' {
  interface RegistrationKinds {
    /** Handlers of messages from other servers, by kind. */
    clusterMessage: (data: never) => void
  }
}

const channel = 'control'

/** Resolves when the server is subscribed to cluster messages and requests. */
export async function createCluster ({ bus, leases, locks, nodeId, registrations }: ClusterParts): Promise<Cluster> {
  const handlers = registrations.inService('clusterMessage')
  await bus.subscribe(channel, (message) => {
    const { kind, data } = JSON.parse(message) as { kind: string, data: never }
    for (const { value } of handlers.get(kind) ?? []) value(data)
  })
  return {
    on: (kind, handler) => registrations.kernel.add('clusterMessage', kind, handler),
    send: (kind, data) => bus.publish(channel, JSON.stringify({ kind, data })),
    tryLock: locks.tryLock,
    ...await createRequests(bus, leases, registrations, nodeId)
  }
}
