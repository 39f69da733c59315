import type { FeatureInstance } from 'flylive-audio-server/feature'

const sweepIntervalMs = 1000
/** Maximum number of empty rooms that one store query returns. */
const batchSize = 500

/**
 * Periodically closes rooms that have been empty for `idleMs`, with the reason `inactivity`. The store indexes empty
 * rooms by the time at which they became empty, so a sweep reads only rooms that it must close. If several servers
 * sweep at the same time, only one of them closes each room.
 *
 * @param idleMs how long an empty room stays open, in milliseconds
 */
export function closeIdleRooms (app: Pick<FeatureInstance, 'clock' | 'log' | 'metrics' | 'rooms' | 'store'>, idleMs: number): { stop (): Promise<void> } {
  const { clock, log, metrics, rooms, store } = app
  const closed = metrics.counter('flylive_rooms_auto_closed_total', 'Rooms closed because they were empty')
  let warned = false
  let running: Promise<void> | undefined
  let stopped = false

  async function sweep (): Promise<void> {
    const before = clock.now() - idleMs
    for (;;) {
      const due = await store.listEmptyRooms(before, batchSize)
      await Promise.all(due.map(async (roomId) => {
        if (await rooms.close(roomId, 'inactivity', true)) {
          closed.inc()
          log.debug({ roomId }, 'empty room closed')
        } else {
          // The room was not closed, because a user has joined it or another server has closed it already.
          await store.forgetEmptyRoom(roomId, before)
        }
      }))
      if (due.length < batchSize || stopped) return
    }
  }

  const timer = setInterval(() => {
    running ??= sweep()
      .then(() => { warned = false })
      .catch((err: unknown) => {
        if (!warned) log.warn({ err }, 'sweep of empty rooms failed, retrying')
        warned = true
      })
      .finally(() => { running = undefined })
  }, sweepIntervalMs)

  return {
    async stop () {
      stopped = true
      clearInterval(timer)
      await running
    }
  }
}
