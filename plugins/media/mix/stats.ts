/** Counts of packets that a mixer thread has processed since its last report. */
export interface MixCounts {
  /** Packets that arrived too late to be played. */
  late: number
  /** Lost packets that were restored from the next packet (forward error correction). */
  recovered: number
  /** Lost or late packets that were replaced with generated audio. */
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

/** @returns the time of a monotonic clock that all threads share, in milliseconds */
export const highResolutionMs = () => Number(process.hrtime.bigint()) / 1e6
