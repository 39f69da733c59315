/** When the main thread last started new work, in epoch milliseconds. The watchdog thread reads this shared memory. */
export const heartbeat = new BigInt64Array(new SharedArrayBuffer(8))

/** Call this when the main thread starts new work. */
export function beat (now = Date.now()): void {
  Atomics.store(heartbeat, 0, BigInt(now))
}
