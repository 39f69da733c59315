import type { NodeLeases } from './leases.ts'

/** The lease of a single server, which never lapses. */
export function createMemoryLeases (nodeId: string): NodeLeases {
  return {
    heartbeat: async () => true,
    areAlive: async (nodeIds) => nodeIds.map((id) => id === nodeId),
    listDead: async () => [],
    remove: async () => {},
    msSinceLoss: async () => Infinity
  }
}
