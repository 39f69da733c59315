import { RTCAudioSource } from './webrtc.ts'
import type { Recording } from './wav.ts'

/** Frame length of WebRTC audio sources, in milliseconds. */
const frameMs = 10
/**
 * Interval between ticks, in milliseconds. Two frames make a packet. Sending both frames in one tick halves the CPU
 * time that waking threads takes.
 */
const tickMs = 20
/**
 * After the process was blocked, the talker plays at most this much of the missed audio, in milliseconds. The rest of
 * that audio is dropped.
 */
const catchUpMs = 300
const sampleRate = 16_000
const frameSamples = sampleRate * frameMs / 1000

/** A microphone that plays recordings. */
export interface Voice {
  readonly track: MediaStreamTrack
  /**
   * Plays a recording. Stops the recording that is playing, if any.
   *
   * @returns the recording's duration in milliseconds
   */
  speak (recording: Recording): number
  /** Whether the track is in use. An unused track takes no CPU time. */
  on: boolean
  close (): void
}

export interface Voices {
  create (): Voice
  close (): void
}

/** Creates microphones that share one timer. */
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

      /**
       * Returns the next frame. Between recordings, the frame contains silence, because a real microphone also sends
       * frames while nobody speaks.
       */
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
          if (recording.sampleRate !== sampleRate) throw new Error(`Recordings must have ${sampleRate} samples per second`)
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
