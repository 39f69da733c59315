import wrtc from '@roamhq/wrtc'
import type { Test } from 'tap'
import type { RoomClient } from '../../client/index.ts'
import { amplitudeOf } from './goertzel.ts'
import { createStallClock } from './stall-clock.ts'
// Sets the WebRTC classes.
import './wrtc.ts'

const { RTCAudioSink } = wrtc.nonstandard

/** The user id that represents the mix. */
export const mixId = -1

/** Quieter blocks count as silence. The tones of `createTone` have an amplitude of 8000. */
const threshold = 2000

/** The sound that a client in Node receives from each user. */
export interface Sound {
  /**
   * @returns whether sound from the user arrived within the last `ms` milliseconds, not counting stalls of this process
   */
  hears (userId: number, ms?: number): boolean
  /** When the last sound from the user arrived, as a `performance.now()` value. */
  lastSound (userId: number): number
  /**
   * A user's longest silence since {@link watch}, in milliseconds. Excludes stalls of this process, because the
   * speakers' tones also pause during a stall.
   */
  longestSilence (userId: number): number
  /** Resets {@link longestSilence}. */
  watch (): void
}

interface Block {
  samples: Int16Array
  sampleRate: number
  channelCount?: number
}

/**
 * Follows the tracks that a client receives, until the test ends. The tracks must carry a tone (`createTone`).
 *
 * @param tones each user's frequency in hertz, by user id. The mix identifies these users by their tones
 */
export function followSound (t: Test, room: RoomClient, tones: Readonly<Record<number, number>> = {}): Sound {
  const clock = createStallClock(t)
  /** When each user's last sound arrived: `at` is a `performance.now()` value, `time` is from the stall clock. */
  const sounds = new Map<number, { at: number, time: number }>()
  const silences = new Map<number, number>()
  const sinks = new Map<MediaStreamTrack, { stop (): void }>()
  let watchedAt = clock.now()
  const silenceOf = (userId: number) => clock.now() - Math.max(sounds.get(userId)?.time ?? watchedAt, watchedAt)
  const note = (userId: number) => {
    silences.set(userId, Math.max(silences.get(userId) ?? 0, sounds.has(userId) ? silenceOf(userId) : 0))
    sounds.set(userId, { at: performance.now(), time: clock.now() })
  }
  const receive = (userId: number, { samples, sampleRate, channelCount = 1 }: Block) => {
    if (!samples.some((sample) => sample > threshold)) return
    note(userId)
    if (userId !== mixId) return
    const mono = samples.filter((_, i) => i % channelCount === 0)
    for (const [id, hz] of Object.entries(tones)) if (amplitudeOf(mono, hz, sampleRate) > threshold) note(Number(id))
  }
  const follow = () => {
    for (const { userId, track } of room.audio?.heard ?? []) {
      if (sinks.has(track)) continue
      const sink = new RTCAudioSink(track)
      sinks.set(track, sink)
      sink.ondata = (block: Block) => receive(Number(userId ?? mixId), block)
    }
  }
  const stops = [
    room.audio?.on('added', follow),
    room.audio?.on('removed', ({ track }) => {
      sinks.get(track)?.stop()
      sinks.delete(track)
    })
  ]
  const timer = setInterval(follow, 20)
  follow()
  t.teardown(() => {
    for (const stop of stops) stop?.()
    clearInterval(timer)
    for (const sink of sinks.values()) sink.stop()
  })
  return {
    lastSound: (userId) => sounds.get(userId)?.at ?? -Infinity,
    hears: (userId, ms = 250) => clock.now() - (sounds.get(userId)?.time ?? -Infinity) < ms,
    longestSilence: (userId) => Math.max(silences.get(userId) ?? 0, silenceOf(userId)),
    watch () {
      watchedAt = clock.now()
      silences.clear()
    }
  }
}
