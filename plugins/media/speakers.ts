import type { types } from 'mediasoup'
import type { UserId } from '../connections/user.ts'

export interface ActiveSpeakers {
  /** The loudest of them; null when nobody speaks. */
  userId: UserId | null
  activeSpeakers: UserId[]
  timestamp: number
}

export interface Speakers {
  /** Who speaks now. */
  active (): UserId[]
  add (producerId: string): Promise<void>
  /** A user has stopped for good; it does not wait for the hold. */
  remove (userId: UserId): void
  close (): void
}

/** Loudness from which somebody counts as speaking, in dBov. */
const thresholdDbov = -50
/** How often loudness is looked at, in milliseconds (contracts: active-speaker interval). */
const intervalMs = 200
/** Speech has gaps: somebody counts as speaking for so long after the last sound, in milliseconds. */
const holdMs = 1000
/** Most speakers looked at; there are at most 15 seats. */
const maxEntries = 15

/**
 * Watches who speaks in a room.
 *
 * @param userOf the user behind a producer
 * @param changed told when the set of speakers is another one
 */
export async function watchSpeakers (
  router: types.Router,
  userOf: (producerId: string) => UserId | undefined,
  changed: (speakers: ActiveSpeakers) => void
): Promise<Speakers> {
  const observer = await router.createAudioLevelObserver({ maxEntries, threshold: thresholdDbov, interval: intervalMs })
  const heardAt = new Map<UserId, number>()
  let told = ''
  let loudest: UserId | null = null
  let timer: NodeJS.Timeout | undefined

  function evaluate () {
    const now = Date.now()
    for (const [userId, at] of heardAt) if (now - at >= holdMs) heardAt.delete(userId)
    const activeSpeakers = [...heardAt.keys()]
    if (loudest === null || !heardAt.has(loudest)) loudest = activeSpeakers[0] ?? null
    const key = JSON.stringify(activeSpeakers.map(String).sort())
    if (key !== told && !(told === '' && activeSpeakers.length === 0)) {
      told = key
      changed({ userId: loudest, activeSpeakers, timestamp: now })
    }
    clearTimeout(timer)
    if (heardAt.size > 0) timer = setTimeout(evaluate, Math.max(...heardAt.values()) + holdMs - now + 1)
  }

  observer.on('volumes', (volumes) => {
    const now = Date.now()
    let first = true
    for (const { producer } of volumes) {
      const userId = userOf(producer.id)
      if (userId === undefined) continue
      heardAt.set(userId, now)
      if (first) loudest = userId
      first = false
    }
    evaluate()
  })
  observer.on('silence', evaluate)

  return {
    active: () => [...heardAt.keys()],
    add: (producerId) => observer.addProducer({ producerId }),
    remove (userId) {
      if (heardAt.delete(userId)) evaluate()
    },
    close () {
      clearTimeout(timer)
      observer.close()
    }
  }
}
