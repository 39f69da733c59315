import { sampleRate } from './opus.ts'

const bucketMs = 20
const buckets = 16
/**
 * Each new packet multiplies the weight of all earlier packets by this factor. The packets of the last 1.4 s therefore
 * have half of the total weight.
 */
const memory = 0.99
/** The fraction of packets that must arrive in time. */
const quantile = 0.97
/** How long the lowest measured delay is the reference for the delays of later packets, in milliseconds. */
const windowMs = 2500
/** If the delay changes by more than this many milliseconds, the sender is assumed to have restarted its timestamps. */
const maxDelayMs = 2000

/**
 * Estimates how long to hold a voice's packets so that nearly all of them arrive in time. The estimate is based on a
 * histogram of packet delays relative to the lowest recent delay.
 */
export class DelayEstimator {
  readonly #minMs: number
  readonly #maxMs: number
  readonly #histogram = new Float64Array(buckets)
  #reference: { transit: number, minimum: number, previousMinimum: number, since: number } | undefined
  #timestamp = 0
  #arrivedAt = 0

  constructor ({ minMs, maxMs }: { minMs: number, maxMs: number }) {
    this.#minMs = minMs
    this.#maxMs = maxMs
    this.#histogram[0] = 1
  }

  /**
   * @param now arrival time of the packet, in milliseconds
   * @param timestamp RTP timestamp of the packet, in samples, modulo 2³²
   */
  update (now: number, timestamp: number): void {
    const elapsed = (timestamp - this.#timestamp) | 0
    this.#timestamp = timestamp
    const reference = this.#reference
    const transit = reference ? reference.transit - elapsed * 1000 / sampleRate + now - this.#arrivedAt : 0
    this.#arrivedAt = now
    if (!reference || Math.abs(transit - Math.min(reference.minimum, reference.previousMinimum)) > maxDelayMs) {
      this.#reference = { transit: 0, minimum: 0, previousMinimum: 0, since: now }
      return
    }
    reference.transit = transit
    reference.minimum = Math.min(reference.minimum, transit)
    if (now - reference.since > windowMs) {
      reference.previousMinimum = reference.minimum
      reference.minimum = transit
      reference.since = now
    }
    const delay = transit - Math.min(reference.minimum, reference.previousMinimum)
    const bucket = Math.min(buckets - 1, Math.floor(delay / bucketMs))
    for (let i = 0; i < buckets; i++) (this.#histogram[i] as number) *= memory
    ;(this.#histogram[bucket] as number) += 1 - memory
  }

  /** Target hold time of packets, in milliseconds. */
  get targetMs (): number {
    let sum = 0
    let bucket = 0
    while (bucket < buckets - 1 && (sum += this.#histogram[bucket] as number) < quantile) bucket++
    // Add one bucket to get the upper bound of this bucket. Add a second one, because the mixer may read a packet
    // almost one packet duration after it arrives.
    return bucket === 0 ? this.#minMs : Math.min(this.#maxMs, Math.max(this.#minMs, (bucket + 2) * bucketMs))
  }
}
