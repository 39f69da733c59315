import { ALL_FORMATS, BufferSource, EncodedPacketSink, Input } from 'mediabunny'
import { compileOpus, Opus, sampleRate } from '../../plugins/media/mix/opus.ts'

// Reads recorded files with a demuxer and a decoder that share no code with the recorder.

const module = await compileOpus()

export interface DecodedFile {
  /** Samples of the left channel at 48 kHz, from -1 to 1. */
  samples: Float64Array
  seconds: number
  /** Number of packets that do not start where the previous packet ends. */
  gaps: number
  packets: number
}

/**
 * Decodes packets of 20 ms in order.
 *
 * @returns the samples, -1 to 1
 */
export function decodePackets (packets: readonly Uint8Array[]): Float64Array {
  const decoder = new Opus(module).createDecoder(1)
  return Float64Array.from(packets.flatMap((packet) => [...decoder.decode(packet)]), (sample) => sample / 32_768)
}

export async function decodeFile (data: Buffer): Promise<DecodedFile> {
  const input = new Input({ source: new BufferSource(Uint8Array.from(data).buffer), formats: ALL_FORMATS })
  const track = await input.getPrimaryAudioTrack()
  if (!track) throw new Error('The file has no audio track')
  const decoder = new Opus(module).createDecoder(1)
  const parts: Int16Array[] = []
  let [packets, gaps, end] = [0, 0, 0]
  for await (const { data, timestamp, duration } of new EncodedPacketSink(track).packets()) {
    packets++
    if (Math.round(timestamp * sampleRate) !== Math.round(end * sampleRate)) gaps++
    end = timestamp + duration
    parts.push(Int16Array.from(data.length === 0 ? decoder.conceal(Math.round(duration * sampleRate)) : decoder.decode(data)))
  }
  input.dispose()
  const samples = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) for (const sample of part) samples[at++] = sample / 32_768
  return { samples, seconds: samples.length / sampleRate, gaps, packets }
}

/**
 * @returns a tone's frequency in hertz: the median over parts of 200 ms, so that packets that reach the mix too late
 *   have no effect
 */
export function toneOf (samples: Float64Array): number {
  const part = sampleRate / 5
  const found = Array.from({ length: Math.floor(samples.length / part) }, (_, i) => frequencyOf(samples.subarray(i * part, (i + 1) * part))).filter(Number.isFinite).sort((a, b) => a - b)
  return found[Math.floor(found.length / 2)] ?? NaN
}

/** @returns a tone's frequency in hertz, from its zero crossings */
export function frequencyOf (samples: Float64Array): number {
  let [first, last, crossings] = [NaN, NaN, 0]
  for (let i = 1; i < samples.length; i++) {
    const [before, after] = [samples[i - 1] as number, samples[i] as number]
    if (before >= 0 || after < 0) continue
    const at = i - after / (after - before)
    if (Number.isNaN(first)) first = at
    else crossings++
    last = at
  }
  return crossings / (last - first) * sampleRate
}

/** @returns the root mean square of each 2.5 ms of the samples */
export function envelopeOf (samples: Float64Array): number[] {
  const step = sampleRate / 400
  return Array.from({ length: Math.floor(samples.length / step) }, (_, i) => Math.sqrt(samples.subarray(i * step, (i + 1) * step).reduce((sum, value) => sum + value ** 2, 0) / step))
}

/** @returns the start time of each beep (sound after 200 ms of silence), in milliseconds */
export function beepsOf (samples: Float64Array): number[] {
  const levels = envelopeOf(samples)
  return levels.flatMap((level, i) => level > 0.05 && i >= 80 && levels.slice(i - 80, i).every((before) => before < 0.05) ? i * 2.5 : [])
}
