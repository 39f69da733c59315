import type { Namespace } from '../../kv/kv.ts'
import { returnMs } from '../types.ts'
import type { RoomRecord, StoredDocument } from '../types.ts'
import { createMemoryRoom, isHostLocked } from './rooms.ts'
import type { MemoryRoom, MemoryRooms } from './rooms.ts'

/** The parts of a room that survive a restart. */
interface SavedRoom {
  record: RoomRecord
  pinHash?: string | undefined
  /** By document name: the part of the document that survives a restart. */
  documents: Record<string, StoredDocument>
  /** Keys of the users who are allowed to return after a restart, if a host has locked the room. */
  returning?: string[] | undefined
}

/** Saves rooms to disk: their records, PINs, and the parts of their documents that survive a restart. */
export interface SavedRooms {
  /** @throws UNAVAILABLE if the disk cannot be written to */
  save (room: MemoryRoom): Promise<void>
  /** @throws UNAVAILABLE if the disk cannot be written to */
  remove (roomId: string): Promise<void>
  /**
   * Restores the saved rooms after a restart, without members.
   *
   * @param now the time to store as the time when the rooms became empty, in epoch milliseconds
   * @throws UNAVAILABLE if the disk cannot be read
   */
  restore (rooms: MemoryRooms, now: number): Promise<void>
}

export function createSavedRooms (saved: Namespace): SavedRooms {
  return {
    async save (room) {
      const { record, pinHash, documents, kept, users, returning, kicked } = room
      const saving = Object.fromEntries([...documents].flatMap(([name, { version }]) => {
        const state = kept.get(name)
        return state === undefined ? [] : [[name, { version, state }]]
      }))
      const mayReturn = isHostLocked(room) ? [...new Set([...users.keys(), ...returning.keys()]).difference(kicked)] : undefined
      await saved.set(record.roomId, JSON.stringify({ record, pinHash, documents: saving, returning: mayReturn } satisfies SavedRoom))
    },
    async remove (roomId) {
      await saved.delete(roomId)
    },
    async restore ({ all, empty }, now) {
      for (const text of await saved.getMany(await saved.list())) {
        if (text === undefined) continue
        const { record, pinHash, documents, returning = [] } = JSON.parse(text) as SavedRoom
        const { roomId } = record
        all.set(roomId, {
          ...createMemoryRoom(record, pinHash),
          lastActivityAt: now,
          documents: new Map(Object.entries(documents)),
          kept: new Map(Object.entries(documents).map(([name, { state }]) => [name, state])),
          returning: new Map(returning.map((userKey) => [userKey, now + returnMs]))
        })
        empty.set(roomId, now)
      }
    }
  }
}
