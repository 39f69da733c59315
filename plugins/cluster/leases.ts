/**
 * Tracks which servers are alive. Each server holds a lease and renews it with heartbeats. A lease lasts `leaseMs`
 * (plugins/timings.ts). All methods throw UNAVAILABLE while the store cannot be reached.
 */
export interface NodeLeases {
  /**
   * Renews this server's lease.
   *
   * @returns false if the lease had lapsed since the last call, so other servers may have treated this server as dead
   */
  heartbeat (): Promise<boolean>
  /** @returns for each of the given servers, in order: whether the server holds a lease */
  areAlive (nodeIds: readonly string[]): Promise<boolean[]>
  /** @returns the other servers whose lease has lapsed. A server stays in this list until it is removed */
  listDead (): Promise<string[]>
  remove (nodeId: string): Promise<void>
  /**
   * @returns time since this server last found its lease missing in the store, in milliseconds; Infinity if the lease
   *   was never missing. A missing lease suggests that the store has lost its data
   */
  msSinceLoss (): Promise<number>
}

/** Leases for a single server. Its lease never lapses. */
export function createMemoryLeases (nodeId: string): NodeLeases {
  return {
    heartbeat: async () => true,
    areAlive: async (nodeIds) => nodeIds.map((id) => id === nodeId),
    listDead: async () => [],
    remove: async () => {},
    msSinceLoss: async () => Infinity
  }
}
