import type { Namespace } from '../../kv/kv.ts'
import type { RoomRecord, StoredDocument } from '../types.ts'
import type { MemoryRoom, MemoryRooms } from './rooms.ts'

/** The parts of a room that survive a restart. */
interface SavedRoom {
  record: RoomRecord
  pinHash?: string | undefined
  /** Durable documents by name. */
  documents: Record<string, StoredDocument>
}

/** Copies rooms to the disk: their records, PINs and durable documents. */
export interface SavedRooms {
  /** @throws UNAVAILABLE if the disk cannot be written */
  save (room: MemoryRoom): Promise<void>
  /** A room that cannot be removed is restored after a restart, without members. */
  remove (roomId: string): Promise<void>
  /**
   * Restores the saved rooms after a restart. The restored rooms have no members.
   *
   * @param now when the rooms became empty, epoch milliseconds
   * @throws UNAVAILABLE if the disk cannot be read
   */
  restore (rooms: MemoryRooms, now: number): Promise<void>
}

export function createSavedRooms (saved: Namespace): SavedRooms {
  return {
    async save ({ record, pinHash, documents, durable }) {
      const kept = Object.fromEntries([...documents].filter(([name]) => durable.has(name)))
      await saved.set(record.roomId, JSON.stringify({ record, pinHash, documents: kept } satisfies SavedRoom))
    },
    async remove (roomId) {
      await saved.delete(roomId).catch(() => { /* The room is restored after a restart, and then closed because it is empty. */ })
    },
    async restore ({ all, empty }, now) {
      for (const text of await saved.getMany(await saved.list())) {
        if (text === undefined) continue
        const { record, pinHash, documents } = JSON.parse(text) as SavedRoom
        const { roomId } = record
        all.set(roomId, {
          record,
          pinHash,
          users: new Map(),
          lastActivityAt: now,
          producers: 0,
          documents: new Map(Object.entries(documents)),
          durable: new Set(Object.keys(documents)),
          logs: new Map()
        })
        empty.set(roomId, now)
      }
    }
  }
}
