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
  /** @returns one value per server: whether it holds a lease */
  areAlive (nodeIds: readonly string[]): Promise<boolean[]>
  /** @returns the servers with a lapsed lease that have not been removed yet */
  listDead (): Promise<string[]>
  remove (nodeId: string): Promise<void>
  /**
   * @returns milliseconds since this server found its lease missing in the store, which suggests that the store lost
   *   its data; Infinity if the lease was never missing
   */
  msSinceLoss (): Promise<number>
}

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
