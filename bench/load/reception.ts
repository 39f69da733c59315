import type { ReportBlock, RtpHeader } from './rtp.ts'

/** Packet counts. */
export interface Counts {
  /** Number of packets that the sender sent, calculated from the first and the highest received sequence number. */
  expected: number
  /** Number of packets received, without duplicates. */
  received: number
  /** Packets that arrived after their playout time. */
  late: number
}

/**
 * Delay of the simulated playout buffer, in milliseconds. On a good connection, the buffers of browsers have a delay of
 * 40 to 120 ms.
 */
export const playoutBufferMs = 100
/** How many of the last sequence numbers are stored to detect duplicate packets. Must be a power of two. */
const historySize = 512
/**
 * The lowest delay is measured anew in each period of this length, in milliseconds. The playout time therefore adapts
 * if the network path changes.
 */
const baseMs = 10_000
const samplesPerMs = 48

/**
 * Counts the packets of one RTP stream, without decoding them.
 *
 * A packet is late if its delay exceeds the lowest delay of the last 10 to 20 s by more than {@link playoutBufferMs}. A
 * player has to conceal lost and late packets.
 */
export class StreamReception {
  readonly ssrc: number
  readonly #seen = new Uint8Array(historySize)
  #first = 0
  #highest = -1
  #received = 0
  #late = 0
  #firstTimestamp = 0
  #lastAt = 0
  #longestGapMs = 0
  // The smallest transit time in the current and the previous period.
  #base = Infinity
  #previousBase = Infinity
  #baseSince = 0
  #reported = { expected: 0, received: 0 }

  constructor (ssrc: number) {
    this.ssrc = ssrc
  }

  /** @param now time of arrival in milliseconds, on any clock */
  add ({ sequenceNumber, timestamp }: Omit<RtpHeader, 'ssrc'>, now: number): void {
    if (this.#highest < 0) this.#start(sequenceNumber, timestamp, now)
    // The signed difference between two 16-bit sequence numbers: -32,768 to 32,767.
    const ahead = (sequenceNumber - this.#highest) << 16 >> 16
    const number = this.#highest + ahead
    if (number < this.#first || ahead <= -historySize) return
    for (let skipped = this.#highest + 1; skipped <= number; skipped++) this.#seen[skipped % historySize] = 0
    this.#highest = Math.max(this.#highest, number)
    if (this.#seen[number % historySize] === 1) return
    this.#seen[number % historySize] = 1
    this.#received++
    this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#lastAt)
    this.#lastAt = now
    if (this.#isLate(timestamp, now)) this.#late++
  }

  get counts (): Counts {
    return { expected: this.#highest < 0 ? 0 : this.#highest - this.#first + 1, received: this.#received, late: this.#late }
  }

  /**
   * The longest time without a packet, in milliseconds. The time from the last packet until `now` also counts, so that
   * a stream that has ended shows a gap.
   */
  longestGapMs (now: number): number {
    return this.#highest < 0 ? 0 : Math.max(this.#longestGapMs, now - this.#lastAt)
  }

  /** @returns the values for an RTCP receiver report; `fractionLost` covers the time since the previous call */
  report (): ReportBlock {
    const { expected, received } = this.counts
    const interval = { expected: expected - this.#reported.expected, received: received - this.#reported.received }
    this.#reported = { expected, received }
    return {
      ssrc: this.ssrc,
      fractionLost: interval.expected > 0 ? Math.max(0, interval.expected - interval.received) / interval.expected : 0,
      lost: expected - received,
      highestSequenceNumber: this.#highest
    }
  }

  #start (sequenceNumber: number, timestamp: number, now: number): void {
    this.#first = sequenceNumber
    this.#highest = sequenceNumber
    this.#firstTimestamp = timestamp
    this.#lastAt = now
    this.#baseSince = now
  }

  #isLate (timestamp: number, now: number): boolean {
    // A signed 32-bit difference between two RTP timestamps is sufficient for 12 hours.
    const transit = now - ((timestamp - this.#firstTimestamp) | 0) / samplesPerMs
    if (now - this.#baseSince > baseMs) {
      this.#previousBase = this.#base
      this.#base = Infinity
      this.#baseSince = now
    }
    this.#base = Math.min(this.#base, transit)
    return transit - Math.min(this.#base, this.#previousBase) > playoutBufferMs
  }
}
