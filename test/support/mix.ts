import { createSocket } from 'node:dgram'
import type { Socket } from 'node:dgram'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MessageChannel } from 'node:worker_threads'
import { Encoder } from '@evan/opus'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { RoomMix } from '../../plugins/media/mix/mixes.ts'
import type { MixFrame, MixStreams } from '../../plugins/media/mix/messages.ts'
import { compileOpus, frameSamples, Opus, sampleRate } from '../../plugins/media/mix/opus.ts'
import { readWav } from '../../scripts/demo/wav.ts'
import type { InjectOptions } from '../../plugins/media/injection.ts'
import type { ProducerOwner } from '../../plugins/media/producer.ts'
import { amplitudeOf } from './goertzel.ts'

// Speakers that send tones as RTP, and a receiver that measures the tones in a mix.

const recordings = join(import.meta.dirname, '../../scripts/demo/speech')
const opus = new Opus(await compileOpus())
const levelExtensionId = 1

const tones = new Map<string, Uint8Array[]>()

/**
 * @param hz a multiple of 50, so that the packets can be repeated in a loop
 * @returns the packets of one second of a tone
 */
export function tonePackets (hz: number, amplitude: number, channels: 1 | 2 = 1): Uint8Array[] {
  const key = `${hz} ${amplitude} ${channels}`
  const tone = tones.get(key) ?? encodeTone(hz, amplitude, channels)
  tones.set(key, tone)
  return tone
}

function encodeTone (hz: number, amplitude: number, channels: 1 | 2): Uint8Array[] {
  const encoder = opus.createEncoder(channels, { bitrate: 64_000, complexity: 5 })
  const frame = (i: number) => Int16Array.from({ length: frameSamples * channels }, (_, j) => 32_767 * amplitude * Math.sin(2 * Math.PI * hz * (i * frameSamples + Math.floor(j / channels)) / sampleRate))
  const packets = Array.from({ length: 60 }, (_, i) => Uint8Array.from(encoder.encode(frame(i))))
  encoder.free()
  return packets.slice(10)
}

/** A 20 ms packet with its audio level in -dBov, from 0 (loudest) to 127. */
export interface SpokenPacket { payload: Uint8Array, level: number }

/**
 * @param count maximum number of packets; by default, the packets of all recordings
 * @returns the demo's recorded speech, encoded as browsers encode it: 32 kbit/s, with forward error correction
 */
export function speechPackets (count = Infinity): SpokenPacket[] {
  const encoder = new Encoder({ channels: 1, application: 'voip' })
  Object.assign(encoder, { bitrate: 32_000, inband_fec: true, packet_loss: 10, complexity: 9 })
  const packets: SpokenPacket[] = []
  for (const file of readdirSync(recordings).filter((name) => name.endsWith('.wav')).sort()) {
    const { samples, sampleRate: rate } = readWav(readFileSync(join(recordings, file)))
    const scale = rate / sampleRate
    for (let from = 0; (from + frameSamples) * scale < samples.length; from += frameSamples) {
      if (packets.length >= count) return packets
      const frame = Int16Array.from({ length: frameSamples }, (_, i) => {
        const at = (from + i) * scale
        const [before = 0, after = 0] = [samples[Math.floor(at)], samples[Math.floor(at) + 1]]
        return before + (after - before) * (at % 1)
      })
      const power = frame.reduce((sum, sample) => sum + sample ** 2, 0) / frame.length / 32_768 ** 2
      packets.push({ payload: Uint8Array.from(encoder.encode(frame)), level: Math.min(127, Math.round(-10 * Math.log10(power + 1e-13))) })
    }
  }
  return packets
}

