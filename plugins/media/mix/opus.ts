import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

// A binding to libopus (RFC 6716), which the package @evan/opus contains as WebAssembly. This file does not use the
// package's own API, because it lacks packet loss concealment, forward error correction and explicit frame sizes.

export const sampleRate = 48_000
/** Samples per channel in 20 ms. */
export const frameSamples = 960
/** Maximum samples per channel in a packet: 120 ms. */
const maxSamples = 5760
/** Maximum size of a packet from the network, in bytes. Larger packets do not fit into an Ethernet frame. */
export const maxPacketBytes = 1500

const applicationAudio = 2049
const setBitrate = 4002
const setComplexity = 4010
const resetState = 4028

interface Libopus {
  memory: WebAssembly.Memory
  _initialize (): void
  malloc (bytes: number): number
  free (pointer: number): void
  opus_decoder_get_size (channels: number): number
  opus_decoder_init (decoder: number, sampleRate: number, channels: number): number
  opus_decoder_ctl_set (decoder: number, request: number, value: number): number
  opus_decode (decoder: number, packet: number, bytes: number, pcm: number, maxSamples: number, useFec: 0 | 1): number
  opus_encoder_get_size (channels: number): number
  opus_encoder_init (encoder: number, sampleRate: number, channels: number, application: number): number
  opus_encoder_ctl_set (encoder: number, request: number, value: number): number
  opus_encode (encoder: number, pcm: number, samples: number, packet: number, maxBytes: number): number
}

export type Channels = 1 | 2

/** @returns the compiled libopus module, which threads can share */
export async function compileOpus (): Promise<WebAssembly.Module> {
  return await WebAssembly.compile(await readFile(fileURLToPath(import.meta.resolve('@evan/opus/wasm/simd.wasm'))))
}

/** An error from libopus, such as an invalid packet. */
export class OpusError extends Error {
  constructor (call: string, code: number) {
    super(`${call} failed with ${code}`)
  }
}

function checked (call: string, result: number): number {
  if (result < 0) throw new OpusError(call, result)
  return result
}

/**
 * An instance of libopus with its own memory, so that packets from the network cannot corrupt other memory. If a call
 * throws anything but {@link OpusError}, the instance must not be used again.
 */
export class Opus {
  readonly #lib: Libopus
  readonly #packet: number
  readonly #pcm: number
  #bytes: Uint8Array
  #samples: Int16Array

  constructor (module: WebAssembly.Module) {
    const instance = new WebAssembly.Instance(module, {
      wasi_snapshot_preview1: { fd_seek () {}, fd_write () {}, fd_close () {}, proc_exit () {} },
      env: { emscripten_notify_memory_growth: () => this.#mapMemory() }
    })
    this.#lib = instance.exports as unknown as Libopus
    this.#lib._initialize()
    this.#packet = this.#allocate(maxPacketBytes)
    this.#pcm = this.#allocate(maxSamples * 2 * Int16Array.BYTES_PER_ELEMENT)
    this.#bytes = new Uint8Array(this.#lib.memory.buffer)
    this.#samples = new Int16Array(this.#lib.memory.buffer)
  }

  createDecoder (channels: Channels): OpusDecoder {
    const lib = this.#lib
    const decoder = this.#allocate(lib.opus_decoder_get_size(channels))
    checked('opus_decoder_init', lib.opus_decoder_init(decoder, sampleRate, channels))
    const decode = (packet: Uint8Array | undefined, samples: number, useFec: 0 | 1) => {
      if (packet) this.#bytes.set(packet, this.#packet)
      const decoded = checked('opus_decode', lib.opus_decode(decoder, packet ? this.#packet : 0, packet?.length ?? 0, this.#pcm, samples, useFec))
      return this.#samples.subarray(this.#pcm >> 1, (this.#pcm >> 1) + decoded * channels)
    }
    return {
      channels,
      decode: (packet) => decode(packet, maxSamples, 0),
      conceal: (samples) => decode(undefined, samples, 0),
      recover: (next, samples) => decode(next, samples, 1),
      reset: () => { lib.opus_decoder_ctl_set(decoder, resetState, 0) },
      free: () => lib.free(decoder)
    }
  }

  /**
   * @param bitrate in bits per second
   * @param complexity 0 to 10
   */
  createEncoder (channels: Channels, { bitrate, complexity }: { bitrate: number, complexity: number }): OpusEncoder {
    const lib = this.#lib
    const encoder = this.#allocate(lib.opus_encoder_get_size(channels))
    checked('opus_encoder_init', lib.opus_encoder_init(encoder, sampleRate, channels, applicationAudio))
    lib.opus_encoder_ctl_set(encoder, setBitrate, bitrate)
    lib.opus_encoder_ctl_set(encoder, setComplexity, complexity)
    return {
      encode: (pcm) => {
        this.#samples.set(pcm, this.#pcm >> 1)
        const bytes = checked('opus_encode', lib.opus_encode(encoder, this.#pcm, pcm.length / channels, this.#packet, maxPacketBytes))
        return this.#bytes.subarray(this.#packet, this.#packet + bytes)
      },
      free: () => lib.free(encoder)
    }
  }

  #allocate (bytes: number): number {
    const pointer = this.#lib.malloc(bytes)
    if (pointer === 0) throw new OpusError('malloc', -7)
    return pointer
  }

  #mapMemory (): void {
    this.#bytes = new Uint8Array(this.#lib.memory.buffer)
    this.#samples = new Int16Array(this.#lib.memory.buffer)
  }
}

/**
 * The methods return interleaved samples, which are valid until the next call to any decoder or encoder of the same
 * instance.
 *
 * @throws {OpusError} if a packet is invalid
 */
export interface OpusDecoder {
  readonly channels: Channels
  /** @param packet the packet, which must not be longer than {@link maxPacketBytes} */
  decode (packet: Uint8Array): Int16Array
  /**
   * Generates samples for a lost packet from the previous packets.
   *
   * @param samples number of samples per channel; a multiple of 120
   */
  conceal (samples: number): Int16Array
  /**
   * Decodes a lost packet from its copy in the next packet. If the next packet contains no copy, generates samples like
   * {@link conceal}.
   */
  recover (next: Uint8Array, samples: number): Int16Array
  reset (): void
  free (): void
}

export interface OpusEncoder {
  /**
   * @param pcm interleaved; 20 ms
   * @returns the packet, which is valid until the next call
   */
  encode (pcm: Int16Array): Uint8Array
  free (): void
}

/** Samples per channel in a frame, by the configuration number in the packet (RFC 6716, section 3.1). */
const samplesPerFrame = Array.from({ length: 32 }, (_, config) =>
  config < 12 ? [480, 960, 1920, 2880][config & 3] : config < 16 ? [480, 960][config & 1] : [120, 240, 480, 960][config & 3]) as number[]

/** @returns the number of samples per channel in a packet; 0 if the packet is invalid */
export function samplesOf (packet: Uint8Array): number {
  const [toc, count] = packet
  if (toc === undefined || packet.length > maxPacketBytes) return 0
  const code = toc & 3
  const frames = code === 0 ? 1 : code === 3 ? (count ?? 0) & 63 : 2
  const samples = (samplesPerFrame[toc >> 3] ?? 0) * frames
  return samples > maxSamples ? 0 : samples
}
