import { createSocket } from 'node:dgram'
import type { Socket } from 'node:dgram'
import type { MessagePort } from 'node:worker_threads'
import { Limiter } from './limiter.ts'
import type { MixFrame, MixRoomOptions, MixStreams, MixVoice } from './messages.ts'
import { frameSamples, Opus, sampleRate } from './opus.ts'
import type { Channels, OpusEncoder } from './opus.ts'
import { readRtp, ssrcOf, writeRtp } from './rtp.ts'
import { LoudestVoices } from './selection.ts'
import { highResolutionMs } from './stats.ts'
import type { MixCounts } from './stats.ts'
import { Voice } from './voice.ts'

const loopback = '127.0.0.1'
export const frameMs = 20

/**
 * The mix is mono while it has only voices, and stereo while it has music. A complexity of 5 uses 1.7 times as much CPU
 * as a complexity of 3.
 */
const encoding = {
  1: { bitrate: 48_000, complexity: 3 },
  2: { bitrate: 96_000, complexity: 3 }
} as const
/** The packet that the encoder produces for 20 ms of silence after several silent frames. */
const silentPacket = Uint8Array.of(0xf8, 0xff, 0xfe)
/**
 * After this many silent frames, {@link silentPacket} is sent without encoding. By then, the encoder and all decoders
 * produce only silence.
 */
const silentFrames = 10
/** After this many frames without music, the mix returns to mono. */
const framesUntilMono = 500

const nothing: ReadonlySet<never> = new Set()

/** Mixes the voices of one room in a mixer thread. Receives the voices and sends the mix over UDP. */
export class MixerRoom {
  readonly #module: WebAssembly.Module
  readonly #options: MixRoomOptions
  readonly #counts: MixCounts
  readonly #socket: Socket
  readonly #streams = new Map<MessagePort, MixStreams>()
  readonly #limiter = new Limiter()
  readonly #pcm = { 1: new Int16Array(frameSamples), 2: new Int16Array(frameSamples * 2) }
  readonly #sum = { 1: new Float32Array(frameSamples), 2: new Float32Array(frameSamples * 2) }
  #opus: Opus
  #voices = new Map<number, Voice>()
  #speakers = new Set<Voice>()
  #loudest: LoudestVoices<Voice>
  /** The voices in the last frame of the mix. A voice that is not in the next frame fades out. */
  #mixed: ReadonlySet<Voice> = nothing
  #encoder: { channels: Channels, encoder: OpusEncoder } | undefined
  #silentFor = 0
  #withoutMusicFor = framesUntilMono
  #outputPort = 0
  /** The packet that the last tick has produced, until the packet is sent. */
  #packet: Buffer | undefined
  /** Number of frames since the mix was opened. */
  #frame = 0

  constructor (module: WebAssembly.Module, options: MixRoomOptions, counts: MixCounts) {
    this.#module = module
    this.#options = options
    this.#counts = counts
    this.#opus = new Opus(module)
    this.#loudest = new LoudestVoices(options.maxVoices)
    // The socket sends only to 127.0.0.1, so it needs no DNS lookup.
    this.#socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20, lookup: (_host, _options, callback) => callback(null, loopback, 4) })
    this.#socket.on('message', (packet) => this.#receive(packet))
  }

  get voices (): number {
    return this.#mixed.size
  }