export interface SpeakerOptions {
  /** Frequency of the tone. */
  hz?: number
  /** 0 to 1. */
  amplitude?: number
  /** Sends these packets instead of a tone, starting at index `from`. */
  speech?: { packets: readonly SpokenPacket[], from: number }
  source?: InjectOptions['source']
  /** True if the packets contain their audio levels. Default: true. */
  hasLevels?: boolean
  /** The producer's owner. Default: a service. */
  owner?: ProducerOwner
  /** Returns the address to send the packets to, for example the address of a relay. */
  via?: (address: { ip: string, port: number }) => Promise<{ ip: string, port: number }>
}

export interface Speaker {
  readonly producerId: string
  pause (): Promise<void>
  resume (): Promise<void>
  /** Stops sending packets, without closing the producer. */
  vanish (): void
}

let nextSsrc = 5000

/** Sends a tone or speech to a room, one packet per 20 ms, until the test ends. */
export async function speak (t: Test, app: FastifyInstance, roomId: string, { hz = 500, amplitude = 0.3, speech, source = 'voice', hasLevels = true, owner: givenOwner, via = async (address) => address }: SpeakerOptions): Promise<Speaker> {
  const ssrc = nextSsrc++
  const owner = givenOwner ?? { userId: `speaker ${ssrc}`, userKey: `speaker ${ssrc}`, nodeId: app.nodeId, kind: 'service' as const }
  const injection = await app.sfu.inject(roomId, owner, { ssrc, source, ...(hasLevels ? { levelExtensionId } : {}) })
  // The level of a sine wave (RFC 6464).
  const level = Math.min(127, Math.round(-20 * Math.log10(amplitude / Math.SQRT2)))
  const packets = speech?.packets ?? tonePackets(hz, amplitude, source === 'music' ? 2 : 1).map((payload) => ({ payload, level }))
  const to = await via(injection)
  const stop = await sendPaced(t, to, (i) => {
    const { payload, level } = packets[(i + (speech?.from ?? 0)) % packets.length] as SpokenPacket
    return rtp(ssrc, i, payload, hasLevels ? level : undefined)
  })
  const handle = () => app.sfu.producerHandles(roomId).find(({ producerId }) => producerId === injection.producerId)
  return {
    producerId: injection.producerId,
    pause: async () => await handle()?.pause('server'),
    resume: async () => await handle()?.resume('server'),
    vanish: stop
  }
}

/**
 * Sends one packet per 20 ms. The send times follow an absolute clock, so delays do not accumulate.
 *
 * @returns a function that stops sending
 */
export async function sendPaced (t: Test, to: { ip: string, port: number }, packet: (i: number) => Buffer | undefined): Promise<() => void> {
  const socket = createSocket('udp4')
  socket.connect(to.port, to.ip)
  await once(socket, 'connect')
  socket.on('error', () => { /* The injection is closed. */ })
  const start = performance.now()
  let sent = 0
  const timer = setInterval(() => {
    for (; sent * 20 < performance.now() - start; sent++) {
      const bytes = packet(sent)
      if (bytes) socket.send(bytes, () => {})
    }
  }, 5)
  const stop = () => clearInterval(timer)
  t.teardown(() => {
    stop()
    socket.close()
  })
  return stop
}

/**
 * @param level the packet's audio level; if undefined, the packet has no header extension
 * @returns an RTP packet
 */
export function rtp (ssrc: number, sequenceNumber: number, payload: Uint8Array, level?: number): Buffer {
  const header = Buffer.alloc(level === undefined ? 12 : 20)
  header[0] = level === undefined ? 0x80 : 0x90
  header[1] = 100
  header.writeUInt16BE(sequenceNumber & 0xffff, 2)
  header.writeUInt32BE((sequenceNumber * frameSamples) >>> 0, 4)
  header.writeUInt32BE(ssrc, 8)
  if (level !== undefined) {
    header.writeUInt16BE(0xbede, 12)
    header.writeUInt16BE(1, 14)
    header[16] = levelExtensionId << 4
    header[17] = level
  }
  return Buffer.concat([header, payload])
}

