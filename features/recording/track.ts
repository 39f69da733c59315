import { closeSync, fdatasyncSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { fragment, initSection, sampleRate } from 'flylive-audio-server/fmp4'
import type { Frame } from 'flylive-audio-server/fmp4'
import { minSamples, silenceFor } from './packets.ts'

/** The MP4 boxes before the first fragment. These boxes are the same in all files, except for the duration. */
export const fileStart: Buffer = initSection({ codec: 'opus' }, 'file')

/** Duration of a fragment, in samples. A crash loses at most the fragment that is still in memory. */
const fragmentSamples = sampleRate / 2

/**
 * A file with one Opus track, which begins at the start of the recording and has no gaps. Data is only appended, so the
 * file can be played even while it grows.
 */
export class Mp4Track {
  readonly #fd: number
  #frames: Frame[] = []
  #fragmentStart = 0
  #fragments = 0
  #next = 0
  #bytes = 0
  #written = 0

  /** @throws a file system error */
  constructor (path: string) {
    this.#fd = openSync(path, 'a')
    this.#write(fileStart)
  }

  /** End of the last packet, in samples since the start of the recording. */
  get next (): number {
    return this.#next
  }

  /** Size of the complete fragments, in bytes. */
  get bytes (): number {
    return this.#bytes
  }

  /** Duration of the complete fragments. */
  get seconds (): number {
    return this.#written / sampleRate
  }

  /**
   * Appends a packet. Fills a gap before the packet with silence. Drops the packet if the file already has audio for
   * more than half of the packet's time.
   *
   * @param at the start of the packet, in samples since the start of the recording
   * @throws a file system error
   */
  add (at: number, payload: Uint8Array, duration: number): void {
    if (at < this.#next - duration / 2) return
    this.fillUntil(at)
    this.#append({ data: payload, duration })
  }

  /**
   * Appends silence until the time `at`, in samples since the start of the recording.
   *
   * @throws a file system error
   */
  fillUntil (at: number): void {
    while (at - this.#next >= minSamples) this.#append(silenceFor(at - this.#next))
  }

  /**
   * Writes the buffered packets to the file.
   *
   * @throws a file system error
   */
  flush (): void {
    if (this.#frames.length === 0) return
    const frames = this.#frames
    this.#frames = []
    this.#write(fragment(++this.#fragments, this.#fragmentStart, frames, 'file'))
    this.#fragmentStart = this.#written = this.#next
  }

  /**
   * @param isComplete true if the buffered packets must be written first
   * @throws a file system error
   */
  close (isComplete: boolean): void {
    try {
      if (isComplete) this.flush()
      fdatasyncSync(this.#fd)
    } finally {
      closeSync(this.#fd)
    }
  }

  #append (frame: Frame): void {
    this.#frames.push(frame)
    this.#next += frame.duration
    if (this.#next - this.#fragmentStart >= fragmentSamples) this.flush()
  }

  /** Writes all of the data, or nothing if the write fails. */
  #write (data: Buffer): void {
    try {
      for (let at = 0; at < data.length;) at += writeSync(this.#fd, data, at)
    } catch (error) {
      try {
        ftruncateSync(this.#fd, this.#bytes)
      } catch { /* The incomplete fragment is removed when the recording ends. */ }
      throw error
    }
    this.#bytes += data.length
  }
}
