/** Blocks this process for `ms` milliseconds. */
export function blockFor (ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