export interface Relay {
  /** Probability that a packet is dropped, from 0 to 1. */
  drop: number
  /** Maximum random delay of a packet, in milliseconds. Delays may reorder packets. */
  jitterMs: number
  seed: number
}

/** Sends random Opus data in random RTP packets to a room, as several loud voices. */
export async function attack (t: Test, app: FastifyInstance, roomId: string, { voices, seed }: { voices: number, seed: number }): Promise<void> {
  const random = generator(seed)
  const below = (max: number) => Math.floor(random() * max)
  for (let i = 0; i < voices; i++) {
    const ssrc = nextSsrc++
    const injection = await app.sfu.inject(roomId, { userId: `attacker ${ssrc}`, userKey: `attacker ${ssrc}`, nodeId: app.nodeId, kind: 'service' }, { ssrc, levelExtensionId })
    await sendPaced(t, injection, (n) => {
      const payload = Uint8Array.from({ length: below(10) === 0 ? below(3) : below(1400) }, () => below(256))
      const packet = rtp(ssrc, n + (below(20) === 0 ? below(200) : 0), payload, below(40))
      if (below(3) === 0) packet.writeUInt32BE(below(2 ** 32), 4)
      // Corrupt some packets' header extensions, padding and CSRC count.
      if (below(10) === 0) packet[0] = 0x80 | below(64)
      if (below(10) === 0) packet.writeUInt16BE(below(65_536), 14)
      return packet
    })
  }
}

/** Forwards UDP packets with the faults of a bad network. The same seed produces the same faults. */
export function relay (t: Test, { drop, jitterMs, seed }: Relay) {
  const random = generator(seed)
  return async ({ ip, port }: { ip: string, port: number }) => {
    const [near, far]: Socket[] = [createSocket('udp4'), createSocket('udp4')] as const
    const timers = new Set<NodeJS.Timeout>()
    near?.on('message', (packet) => {
      if (random() < drop) return
      const timer = setTimeout(() => {
        timers.delete(timer)
        far?.send(packet, port, ip)
      }, random() * jitterMs)
      timers.add(timer)
    })
    near?.bind(0, '127.0.0.1')
    await once(near as Socket, 'listening')
    t.teardown(() => {
      for (const timer of timers) clearTimeout(timer)
      near?.close()
      far?.close()
    })
    return { ip: '127.0.0.1', port: near?.address().port as number }
  }
}

/** @returns a function that returns pseudorandom numbers from 0 to 1 */
export function generator (seed: number): () => number {
  let state = seed
  return () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32
}

/** The frames that a port has received from a mix. */
export interface Reception {
  readonly frames: MixFrame[]
  /** Whether the mix has closed the port. */
  readonly closed: boolean
  /** Amplitudes (0 to 1) of tones in the last half second of the mix. The frequencies must be multiples of 50 Hz. */
  amplitudes (...hz: number[]): number[]
}

export function receive (t: Test, mix: RoomMix, streams: MixStreams = { pcm: true }): Reception {
  const { port1, port2 } = new MessageChannel()
  const frames: MixFrame[] = []
  const mono = new Float64Array(25 * frameSamples)
  let closed = false
  port1.on('message', (frame: MixFrame) => frames.push(frame))
  port1.on('close', () => { closed = true })
  t.teardown(() => port1.close())
  mix.stream(port2, streams)
  return {
    frames,
    get closed () {
      return closed
    },
    amplitudes (...hz) {
      let free = mono.length
      for (let n = frames.length - 1; n >= 0 && free > 0; n--) {
        const frame = frames[n] as MixFrame
        if (frame.kind !== 'pcm') continue
        free -= frameSamples
        for (let i = 0; i < frameSamples; i++) mono[free + i] = (frame.samples[i * frame.channels] as number) / 32_768
      }
      return hz.map((frequency) => free > 0 ? 0 : amplitudeOf(mono, frequency, sampleRate))
    }
  }
}
