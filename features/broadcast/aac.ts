import { registerAacEncoder } from '@mediabunny/aac-encoder'
import { AudioSample, AudioSampleSource, Mp4OutputFormat, NullTarget, Output } from 'mediabunny'
import { sampleRate } from 'flylive-audio-server/fmp4'

const bitrate = 48_000
/**
 * Number of samples per encoder call: four AAC frames. Fewer calls are cheaper, because each call exchanges several
 * messages with the encoder thread. A part has 12 frames, so exactly three calls encode it, without waiting for samples
 * of the next part.
 */
const chunkSamples = 4096

/** Encodes mono PCM to AAC-LC with 1,024 samples per frame. The encoder runs in a separate thread. */
export class AacEncoder {
  readonly #source: AudioSampleSource
  readonly #output: Output
  readonly #opened: Promise<void>
  #queue: Promise<void>
  readonly #chunk = new Int16Array(chunkSamples)
  #filled = 0
  #written = 0
  #closed = false

  /**
   * @param onDescription called with the AudioSpecificConfig, before the first frame
   * @param onError called if the encoder fails. Nothing is encoded afterwards
   */
  constructor (onDescription: (description: Uint8Array) => void, onFrame: (data: Uint8Array) => void, onError: (error: unknown) => void) {
    registerAacEncoder()
    let isDescribed = false
    this.#source = new AudioSampleSource({
      codec: 'aac',
      bitrate,
      onEncodedPacket (packet, meta) {
        const description = meta?.decoderConfig?.description
        if (!isDescribed && description) {
          isDescribed = true
          onDescription(ArrayBuffer.isView(description) ? new Uint8Array(description.buffer, description.byteOffset, description.byteLength).slice() : new Uint8Array(description as ArrayBuffer))
        }
        onFrame(packet.data)
      }
    })
    // Only the encoded frames are used; the MP4 file is discarded. The output format is fragmented MP4, because the
    // library keeps the positions of all frames in memory for other formats.
    this.#output = new Output({ format: new Mp4OutputFormat({ fastStart: 'fragmented', minimumFragmentDuration: 1 }), target: new NullTarget() })
    this.#output.addAudioTrack(this.#source)
    this.#opened = this.#output.start()
    this.#queue = this.#opened.catch((error: unknown) => this.#fail(error, onError))
    this.#onError = onError
  }

  readonly #onError: (error: unknown) => void

  /** Encodes the next samples. */
  encode (samples: Int16Array): void {
    for (let from = 0; from < samples.length;) {
      const next = samples.subarray(from, from + chunkSamples - this.#filled)
      this.#chunk.set(next, this.#filled)
      this.#filled += next.length
      from += next.length
      if (this.#filled < chunkSamples) return
      this.#filled = 0
      this.#encode(this.#chunk.slice())
    }
  }

  #encode (samples: Int16Array): void {
    if (this.#closed) return
    const timestamp = this.#written / sampleRate
    this.#written += samples.length
    this.#queue = this.#queue.then(async () => {
      if (this.#closed) return
      const sample = new AudioSample({ data: samples, format: 's16', numberOfChannels: 1, sampleRate, timestamp })
      try {
        await this.#source.add(sample)
      } finally {
        sample.close()
      }
    }).catch((error: unknown) => this.#fail(error, this.#onError))
  }

  /** Idempotent. */
  close (): void {
    if (this.#closed) return
    this.#closed = true
    this.#opened.then(async () => await this.#output.cancel()).catch(() => { /* The encoder has already failed. */ })
  }

  #fail (error: unknown, onError: (error: unknown) => void): void {
    if (this.#closed) return
    this.close()
    onError(error)
  }
}
