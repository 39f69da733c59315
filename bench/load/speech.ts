import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Encoder } from '@evan/opus'
import { readWav } from '../../scripts/demo/wav.ts'

/** 20 ms of speech, encoded with Opus. */
export interface SpeechFrame {
  payload: Uint8Array
  /** Audio level (RFC 6464): 0 is the loudest, 127 is silence. */
  level: number
}

/** Recordings from the demo (scripts/demo/speech). */
const recordings = ['maya-hello', 'ben-hello', 'chloe-chat', 'diego-open', 'felix-sister', 'otto-nothing', 'emma-thanks', 'maya-seats']
const folder = join(import.meta.dirname, '..', '..', 'scripts', 'demo', 'speech')
const sampleRate = 16_000
const frameSamples = sampleRate / 50
/** Bit rate that browsers use for speech, in bit/s. */
const bitrate = 32_000

const encoded = new Map<string, SpeechFrame[]>()

/**
 * Encodes each recording on first use, which takes about 0.1 s.
 *
 * @param index selects a recording; the index wraps around after the eighth recording
 * @returns 4 to 7 s of speech, encoded with Opus at 32 kbit/s with FEC
 */
export function speech (index: number): readonly SpeechFrame[] {
  const name = recordings[index % recordings.length] as string
  const frames = encoded.get(name) ?? encode(name)
  encoded.set(name, frames)
  return frames
}

function encode (name: string): SpeechFrame[] {
  const recording = readWav(readFileSync(join(folder, `${name}.wav`)))
  const encoder = new Encoder({ channels: 1, sample_rate: sampleRate, application: 'voip' })
  encoder.signal = 'voice'
  encoder.bitrate = bitrate
  encoder.inband_fec = true
  encoder.packet_loss = 5
  encoder.complexity = 5
  const frames: SpeechFrame[] = []
  for (let at = 0; at + frameSamples <= recording.samples.length; at += frameSamples) {
    const samples = recording.samples.slice(at, at + frameSamples)
    frames.push({ payload: encoder.encode(samples), level: levelOf(samples) })
  }
  return frames
}

function levelOf (samples: Int16Array): number {
  let sum = 0
  for (const sample of samples) sum += sample * sample
  const rms = Math.sqrt(sum / samples.length) / 32_768
  return Math.min(127, Math.round(-20 * Math.log10(Math.max(rms, 1e-7))))
}

/** Number of groups of speakers. Each group sends at a different time within the 20 ms of a frame. */
const phases = 4
const frameMs = 20

/** Sends speech in real time. */
export interface Pacer {
  /**
   * Calls `send` with the next frame of a recording every 20 ms. Repeats the recording when it ends.
   *
   * @returns a function that stops sending
   */
  start (frames: readonly SpeechFrame[], send: (frame: SpeechFrame) => void): () => void
  close (): void
}

/**
 * Creates a pacer with one timer. If the process was blocked, the next timer tick sends all frames that are overdue.
 */
export function createPacer (): Pacer {
  const voices = new Set<{ phase: number, next: () => void }>()
  let started = 0
  let tick = 0
  const begin = performance.now()
  const timer = setInterval(() => {
    const due = (performance.now() - begin) / (frameMs / phases)
    for (; tick <= due; tick++) for (const { phase, next } of voices) if (tick % phases === phase) next()
  }, frameMs / phases)

  return {
    start (frames, send) {
      // Several speakers may use the same recording, so let each speaker start at a different frame.
      let at = started * 37
      const voice = { phase: started++ % phases, next: () => send(frames[at++ % frames.length] as SpeechFrame) }
      voices.add(voice)
      return () => { voices.delete(voice) }
    },
    close: () => clearInterval(timer)
  }
}
