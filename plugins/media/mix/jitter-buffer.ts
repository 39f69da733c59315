import { DelayEstimator } from './delay-estimator.ts'
import { frameSamples, sampleRate, samplesOf } from './opus.ts'

export interface VoicePacket {
  payload: Uint8Array
  /** Samples per channel, 120 to 5760. */
  samples: number
}

/**
 * The next audio to play for a voice:
 * - `packet`: this packet. If `skip` is true, the mixer plays the next packet in place of this one, which shortens the
 *   delay
 * - `lost`: the packet did not arrive in time; `next` is the next packet, if it has arrived
 * - `wait`: the packet has not arrived yet. The mixer must fill the gap, which lengthens the delay
 * - undefined: nothing, because the voice is silent or the buffer is still filling
 */
export type Playable =
  { kind: 'packet', packet: VoicePacket, skip: boolean } |
  { kind: 'lost', samples: number, next: VoicePacket | undefined } |
  { kind: 'wait', samples: number }

export interface JitterBufferOptions {
  /** Minimum and maximum hold time of packets, in milliseconds. */
  minMs: number
  maxMs: number
}

/**
 * The buffer holds two packets of 20 ms, or up to six if packets arrive irregularly. A longer buffer does not reduce
 * the number of gaps, even with 200 ms of jitter.
 */
const defaults: JitterBufferOptions = { minMs: 40, maxMs: 120 }

/** If a sequence number differs from the previous sequence number by more than this, a new stream starts. */
const maxGap = 500
/**
 * If the hold time exceeds the target by more than this many milliseconds, all excess packets are dropped at once
 * instead of being skipped one at a time.
 */
const overflowMs = 200
/**
 * How long to wait for a packet, in milliseconds. After that, a missing packet counts as lost, and a voice without
 * further packets counts as silent.
 */
const maxWaitMs = 100
/**
 * Number of consecutive packets that must be held longer than necessary before a packet is skipped. `quiet` applies if
 * skipping is inaudible, `loud` otherwise.
 */
const packetsBeforeSkip = { quiet: 10, loud: 50 }
/** After this many consecutive late packets, the sender is assumed to have restarted with lower sequence numbers. */
const maxLate = 10
/** A packet of at most this many bytes is the last one before a pause (discontinuous transmission). */
const dtxBytes = 2

/** Orders the packets of one voice and holds them until they can be played without gaps. */
export class JitterBuffer {
  readonly #options: JitterBufferOptions
  readonly #delay: DelayEstimator
  readonly #packets = new Map<number, VoicePacket>()
  #state: 'idle' | 'filling' | 'playing' = 'idle'
  #fillingSince = 0
  /** The extended sequence numbers of the next packet to play and of the latest received packet. */
  #next = 0
  #latest: number | undefined
  /** All packets before this extended sequence number have been played or dropped. */
  #played = -Infinity
  #samples = frameSamples
  #waitedMs = 0
  /** The shortest hold time of the last `packets` packets. */
  #least = { heldMs: Infinity, packets: 0 }
  #isPause = false
  #lateInRow = 0

  constructor (options: Partial<JitterBufferOptions> = {}) {
    this.#options = { ...defaults, ...options }
    this.#delay = new DelayEstimator(this.#options)
  }

  /** True if the buffer is empty and the voice counts as silent. */
  get isIdle (): boolean {
    return this.#state === 'idle'
  }

  /** Current target hold time of packets, in milliseconds. */
  get targetMs (): number {
    return this.#delay.targetMs
  }

