/** Key of a property of `globalThis`: the function that returns which feature's code is running. */
export const codeSymbol = Symbol.for('flylive-audio-server.running-code')

/** The data that the watchdog thread receives when it starts. */
export interface WatchdogData {
  /** See heartbeat.ts. */
  heartbeat: BigInt64Array
  /** How long the main thread must be blocked before the watchdog reads the stack trace, in milliseconds. */
  blockMs: number
}
