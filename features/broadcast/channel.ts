import { initSection } from 'flylive-audio-server/fmp4'
import { AacEncoder } from './aac.ts'
import { PartCutter } from './part-cutter.ts'
import type { Codec, Part } from './part-cutter.ts'
import { aacFrameSamples, isSamePart, nextPartStart, opusFrameSamples, positionAt } from './timeline.ts'

/** A frame of a room's mix. Its timestamp is the number of samples (at 48 kHz) since the mix was opened. */
export type MixInput =
  { kind: 'pcm', timestamp: number, channels: 1 | 2, samples: Int16Array } |
  { kind: 'packet', timestamp: number, payload: Uint8Array }

export interface ChannelOutput {
  init (codec: Codec, data: Uint8Array): void
  part (part: Part): void
  /** The channel has failed. The caller must open a new channel. */
  failed (error: unknown): void
}

/** Gaps of up to this many samples are filled with silence. A longer gap starts a new timeline. */
const maxGap = 5 * 48_000
/** 20 ms of silence. */
const silentPacket = Uint8Array.of(0xf8, 0xff, 0xfe)

/** Packages the mix of one room: encodes the PCM samples as AAC, and keeps the Opus packets as they are. */
export class Channel {
  readonly #output: ChannelOutput
  #aac: { encoder: AacEncoder, next: number } | undefined
  #opus: { cutter: PartCutter, next: number } | undefined
  /** The Unix time of the mix's timestamp 0, as a number of samples. */
  readonly #base: number
  #closed = false

  /** @param startTime the Unix time of the mix's timestamp 0, in milliseconds */
  constructor (startTime: number, output: ChannelOutput) {
    this.#output = output
    // Round the start time, so that each Opus packet starts at a multiple of its duration.
    this.#base = Math.round(startTime * 48 / opusFrameSamples) * opusFrameSamples
    output.init('opus', initSection({ codec: 'opus' }, 'segments'))
  }

  add (input: MixInput): void {
    if (this.#closed) return
    const at = this.#base + input.timestamp
    if (input.kind === 'packet') this.#addPacket(at, input.payload)
    else this.#addPcm(at, input.channels === 1 ? input.samples : toMono(input.samples))
  }

  close (): void {
    this.#closed = true
    this.#aac?.encoder.close()
  }

  #addPacket (at: number, payload: Uint8Array): void {
    if (this.#opus && at - this.#opus.next > maxGap) this.#opus = undefined
    if (!this.#opus) {
      // A rendition must begin at the start of a part, so drop packets until then.
      if (isSamePart(positionAt(at - opusFrameSamples), positionAt(at))) return
      this.#opus = { cutter: new PartCutter('opus', at, (part) => this.#output.part(part)), next: at }
    }
    const opus = this.#opus
    if (at < opus.next) return
    for (; opus.next < at; opus.next += opusFrameSamples) opus.cutter.add({ data: silentPacket, duration: opusFrameSamples })
    opus.cutter.add({ data: payload, duration: opusFrameSamples })
    opus.next = at + opusFrameSamples
  }

  #addPcm (at: number, samples: Int16Array): void {
    if (this.#aac && at - this.#aac.next > maxGap) {
      this.#aac.encoder.close()
      this.#aac = undefined
    }
    if (!this.#aac) {
      const start = nextPartStart(at)
      if (start >= at + samples.length) return
      this.#aac = { encoder: this.#openAac(start), next: start }
    }
    const aac = this.#aac
    if (at > aac.next) {
      aac.encoder.encode(new Int16Array(at - aac.next))
      aac.next = at
    }
    const rest = samples.slice(aac.next - at)
    if (rest.length === 0) return
    aac.encoder.encode(rest)
    aac.next += rest.length
  }

  #openAac (start: number): AacEncoder {
    const cutter = new PartCutter('aac', start, (part) => this.#output.part(part))
    return new AacEncoder(
      (description) => this.#output.init('aac', initSection({ codec: 'aac', description }, 'segments')),
      (data) => { if (!this.#closed) cutter.add({ data, duration: aacFrameSamples }) },
      (error) => this.#output.failed(error))
  }
}

function toMono (stereo: Int16Array): Int16Array {
  const mono = new Int16Array(stereo.length / 2)
  for (let i = 0; i < mono.length; i++) mono[i] = ((stereo[i * 2] ?? 0) + (stereo[i * 2 + 1] ?? 0)) >> 1
  return mono
}