  /**
   * @param now arrival time in milliseconds
   * @returns `late` if the packet arrived too late to be played, `held` if it was added to the buffer
   */
  insert (sequenceNumber: number, timestamp: number, payload: Uint8Array, now: number): 'held' | 'late' | 'duplicate' | 'invalid' {
    const samples = samplesOf(payload)
    if (samples === 0) return 'invalid'
    const gap = this.#latest === undefined ? 0 : ((sequenceNumber - this.#latest) << 16) >> 16
    if (Math.abs(gap) > maxGap || this.#lateInRow > maxLate) this.reset()
    const sequence = this.#latest === undefined ? sequenceNumber : this.#latest + gap
    this.#delay.update(now, timestamp)
    if (sequence < this.#played) {
      this.#lateInRow++
      return 'late'
    }
    this.#lateInRow = 0
    if (this.#packets.has(sequence)) return 'duplicate'
    this.#packets.set(sequence, { payload, samples })
    this.#samples = samples
    this.#latest = Math.max(this.#latest ?? sequence, sequence)
    if (this.#state === 'idle') {
      this.#state = 'filling'
      this.#fillingSince = now
      this.#next = sequence
    } else if (sequence < this.#next) this.#next = sequence
    return 'held'
  }

  /**
   * @param now the current time, in milliseconds
   * @param isQuiet whether skipping a packet would be inaudible
   */
  take (now: number, isQuiet: boolean): Playable | undefined {
    if (this.#state === 'idle' || this.#latest === undefined) return
    const { targetMs } = this.#delay
    if (this.#state === 'filling') {
      if (this.#heldMs < targetMs && now - this.#fillingSince < targetMs) return
      this.#state = 'playing'
    }
    if (this.#heldMs > targetMs + overflowMs) this.#dropUntil(targetMs)
    const packet = this.#packets.get(this.#next)
    if (packet) {
      const skip = this.#isTooLong(targetMs, isQuiet) && this.#packets.has(this.#next + 1)
      this.#advance()
      this.#isPause = packet.payload.length <= dtxBytes
      this.#waitedMs = 0
      return { kind: 'packet', packet, skip }
    }
    if (this.#latest < this.#next) return this.#waitedMs < maxWaitMs && !this.#isPause ? this.#wait() : this.#becomeIdle()
    if (this.#heldMs < targetMs && this.#waitedMs < maxWaitMs) return this.#wait()
    this.#advance()
    // Drop this packet: while it was missing, the mixer filled the packet's duration with generated audio.
    if (this.#waitedMs >= this.#packetMs && this.#heldMs >= targetMs) {
      this.#waitedMs -= this.#packetMs
      return this.take(now, isQuiet)
    }
    return { kind: 'lost', samples: this.#samples, next: this.#packets.get(this.#next) }
  }

  /** Drops all packets, because the voice is paused. */
  reset (): void {
    this.#packets.clear()
    this.#state = 'idle'
    this.#latest = undefined
    this.#played = -Infinity
    this.#waitedMs = 0
    this.#lateInRow = 0
    this.#isPause = false
  }

  get #packetMs (): number {
    return this.#samples * 1000 / sampleRate
  }

  get #heldMs (): number {
    return ((this.#latest ?? 0) - this.#next + 1) * this.#packetMs
  }

  #advance (): void {
    this.#packets.delete(this.#next++)
    this.#played = this.#next
  }

  #wait (): Playable {
    this.#waitedMs += this.#packetMs
    return { kind: 'wait', samples: this.#samples }
  }

  #becomeIdle (): undefined {
    this.#state = 'idle'
  }

  /** True if all recent packets were held longer than the target, by at least the duration of one packet. */
  #isTooLong (targetMs: number, isQuiet: boolean): boolean {
    const least = this.#least
    least.heldMs = Math.min(least.heldMs, this.#heldMs)
    least.packets++
    if (least.packets < (isQuiet ? packetsBeforeSkip.quiet : packetsBeforeSkip.loud)) return false
    const isTooLong = least.heldMs >= targetMs + this.#packetMs
    if (isTooLong || least.packets >= packetsBeforeSkip.loud) this.#least = { heldMs: Infinity, packets: 0 }
    return isTooLong
  }

  #dropUntil (targetMs: number): void {
    while (this.#heldMs > targetMs) this.#advance()
    while (this.#next < (this.#latest ?? 0) && !this.#packets.has(this.#next)) this.#advance()
  }
}
