import type { FeatureInstance, LocalRoom, Session, z } from 'flylive-audio-server/feature'
import type { events } from './messages.ts'
import { createPendingCounts, createTally, drain, forget, intervalMs } from './tally.ts'
import type { Counts } from './tally.ts'

type Data<T extends keyof typeof events> = Omit<z.input<(typeof events)[T]>, 'roomId'>

export interface Reactions {
  /** Tells a room of a reaction: by itself, or with the others of its second where the room is big. */
  react (room: LocalRoom, session: Session, emoji: string): Promise<void>
  /** Sends the counts of big rooms from now on, also those that the previous generation has left. */
  takeOver (): void
  /** Drops the counts of a room that is closed. */
  forget (roomId: string): void
}

/** @param coalesceOver rooms with more members than this are big */
export function createReactions (app: FeatureInstance, coalesceOver: number): Reactions {
  const { cluster, rooms, store } = app
  const sizes = new WeakMap<LocalRoom, { members: Promise<number>, askedAt: number }>()
  const send = (roomId: string, counts: Counts, local: boolean) => sendCounts(rooms, roomId, counts, local)
  const pending = app.keep('pending', createPendingCounts, (left) => {
    for (const [roomId, counts] of drain(left)) send(roomId, counts, false)
  })
  const tally = createTally(
    pending,
    (roomId) => cluster.tryLock(`reactions:${roomId}`, intervalMs),
    // Without the store, only the members on this server receive them.
    send
  )

  /** Members on all servers; asked for once a second at most, and those here while nobody can be asked. */
  function sizeOf (room: LocalRoom): Promise<number> {
    const now = performance.now()
    const known = sizes.get(room)
    if (known && now - known.askedAt < intervalMs) return known.members
    const members = store.getRoom(room.roomId).then((found) => found?.participantCount ?? room.members.size, () => room.members.size)
    sizes.set(room, { members, askedAt: now })
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
