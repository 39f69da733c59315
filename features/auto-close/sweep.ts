import type { FeatureInstance } from 'flylive-audio-server/feature'

/** Time between two looks, in milliseconds. A look asks for what is due, so it costs next to nothing when that is nothing. */
const lookMs = 1000
/** Rooms closed at a time. */
const batch = 500

/**
 * Closes rooms that have been empty for a while, with the reason `inactivity`.
 * They are found in an index ordered by the time at which the last one left, so
 * that a look costs as much as there is to close; rooms with people in them are
 * never looked at. Of several servers exactly one closes a room.
 *
 * @param idleMs how long a room waits for somebody to come back
 */
export function closeIdleRooms (app: Pick<FeatureInstance, 'log' | 'metrics' | 'rooms' | 'store'>, idleMs: number): { stop (): Promise<void> } {
  const { log, metrics, rooms, store } = app
  const closed = metrics.counter('flylive_rooms_auto_closed_total', 'Rooms closed because they were empty')
  let warned = false
  let running: Promise<void> | undefined
  let stopped = false

  async function sweep (): Promise<void> {
    const before = Date.now() - idleMs
    for (;;) {
      const due = await store.listEmptyRooms(before, batch)
      await Promise.all(due.map(async (roomId) => {
        if (await rooms.close(roomId, 'inactivity', true)) {
          closed.inc()
          log.debug({ roomId }, 'an empty room is closed')
        } else {
          // Somebody has come back, or another server was faster.
          await store.forgetEmptyRoom(roomId, before)
        }
      }))
      if (due.length < batch || stopped) return
    }
  }

  const timer = setInterval(() => {
    running ??= sweep()
      .then(() => { warned = false })
      .catch((err: unknown) => {
        if (!warned) log.warn({ err }, 'empty rooms are not closed while the store is away')
        warned = true
      })
      .finally(() => { running = undefined })
  }, lookMs)

  return {
    async stop () {
      stopped = true
      clearInterval(timer)
      await running
    }
  }
}
