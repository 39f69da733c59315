import wrtc from '@roamhq/wrtc'
import type { Test } from 'tap'
import type { RoomClient } from '../../client/index.ts'
// Sets the WebRTC globals.
import './wrtc.ts'

const { RTCAudioSink } = wrtc.nonstandard

/** Used as the user id of the mix. */
export const mixId = -1

/** The sound that a client in Node receives from each user. */
export interface Sound {
  /** @returns whether sound from the user has arrived within the last `ms` milliseconds */
  hears (userId: number, ms?: number): boolean
  /** When the last sound from the user arrived, on the clock of `performance.now()`. */
  lastSound (userId: number): number
  /** The longest time without sound from a user since {@link watch}, in milliseconds. */
  longestSilence (userId: number): number
  /** Resets {@link longestSilence}. */
  watch (): void
}

/** Measures the tracks that a client receives until the test ends. They must contain a tone (`createTone`). */
export function followSound (t: Test, room: RoomClient): Sound {
  const sounds = new Map<number, number>()
  const silences = new Map<number, number>()
  const sinks = new Map<MediaStreamTrack, { stop (): void }>()
  let watchedAt = performance.now()
  const note = (userId: number) => {
    const now = performance.now()
    silences.set(userId, Math.max(silences.get(userId) ?? 0, now - Math.max(sounds.get(userId) ?? now, watchedAt)))
    sounds.set(userId, now)
  }
  const follow = () => {
    for (const { userId, track } of room.audio?.heard ?? []) {
      if (sinks.has(track)) continue
      const sink = new RTCAudioSink(track)
      sinks.set(track, sink)
      sink.ondata = ({ samples }: { samples: Int16Array }) => { if (samples.some((sample) => sample > 2000)) note(Number(userId ?? mixId)) }
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
    lastSound: (userId) => sounds.get(userId) ?? -Infinity,
    hears: (userId, ms = 100) => performance.now() - (sounds.get(userId) ?? -Infinity) < ms,
    longestSilence: (userId) => Math.max(silences.get(userId) ?? 0, performance.now() - Math.max(sounds.get(userId) ?? 0, watchedAt)),
    watch () {
      watchedAt = performance.now()
      silences.clear()
    }
  }
}
