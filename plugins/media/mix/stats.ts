/** A mixer thread's counts since its last report. */
export interface MixCounts {
  /** Packets that arrived too late to be played. */
  late: number
  /** Lost packets that were restored from the next packet (forward error correction). */
  recovered: number
  /** Packets that were lost or late and were concealed. */
  concealed: number
  /** Packets that did not contain valid Opus. */
  invalid: number
}

export const noCounts = (): MixCounts => ({ late: 0, recovered: 0, concealed: 0, invalid: 0 })

/** A mixer thread's report, sent once per second. */
export interface MixStats extends MixCounts {
  rooms: number
  /** Voices in all mixes. */
  voices: number
  /** CPU time of the thread, in seconds. */
  cpuSeconds: number
  /** How late each tick was, in seconds. */
  lateness: number[]
}

/** @returns the time in milliseconds, from a monotonic clock that all threads share */
export const highResolutionMs = () => Number(process.hrtime.bigint()) / 1e6
