import { RTCAudioSource } from './webrtc.ts'
import type { Recording } from './wav.ts'

/** WebRTC takes audio in pieces of 10 ms. */
const frameMs = 10
/** Two of them make a packet, and given together they cost half: it is the waking of threads that costs. */
const tickMs = 20
/** A process that was held up catches up on so much, in milliseconds; what is older is left out. */
const catchUpMs = 300
const sampleRate = 16_000
const frameSamples = sampleRate * frameMs / 1000

/** A microphone that hears what it is told to. */
export interface Voice {
  readonly track: MediaStreamTrack
  /**
   * Speaks now, instead of what it was speaking.
   *
   * @returns how long it takes, in milliseconds
   */
  speak (recording: Recording): number
  /** Whether somebody listens to it; otherwise it costs nothing. */
  on: boolean
  close (): void
}

export interface Voices {
  create (): Voice
  close (): void
}

/** Gives out microphones that all follow one clock. */
export function createVoices (): Voices {
  const frames = new Set<() => void>()
  let due = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    due = Math.max(due, now - catchUpMs)
    for (; due <= now; due += tickMs) for (const frame of frames) for (let ms = 0; ms < tickMs; ms += frameMs) frame()
  }, tickMs)

  return {
    create () {
      const source = new RTCAudioSource()
      const track = source.createTrack()
      const silence = new Int16Array(frameSamples)
      let speech: Recording['samples'] = silence
      let at = Infinity

      /** A microphone is never off: what is sent between two sentences is silence. */
      function next (): Int16Array {
        if (at >= speech.length) return silence
        const frame = new Int16Array(frameSamples)
        frame.set(speech.subarray(at, at + frameSamples))
        at += frameSamples
        return frame
      }
      function send () {
        const samples = next()
        if (voice.on) source.onData({ samples, sampleRate, bitsPerSample: 16, channelCount: 1, numberOfFrames: frameSamples })
      }
      const voice: Voice = {
        track,
        on: false,
        speak (recording) {
          if (recording.sampleRate !== sampleRate) throw new Error(`The speech must have ${sampleRate} samples a second`)
          speech = recording.samples
          at = 0
          return speech.length / sampleRate * 1000
        },
        close () {
          frames.delete(send)
          track.stop()
        }
      }
      frames.add(send)
      return voice
    },
    close () {
      clearInterval(timer)
    }
  }
}