  async open (): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    this.#socket.once('error', reject)
    this.#socket.bind(this.#options.port, loopback, () => resolve(this.#socket.address().port))
    const port = await promise
    this.#socket.off('error', reject)
    this.#socket.on('error', () => { /* One packet is lost. Sending the next one may succeed. */ })
    return port
  }

  setVoices (voices: readonly MixVoice[]): void {
    const before = this.#voices
    this.#voices = new Map(voices.map((info) => {
      const known = before.get(info.ssrc)
      const voice = known?.info.source === info.source ? known : new Voice(info, this.#opus, this.#counts)
      voice.info = info
      if (info.paused) voice.flush()
      return [info.ssrc, voice]
    }))
    const kept = new Set(this.#voices.values())
    for (const voice of before.values()) if (!kept.has(voice)) voice.free()
    this.#speakers = new Set([...kept].filter(({ info }) => info.source !== 'music'))
    this.#mixed = new Set([...this.#mixed].filter((voice) => kept.has(voice)))
  }

  setOutput (port: number): void {
    this.#outputPort = port
  }

  stream (port: MessagePort, streams: MixStreams): void {
    this.#streams.set(port, streams)
    port.on('close', () => this.#streams.delete(port))
    // Without `unref`, a message port that has a listener would keep the thread alive.
    port.unref()
  }

  /**
   * Mixes 20 ms of audio. {@link send} sends the result.
   *
   * @param now the current time, as returned by `performance.now`
   * @param due when the tick is due, according to the same clock as `openedAt`
   */
  tick (now: number, due: number): void {
    this.#frame = Math.round((due - this.#options.openedAt) / frameMs)
    const { sum, channels, isSilent } = this.#mix(now)
    const pcm = this.#pcm[channels]
    if (isSilent) pcm.fill(0)
    else this.#limiter.process(sum, channels, pcm)
    this.#silentFor = isSilent ? this.#silentFor + 1 : 0
    const payload = this.#silentFor > silentFrames ? silentPacket : this.#encode(pcm, channels)
    this.#packet = writeRtp(this.#options.ssrc, this.#options.payloadType, this.#frame, this.#timestamp, payload)
    if (this.#streams.size > 0) this.#publish(pcm, channels, payload)
  }

  /** Sends the packet of the last {@link tick} if it has not been sent yet. */
  send (): void {
    if (this.#packet && this.#outputPort !== 0) this.#socket.send(this.#packet, this.#outputPort, loopback)
    this.#packet = undefined
  }

  /** Replaces the encoder and all decoders. Called after any error in the room, except for an invalid packet. */
  restart (): void {
    this.#opus = new Opus(this.#module)
    this.#encoder = undefined
    this.#voices = new Map([...this.#voices].map(([ssrc, { info }]) => [ssrc, new Voice(info, this.#opus, this.#counts)]))
    this.#speakers = new Set([...this.#voices.values()].filter(({ info }) => info.source !== 'music'))
    this.#loudest = new LoudestVoices(this.#options.maxVoices)
    this.#mixed = nothing
  }

  close (): void {
    this.#socket.close()
    for (const port of this.#streams.keys()) port.close()
  }

  #receive (packet: Buffer): void {
    const voice = this.#voices.get(ssrcOf(packet) ?? 0)
    if (!voice || voice.info.paused) return
    const rtp = readRtp(packet, voice.info.levelExtensionId)
    if (!rtp) return
    voice.receive(rtp, performance.now())
    if (this.#streams.size === 0) return
    const { sequenceNumber, timestamp: rtpTimestamp, payload } = rtp
    const { producerId, userId, source } = voice.info
    const timestamp = Math.round((highResolutionMs() - this.#options.openedAt) * sampleRate / 1000)
    for (const [port, { voices }] of this.#streams) {
      if (voices) this.#post(port, { kind: 'voice', producerId, userId, source, timestamp, sequenceNumber, rtpTimestamp, payload: Uint8Array.from(payload) })
    }
  }

  /** Sums 20 ms of the loudest voices and all music. */
  #mix (now: number): { sum: Float32Array, channels: Channels, isSilent: boolean } {
    const selected = this.#loudest.select(this.#speakers)
    const channels = this.#channels()
    const sum = this.#sum[channels].fill(0)
    const mixed = new Set<Voice>()
    for (const voice of this.#voices.values()) {
      const isIn = voice.info.source === 'music' || selected.has(voice)
      const wasIn = this.#mixed.has(voice)
      if (!isIn && !wasIn && !voice.needsDecoding) {
        voice.skip(now)
        continue
      }
      const samples = voice.play(now)
      if (!samples || (!isIn && !wasIn)) continue
      add(samples, voice.channels, sum, channels, wasIn ? 1 : 0, isIn ? 1 : 0)
      if (isIn) mixed.add(voice)
    }
    const isSilent = mixed.size === 0 && this.#mixed.size === 0
    this.#mixed = mixed
    return { sum, channels, isSilent }
  }

  /**
   * @returns the number of channels of the mix: 2 while music plays and for {@link framesUntilMono} frames afterwards,
   *   otherwise 1
   */
  #channels (): Channels {
    const hasMusic = this.#mixed.values().some(({ info }) => info.source === 'music')
    this.#withoutMusicFor = hasMusic ? 0 : this.#withoutMusicFor + 1
    return this.#withoutMusicFor < framesUntilMono ? 2 : 1
  }

  #encode (pcm: Int16Array, channels: Channels): Uint8Array {
    if (this.#encoder?.channels !== channels) {
      this.#encoder?.encoder.free()
      this.#encoder = { channels, encoder: this.#opus.createEncoder(channels, encoding[channels]) }
    }
    return this.#encoder.encoder.encode(pcm)
  }

  get #timestamp (): number {
    return this.#frame * frameSamples
  }

  #publish (pcm: Int16Array, channels: Channels, payload: Uint8Array): void {
    const timestamp = this.#timestamp
    for (const [port, streams] of this.#streams) {
      if (streams.pcm) this.#post(port, { kind: 'pcm', timestamp, channels, samples: Int16Array.from(pcm) })
      if (streams.packets) this.#post(port, { kind: 'packet', timestamp, payload: Uint8Array.from(payload) })
    }
  }

  #post (port: MessagePort, frame: MixFrame): void {
    const { buffer } = frame.kind === 'pcm' ? frame.samples : frame.payload
    port.postMessage(frame, [buffer as ArrayBuffer])
  }
}

/** Adds the samples of a voice to the mix, with a gain that changes linearly from `from` to `to`. */
function add (samples: Int16Array, channels: Channels, sum: Float32Array, sumChannels: Channels, from: number, to: number): void {
  if (channels === 1 && sumChannels === 1 && from === 1 && to === 1) {
    for (let i = 0; i < frameSamples; i++) (sum[i] as number) += samples[i] as number
    return
  }
  const step = (to - from) / frameSamples
  for (let i = 0; i < frameSamples; i++) {
    const gain = from + step * i
    const left = (samples[i * channels] as number) * gain
    const right = channels === 2 ? (samples[i * 2 + 1] as number) * gain : left
    if (sumChannels === 1) (sum[i] as number) += (left + right) / 2
    else {
      (sum[i * 2] as number) += left
      ;(sum[i * 2 + 1] as number) += right
    }
  }
}
