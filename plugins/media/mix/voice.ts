import { JitterBuffer } from './jitter-buffer.ts'
import type { Playable, VoicePacket } from './jitter-buffer.ts'
import type { MixVoice } from './messages.ts'
import { frameSamples, OpusError } from './opus.ts'
import type { Channels, Opus, OpusDecoder } from './opus.ts'
import type { IncomingRtp } from './rtp.ts'
import { silence, smoothed } from './selection.ts'
import type { MixCounts } from './stats.ts'

/** If the level of a voice is below this value (in dBov), skipping a packet is inaudible. */
const quiet = -50
/**
 * Capacity of the sample buffer, in samples per channel. The buffer holds the rest of one packet and a complete second
 * packet.
 */
const capacity = 2 * 5760

/** One of a room's voices: its jitter buffer, decoder and level. */
export class Voice {
  info: MixVoice
  /** Smoothed level in dBov, see {@link smoothed}. */
  loudness = silence
  readonly channels: Channels
  readonly #buffer = new JitterBuffer()
  readonly #counts: MixCounts
  readonly #opus: Opus
  #decoder: OpusDecoder | undefined
  /** Decoded samples that have not been played, interleaved. */
  readonly #pcm: Int16Array
  #from = 0
  #to = 0
  /**
   * While the voice is not decoded: its current packet, and the number of samples per channel that remain in the
   * packet.
   */
  #playing: VoicePacket | undefined
  #remaining = 0
  #hasLevels = true
  #lastLevel = silence

  constructor (info: MixVoice, opus: Opus, counts: MixCounts) {
    this.info = info
    this.channels = info.source === 'music' ? 2 : 1
    this.#opus = opus
    this.#counts = counts
    this.#pcm = new Int16Array(capacity * this.channels)
  }

  /** True if the packets do not contain the voice's level, so that the voice must be decoded to measure the level. */
  get needsDecoding (): boolean {
    return !this.#hasLevels
  }

  receive ({ sequenceNumber, timestamp, payload, level }: IncomingRtp, now: number): void {
    const result = this.#buffer.insert(sequenceNumber, timestamp, payload, now)
    if (result === 'late' || result === 'invalid') this.#counts[result]++
    if (result === 'invalid' || result === 'duplicate') return
    this.#hasLevels = level !== undefined
    if (level !== undefined) this.#setLevel(level)
  }

  /** Drops all packets that have not been played, because the voice is paused. */
  flush (): void {
    this.#buffer.reset()
    this.#from = this.#to = this.#remaining = 0
    this.loudness = silence
  }

  /**
   * Plays 20 ms of the voice.
   *
   * @returns interleaved samples, valid until the next call; undefined if the voice is silent
   */
  play (now: number): Int16Array | undefined {
    if (this.#remaining > 0 || this.#playing) this.#startDecoding()
    const length = frameSamples * this.channels
    while (this.#to - this.#from < length) {
      const playable = this.#take(now)
      if (!playable) break
      this.#render(playable, now)
    }
    if (this.#to === this.#from) return
    const end = Math.min(this.#from + length, this.#to)
    // If the voice ends within the 20 ms, fill the rest with silence.
    if (end < this.#from + length) this.#pcm.fill(0, end, this.#from + length)
    const frame = this.#pcm.subarray(this.#from, this.#from + length)
    this.#from = end
    if (!this.#hasLevels) this.#setLevel(levelOf(frame))
    return frame
  }

  /** Advances the voice by 20 ms without decoding it. */
  skip (now: number): void {
    if (this.#to > this.#from) {
      this.#remaining = (this.#to - this.#from) / this.channels
      this.#from = this.#to = 0
    }
    while (this.#remaining < frameSamples) {
      const playable = this.#take(now)
      if (!playable) {
        this.#remaining = 0
        return
      }
      this.#remaining += playable.kind === 'packet' ? playable.packet.samples : playable.samples
      if (playable.kind === 'packet') this.#playing = playable.packet
    }
    this.#remaining -= frameSamples
  }

  free (): void {
    this.#decoder?.free()
    this.#decoder = undefined
  }

  #take (now: number): Playable | undefined {
    const playable = this.#buffer.take(now, this.#lastLevel < quiet)
    if (!playable && this.#buffer.isIdle) this.loudness = silence
    return playable
  }

  #setLevel (level: number): void {
    this.#lastLevel = level
    this.loudness = smoothed(this.loudness, level)
  }

  /**
   * Starts to decode a voice that was not decoded so far. Decodes the current packet first, so that the voice starts
   * without a click.
   */
  #startDecoding (): void {
    const samples = this.#remaining
    const packet = this.#playing
    this.#playing = undefined
    this.#remaining = this.#from = this.#to = 0
    if (!packet) return
    this.#decoder?.reset()
    const decoded = this.#decode((decoder) => decoder.decode(packet.payload), packet.samples)
    this.#append(decoded.subarray(Math.max(0, decoded.length - samples * this.channels)))
  }

  #render (playable: Playable, now: number): void {
    if (playable.kind === 'packet') {
      const { packet } = playable
      const decoded = this.#decode((decoder) => decoder.decode(packet.payload), packet.samples)
      if (!playable.skip) return this.#append(decoded)
      const skipped = decoded.slice()
      const successor = this.#take(now)
      if (successor) this.#render(successor, now)
      return this.#fadeFrom(skipped)
    }
    this.#counts[playable.kind === 'lost' && playable.next ? 'recovered' : 'concealed']++
    const next = playable.kind === 'lost' ? playable.next : undefined
    const { samples } = playable
    this.#append(this.#decode((decoder) => next ? decoder.recover(next.payload, samples) : decoder.conceal(samples), samples))
  }

  #decode (decode: (decoder: OpusDecoder) => Int16Array, samples: number): Int16Array {
    this.#decoder ??= this.#opus.createDecoder(this.channels)
    try {
      return decode(this.#decoder)
    } catch (error) {
      if (!(error instanceof OpusError)) throw error
      this.#counts.invalid++
      return this.#decoder.conceal(samples)
    }
  }

  #append (samples: Int16Array): void {
    if (this.#from > 0) {
      this.#pcm.copyWithin(0, this.#from, this.#to)
      this.#to -= this.#from
      this.#from = 0
    }
    this.#pcm.set(samples, this.#to)
    this.#to += samples.length
  }

  /** Cross-fades from a packet that is skipped to the samples of the next packet. */
  #fadeFrom (skipped: Int16Array): void {
    const length = Math.min(skipped.length, this.#to - this.#from)
    for (let i = 0; i < length; i++) {
      const weight = i / length
      const at = this.#from + i
      this.#pcm[at] = (skipped[i] as number) * (1 - weight) + (this.#pcm[at] as number) * weight
    }
  }
}

/** @returns the level of the given samples, in dBov */
function levelOf (samples: Int16Array): number {
  let sum = 0
  for (let i = 0; i < samples.length; i++) sum += (samples[i] as number) ** 2
  return Math.max(silence, 10 * Math.log10(sum / samples.length / 32_768 ** 2))
}
