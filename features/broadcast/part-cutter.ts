import { fragment } from 'flylive-audio-server/fmp4'
import type { Frame } from 'flylive-audio-server/fmp4'
import { isSamePart, partsPerSegment, positionAt } from './timeline.ts'
import type { PartPosition } from './timeline.ts'

export type Codec = 'aac' | 'opus'

/** A finished part: a movie fragment of 256 ms (AAC), or 240 ms or 260 ms (Opus). */
export interface Part extends PartPosition {
  codec: Codec
  data: Uint8Array
  /** The Unix time of the first sample, as a number of samples at 48 kHz. */
  start: number
  /** In samples. */
  duration: number
  /** True if the part is the first part of a timeline or follows a gap. */
  discontinuity: boolean
  /** Number of discontinuities in the broadcast up to and including this part. Set by `Rendition.add`. */
  discontinuities?: number
}

/** Groups the frames of one rendition into parts. A frame belongs to the part in which it starts. */
export class PartCutter {
  readonly #codec: Codec
  readonly #onPart: (part: Part) => void
  #frames: Frame[] = []
  #start = 0
  /** When the next frame starts, in Unix time as a number of samples. */
  #next: number
  #discontinuity = true

  /** @param start when the first frame starts, in Unix time as a number of samples */
  constructor (codec: Codec, start: number, onPart: (part: Part) => void) {
    this.#codec = codec
    this.#next = start
    this.#onPart = onPart
  }

  add (frame: Frame): void {
    if (this.#frames.length === 0) this.#start = this.#next
    this.#frames.push(frame)
    this.#next += frame.duration
    if (!isSamePart(positionAt(this.#start), positionAt(this.#next))) this.#cut()
  }

  #cut (): void {
    const position = positionAt(this.#start)
    const data = fragment(position.segment * partsPerSegment + position.part, this.#start, this.#frames, 'segments')
    this.#onPart({ codec: this.#codec, ...position, data, start: this.#start, duration: this.#next - this.#start, discontinuity: this.#discontinuity })
    this.#frames = []
    this.#discontinuity = false
  }
}
