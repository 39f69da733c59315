import { setTimeout as delay } from 'node:timers/promises'
import { isCoded } from 'flylive-audio-server/feature'
import type { Logger } from 'flylive-audio-server/feature'

/**
 * Handles failed seat changes for users who disconnect or leave: if the store is unavailable, checks the room's seats
 * later.
 */
export interface DisconnectGrace {
  /**
   * Returns immediately and tracks the change in the background.
   *
   * @param change a seat change in progress; if the change fails with UNAVAILABLE, the room is checked every second
   *   until a check succeeds
   */
  track (roomId: string, change: Promise<void>): void
  /** Stops the retries and waits for the changes in progress. */
  close (): Promise<void>
}

const retryIntervalMs = 1000

/** @param checkRoom starts the grace period of users who have a seat or a request but are not in the room */
export function createDisconnectGrace (checkRoom: (roomId: string) => Promise<void>, log: Logger): DisconnectGrace {
  const closing = new AbortController()
  const inProgress = new Set<Promise<void>>()
  // The rooms to check. The value in the map is true if another change has failed since the room's last check began.
  const roomsToCheck = new Map<string, boolean>()

  async function checkUntilDone (roomId: string): Promise<void> {
    while (roomsToCheck.has(roomId)) {
      await delay(retryIntervalMs, undefined, { ref: false, signal: closing.signal })
      roomsToCheck.set(roomId, false)
      const done = await checkRoom(roomId).then(() => true, (error: unknown) => !isRetryable(error, roomId))
      if (done && roomsToCheck.get(roomId) === false) roomsToCheck.delete(roomId)
    }
  }

  /**
   * Logs unexpected errors.
   *
   * @returns whether the store was unavailable
   */
  function isRetryable (err: unknown, roomId: string): boolean {
    const code = isCoded(err) ? err.code : undefined
    if (code === undefined) log.error({ err, roomId }, 'failed to release a seat')
    return code === 'UNAVAILABLE'
  }

  async function settle (roomId: string, change: Promise<void>): Promise<void> {
    try {
      await change
    } catch (err) {
      if (!isRetryable(err, roomId)) return
      log.debug({ err, roomId }, 'store unavailable, will check seats later')
      const isScheduled = roomsToCheck.has(roomId)
      roomsToCheck.set(roomId, true)
      if (!isScheduled) await checkUntilDone(roomId).catch(() => { /* The feature is closing. */ })
    }
  }

  return {
    track (roomId, change) {
      const done = settle(roomId, change).finally(() => inProgress.delete(done))
      inProgress.add(done)
    },
    async close () {
      closing.abort()
      await Promise.all(inProgress)
    }
  }
}
