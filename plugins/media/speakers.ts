import type { types } from 'mediasoup'
import type { UserId } from '../connections/session.ts'

export interface ActiveSpeakers {
  /** The loudest active speaker; null if there is none. */
  userId: UserId | null
  activeSpeakers: UserId[]
  timestamp: number
}

export interface Speakers {
  /** The active speakers. */
  active (): UserId[]
  add (producerId: string): Promise<void>
  /** Removes a user immediately, without the hold time, because their producer was closed or paused. */
  remove (userId: UserId): void
  close (): void
}

/** Minimum loudness of an active speaker, in dBov. */
const thresholdDbov = -50
/** Interval between two measurements of the loudness, in milliseconds. */
const intervalMs = 200
/** A user stays an active speaker for this long after the last sound, in milliseconds, because speech has gaps. */
const holdMs = 1000
/** Maximum number of speakers per measurement. A room has at most 15 seats. */
const maxEntries = 15

/**
 * Detects the active speakers of a room.
 *
 * @param userOf returns the user who owns a producer
 * @param changed called when the set of active speakers changes
 */
export async function watchSpeakers (
  router: types.Router,
  userOf: (producerId: string) => UserId | undefined,
  changed: (speakers: ActiveSpeakers) => void
): Promise<Speakers> {
  const observer = await router.createAudioLevelObserver({ maxEntries, threshold: thresholdDbov, interval: intervalMs })
  const lastSoundAt = new Map<UserId, number>()
  let reported = ''
  let loudest: UserId | null = null
  let timer: NodeJS.Timeout | undefined

  function evaluate () {
    const now = Date.now()
    for (const [userId, at] of lastSoundAt) if (now - at >= holdMs) lastSoundAt.delete(userId)
    const activeSpeakers = [...lastSoundAt.keys()]
    if (loudest === null || !lastSoundAt.has(loudest)) loudest = activeSpeakers[0] ?? null
    const key = JSON.stringify(activeSpeakers.map(String).sort())
    if (key !== reported && !(reported === '' && activeSpeakers.length === 0)) {
      reported = key
      changed({ userId: loudest, activeSpeakers, timestamp: now })
    }
    clearTimeout(timer)
    if (lastSoundAt.size > 0) timer = setTimeout(evaluate, Math.max(...lastSoundAt.values()) + holdMs - now + 1)
  }

  observer.on('volumes', (volumes) => {
    const now = Date.now()
    let first = true
    for (const { producer } of volumes) {
      const userId = userOf(producer.id)
      if (userId === undefined) continue
      lastSoundAt.set(userId, now)
      if (first) loudest = userId
      first = false
    }
    evaluate()
  })
  observer.on('silence', evaluate)

  return {
    active: () => [...lastSoundAt.keys()],
    add: (producerId) => observer.addProducer({ producerId }),
    remove (userId) {
      if (lastSoundAt.delete(userId)) evaluate()
    },
    close () {
      clearTimeout(timer)
      observer.close()
    }
  }
}
