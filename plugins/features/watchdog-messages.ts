/** Key of the global function that returns the running feature code. */
export const codeSymbol = Symbol.for('flylive-audio-server.running-code')

/** The data that the watchdog's thread receives when it starts. */
export interface WatchdogData {
  /** When the main thread's event loop last ran, in epoch milliseconds. Both threads share this memory. */
  beat: BigInt64Array
  /** How long the main thread must be blocked before the watchdog reads the stack trace, in milliseconds. */
  blockMs: number
}
