/** The global function that returns the code of a feature that runs. */
export const codeSymbol = Symbol.for('flylive-audio-server.running-code')

/** What the watchdog's thread receives when it starts. */
export interface WatchdogData {
  /** When the main thread's event loop ran last, epoch milliseconds. Shared. */
  beat: BigInt64Array
  /** How long the main thread must be silent until its code is looked up. */
  blockMs: number
}
