import type { FeatureInstance, LocalRoom, Session, z } from 'flylive-audio-server/feature'
import type { events } from './messages.ts'
import { createPendingCounts, createTally, drain, forget, intervalMs } from './tally.ts'
import type { Counts } from './tally.ts'

type Data<T extends keyof typeof events> = Omit<z.input<(typeof events)[T]>, 'roomId'>

export interface Reactions {
  /** Broadcasts a reaction to the room. In a room with many members, counts the reaction instead. */
  react (room: LocalRoom, session: Session, emoji: string): Promise<void>
  /** After a reload, continues the counts that the previous instance of the feature has begun. */
  takeOver (): void
  /** Drops the unsent counts of a closed room. */
  forget (roomId: string): void
}

/** @param coalesceOver rooms with more members than this number receive counts instead of individual reactions */
export function createReactions (app: FeatureInstance, coalesceOver: number): Reactions {
  const { cluster, rooms, store } = app
  const sizes = new WeakMap<LocalRoom, { members: Promise<number>, loadedAt: number }>()
  const send = (roomId: string, counts: Counts, local: boolean) => sendCounts(rooms, roomId, counts, local)
  const pending = app.keep('pending', createPendingCounts, (left) => {
    for (const [roomId, counts] of drain(left)) send(roomId, counts, false)
  })
  const tally = createTally(
    pending,
    (roomId) => cluster.tryLock(`reactions:${roomId}`, intervalMs),
    // If `tryLock` throws an error, only the members on this server receive the counts.
    send
  )

  /**
   * Returns the number of members in the room across all servers; the number is cached for 1 s. If the store is
   * unavailable, returns the number of members on this server.
   */
  function sizeOf (room: LocalRoom): Promise<number> {
    const now = performance.now()
    const cached = sizes.get(room)
    if (cached && now - cached.loadedAt < intervalMs) return cached.members
    const members = store.getRoom(room.roomId).then((found) => found?.participantCount ?? room.members.size, () => room.members.size)
    sizes.set(room, { members, loadedAt: now })
    return members
  }

  return {
    async react (room, session, emoji) {
      const { roomId } = room
      if (await sizeOf(room) > coalesceOver) return tally.add(roomId, emoji)
      rooms.emit(roomId, 'room:reaction', { userId: session.user.id, emoji } satisfies Data<'room:reaction'>)
      rooms.touch(roomId)
    },
    takeOver: tally.takeOver,
    forget: (roomId) => forget(pending, roomId)
  }
}

function sendCounts (rooms: FeatureInstance['rooms'], roomId: string, counts: Counts, local: boolean): void {
  rooms.emit(roomId, 'room:reactions', { counts: Object.fromEntries(counts) } satisfies Data<'room:reactions'>, { local })
  rooms.touch(roomId)
}
