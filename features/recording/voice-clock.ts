import { sampleRate } from 'flylive-audio-server/fmp4'

/**
 * If a packet's delay differs from the reference by more than this number of samples, the sender has restarted its
 * timestamps.
 */
const maxJump = 2 * sampleRate
/** Length of a window in which the lowest packet delay is determined, in samples. */
const windowSamples = 5 * sampleRate
/**
 * The clock corrects deviations that are larger than these values, in samples: 15 ms while the user is speaking, and
 * 2.5 ms in pauses.
 */
const tolerance = { speaking: 720, pausing: 120 }

/**
 * Maps one sender's RTP timestamps to recording time. The reference is the packet with the lowest delay in the current
 * and the previous window (5 to 10 seconds), so jitter does not shift packets. The mapping compensates for clock drift
 * between the sender and the server.
 */
export class VoiceClock {
  #rtp = 0
  #hasRtp = false
  /** The lowest delays of the current and the previous window, and the start of the current window. */
  #minimum = Infinity
  #previousMinimum = Infinity
  #since = 0
  #anchor: number | undefined
  #end = 0

  /** @returns the timestamp without the wraparound at 32 bits */
  extend (timestamp: number): number {
    this.#rtp = this.#hasRtp ? this.#rtp + ((timestamp - this.#rtp) | 0) : timestamp
    this.#hasRtp = true
    return this.#rtp
  }

  /**
   * Records when a packet arrived. Must be called for all packets, in order of arrival.
   *
   * @param arrival the time of arrival, in samples since the start of the recording
   * @param rtp see {@link extend}
   * @returns true if the sender has restarted its timestamps
   */
  observe (arrival: number, rtp: number): boolean {
    const delay = arrival - rtp
    const lowest = Math.min(this.#minimum, this.#previousMinimum)
    if (lowest !== Infinity && Math.abs(delay - lowest) > maxJump) {
      this.#minimum = delay
      this.#previousMinimum = Infinity
      this.#since = arrival
      this.#anchor = undefined
      return true
    }
    if (arrival - this.#since > windowSamples) {
      this.#previousMinimum = this.#minimum
      this.#minimum = delay
      this.#since = arrival
    } else this.#minimum = Math.min(this.#minimum, delay)
    return false
  }

  /**
   * Determines the position of a packet in the recording. Must be called in the order in which the packets were sent,
   * some time after they have arrived.
   *
   * @returns the start of the packet, in samples since the start of the recording
   */
  place (rtp: number, duration: number): number {
    const lowest = Math.min(this.#minimum, this.#previousMinimum)
    const allowed = rtp - this.#end >= 960 ? tolerance.pausing : tolerance.speaking
    if (this.#anchor === undefined || Math.abs(lowest - this.#anchor) > allowed) this.#anchor = lowest
    this.#end = rtp + duration
    return rtp + this.#anchor
  }
}
