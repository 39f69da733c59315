import type { types } from 'mediasoup'
import type { UserId } from '../connections/session.ts'

export interface ActiveSpeakers {
  /** The loudest active speaker; null if there is none. */
  userId: UserId | null
  activeSpeakers: UserId[]
  /** The last measured loudness (0 to 1) of each active speaker, in the order of `activeSpeakers`. */
  levels: number[]
  timestamp: number
}

export interface Speakers {
  /** The active speakers. */
  active (): UserId[]
  /** The last measured loudness (0 to 1) of each active speaker, in the order of {@link active}. */
  levels (): number[]
  add (producerId: string): Promise<void>
  /** Immediately removes a user whose producer was closed or paused, without waiting for the hold time. */
  remove (userId: UserId): void
  close (): void
}

/** Minimum loudness of an active speaker, in dBov. */
const thresholdDbov = -50
/** Interval between measurements of the loudness, in milliseconds. */
const intervalMs = 200
/**
 * How long a user stays an active speaker after the last sound, in milliseconds. Without this time, the gaps in speech
 * would end the activity.
 */
const holdMs = 1000
/** Maximum number of speakers per measurement, because a room has at most 15 seats. */
const maxEntries = 15

/** @returns the level (0 to 1) for a loudness in dBov */
const levelOf = (dBov: number) => Math.round(10 ** (dBov / 20) * 1000) / 1000

/**
 * Detects a room's active speakers.
 *
 * @param userOf returns a producer's owner
 * @param changed called when the set of active speakers changes
 */
export async function watchSpeakers (
  router: types.Router,
  userOf: (producerId: string) => UserId | undefined,
  changed: (speakers: ActiveSpeakers) => void
): Promise<Speakers> {
  const observer = await router.createAudioLevelObserver({ maxEntries, threshold: thresholdDbov, interval: intervalMs })
  const lastSound = new Map<UserId, { at: number, level: number }>()
  let reported = ''
  let loudest: UserId | null = null
  let timer: NodeJS.Timeout | undefined

  function evaluate () {
    const now = Date.now()
    for (const [userId, { at }] of lastSound) if (now - at >= holdMs) lastSound.delete(userId)
    const activeSpeakers = [...lastSound.keys()]
    if (loudest === null || !lastSound.has(loudest)) loudest = activeSpeakers[0] ?? null
    const key = JSON.stringify(activeSpeakers.map(String).sort())
    if (key !== reported && !(reported === '' && activeSpeakers.length === 0)) {
      reported = key
      changed({ userId: loudest, activeSpeakers, levels: [...lastSound.values()].map(({ level }) => level), timestamp: now })
    }
    clearTimeout(timer)
    if (lastSound.size > 0) timer = setTimeout(evaluate, Math.max(...[...lastSound.values()].map(({ at }) => at)) + holdMs - now + 1)
  }

  observer.on('volumes', (volumes) => {
    const now = Date.now()
    let first = true
    for (const { producer, volume } of volumes) {
      const userId = userOf(producer.id)
      if (userId === undefined) continue
      lastSound.set(userId, { at: now, level: levelOf(volume) })
      if (first) loudest = userId
      first = false
    }
    evaluate()
  })
  observer.on('silence', evaluate)

  return {
    active: () => [...lastSound.keys()],
    levels: () => [...lastSound.values()].map(({ level }) => level),
    add: (producerId) => observer.addProducer({ producerId }),
    remove (userId) {
      if (lastSound.delete(userId)) evaluate()
    },
    close () {
      clearTimeout(timer)
      observer.close()
    }
  }
}
