import type { FeatureInstance, LocalRoom, Session, z } from 'flylive-audio-server/feature'
import type { events } from './messages.ts'
import { createTally, intervalMs } from './tally.ts'
import type { Counts } from './tally.ts'

type Data<T extends keyof typeof events> = Omit<z.input<(typeof events)[T]>, 'roomId'>

export interface Reactions {
  /** Tells a room of a reaction: by itself, or with the others of its second where the room is big. */
  react (room: LocalRoom, session: Session, emoji: string): Promise<void>
  /** For the generation before alone: what it has not told yet is told by this one. */
  adopt (roomId: string, counts: Counts): void
  /** A room is closed: there is nobody to tell. */
  forget (roomId: string): void
  /** Hands on what is still to be told, or tells it where nobody is there to do so. */
  close (): void
}

/** @param coalesceOver rooms with more members than this are big */
export function createReactions (app: FeatureInstance, coalesceOver: number): Reactions {
  const { features, rooms, store } = app
  const sizes = new WeakMap<LocalRoom, { members: Promise<number>, askedAt: number }>()
  const tally = createTally(
    (roomId) => store.claim(`reactions:${roomId}`, intervalMs),
    // Who can't ask whose turn it is speaks to the members here only.
    (roomId, counts, alone) => tell(roomId, counts, alone)
  )

  function tell (roomId: string, counts: Counts, local: boolean): void {
    rooms.emit(roomId, 'room:reactions', { counts: Object.fromEntries(counts) } satisfies Data<'room:reactions'>, { local })
    rooms.touch(roomId)
  }

  /** Members on all servers; asked for once a second at most, and those here while nobody can be asked. */
  function sizeOf (room: LocalRoom): Promise<number> {
    const now = performance.now()
    const known = sizes.get(room)
    if (known && now - known.askedAt < intervalMs) return known.members
    const members = store.getRoom(room.roomId).then((found) => found?.participantCount ?? room.members.size, () => room.members.size)
    sizes.set(room, { members, askedAt: now })
    return members
  }

  const service: Reactions = {
    async react (room, session, emoji) {
      const { roomId } = room
      if (await sizeOf(room) > coalesceOver) return tally.add(roomId, new Map([[emoji, 1]]))
      rooms.emit(roomId, 'room:reaction', { userId: session.user.id, emoji } satisfies Data<'room:reaction'>)
      rooms.touch(roomId)
    },
    adopt: (roomId, counts) => tally.add(roomId, counts),
    forget: (roomId) => tally.forget(roomId),
    close () {
      // After a reload this is the next generation, whose code may be another.
      const next = features.getFeature<Partial<Reactions>>('reactions')
      for (const [roomId, counts] of tally.close()) {
        if (next !== service && typeof next?.adopt === 'function') next.adopt(roomId, counts)
        else tell(roomId, counts, false)
      }
    }
  }
  return service
}
