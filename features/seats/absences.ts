import { setTimeout as delay } from 'node:timers/promises'
import { isCoded } from 'flylive-audio-server/feature'
import type { Logger } from 'flylive-audio-server/feature'

/** What follows for seats when somebody leaves, also when that can't be written down at once. */
export interface Absences {
  /**
   * Nobody waits for these changes, but a feature that closes: seats of users who
   * left would stay taken.
   *
   * @param change that leaving makes; where it fails, the room is looked at until that could be done
   */
  follow (roomId: string, change: Promise<void>): void
  /** Waits for changes that are on the way. */
  close (): Promise<void>
}

/** When a room is looked at again after that failed, in milliseconds. */
const retryMs = 1000

/** @param look finds who sits in a room without being there */
export function createAbsences (look: (roomId: string) => Promise<void>, log: Logger): Absences {
  const closing = new AbortController()
  const following = new Set<Promise<void>>()
  // Rooms that are to be looked at, and whether something failed there again meanwhile.
  const toLookAt = new Map<string, boolean>()

  async function lookUntilDone (roomId: string): Promise<void> {
    while (toLookAt.has(roomId)) {
      await delay(retryMs, undefined, { ref: false, signal: closing.signal })
      toLookAt.set(roomId, false)
      const done = await look(roomId).then(() => true, (error: unknown) => !isAway(error, roomId))
      if (done && toLookAt.get(roomId) === false) toLookAt.delete(roomId)
    }
  }

  /** Whether it may go well the next time. */
  function isAway (err: unknown, roomId: string): boolean {
    const code = isCoded(err) ? err.code : undefined
    if (code === undefined) log.error({ err, roomId }, 'a seat could not be cleared')
    return code === 'UNAVAILABLE'
  }

  async function settle (roomId: string, change: Promise<void>): Promise<void> {
    try {
      await change
    } catch (err) {
      if (!isAway(err, roomId)) return
      log.debug({ err, roomId }, 'seats follow once the store is back')
      const known = toLookAt.has(roomId)
      toLookAt.set(roomId, true)
      if (!known) await lookUntilDone(roomId).catch(() => { /* Closed. */ })
    }
  }

  return {
    follow (roomId, change) {
      const done = settle(roomId, change).finally(() => following.delete(done))
      following.add(done)
    },
    async close () {
      closing.abort()
      await Promise.all(following)
    }
  }
}
