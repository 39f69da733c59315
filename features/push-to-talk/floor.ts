import { userId, z } from 'flylive-audio-server/feature'
import type { Decision, RoomStateHandle, UserId } from 'flylive-audio-server/feature'

// The floor is the right to talk in a channel; at most one user has the floor at a time. The floor is stored as room
// state, so all servers agree on who has the floor.

/** How long a user keeps the floor (the right to talk) after the user's last audio, in milliseconds. */
export const busyMs = 3000
/** Maximum duration of a talk (push-to-talk transmission), in milliseconds. */
export const maxTalkMs = 90_000
/** Maximum time in milliseconds for which a user can hold the floor, even while sending audio. */
export const hardReleaseMs = 95_000

const holder = z.object({
  talkId: z.string(),
  userId,
  userKey: z.string(),
  /** When the user took the floor, in epoch milliseconds. */
  since: z.number(),
  /** Time of the last audio, in epoch milliseconds. This time is updated at most once per second. */
  lastAudioAt: z.number()
})
export const floorState = z.object({ holder: holder.optional() })
export type FloorState = z.output<typeof floorState>
export type Holder = z.output<typeof holder>
export type FloorHandle = RoomStateHandle<FloorState>

type Change<R> = Decision<FloorState, R>

const floorEvent = (userId: UserId | null) => [{ type: 'ptt:floor', data: { userId } }]

/**
 * Takes the floor for a talk, unless another user holds the floor.
 *
 * @param lastAudioAt returns when this server last received audio from the holder's talk, in epoch milliseconds
 * @returns the decision, whose `result` is true if the talk now has the floor
 */
export function take (state: FloorState | undefined, talk: { talkId: string, userId: UserId, userKey: string }, now: number, lastAudioAt: (talkId: string) => number): Change<boolean> {
  const current = state?.holder
  const isOther = current !== undefined && current.userKey !== talk.userKey
  if (current && isOther && now - Math.max(current.lastAudioAt, lastAudioAt(current.talkId)) < busyMs && now - current.since < hardReleaseMs) return { result: false }
  const since = current && !isOther && now - current.since < hardReleaseMs ? current.since : now
  return {
    state: { holder: { ...talk, since, lastAudioAt: now } },
    events: isOther || !current ? floorEvent(talk.userId) : [],
    wakeAt: since + hardReleaseMs,
    result: true
  }
}

/**
 * Updates the time of a talk's last audio, if the talk has the floor.
 *
 * @returns the decision, whose `result` is true if the talk still has the floor
 */
export function renew (state: FloorState | undefined, talkId: string, now: number): Change<boolean> {
  const current = state?.holder
  return current?.talkId === talkId ? { state: { holder: { ...current, lastAudioAt: now } }, result: true } : { result: false }
}

/** Releases the floor if the given talk holds the floor. */
export function release (state: FloorState | undefined, talkId: string): Change<boolean> {
  return state?.holder?.talkId === talkId ? { state: {}, events: floorEvent(null), result: true } : { result: false }
}

/**
 * Releases the floor if a user has held the floor for {@link hardReleaseMs}.
 *
 * @returns the decision, whose `result` is the time of the next check, or undefined if the floor is free
 */
export function expire (state: FloorState | undefined, now: number): Change<number | undefined> {
  const current = state?.holder
  if (!current) return { result: undefined }
  const at = current.since + hardReleaseMs
  return at <= now ? { state: {}, events: floorEvent(null), result: undefined } : { result: at }
}
