import { RoomNotFound } from '../errors.ts'
import { sharedLog } from '../store.ts'
import type { StateStore } from '../store.ts'
import type { MemoryRooms } from './rooms.ts'
import type { SavedRooms } from './saved-rooms.ts'

export function createMemoryState ({ all }: MemoryRooms, saved: Pick<SavedRooms, 'save'>): StateStore {
  return {
    async swapDocument ({ roomId, name, expected, state, durable = false }) {
      const room = all.get(roomId)
      if (!room) throw new RoomNotFound(roomId)
      const document = room.documents.get(name)
      const version = document?.version ?? `${room.record.createdAt}.0`
      if (version !== expected) return { swapped: false, version, state: document?.state }
      if (state === undefined) return { swapped: true, version }
      const [epoch, number] = version.split('.')
      const next = { version: `${epoch}.${Number(number) + 1}`, state }
      room.documents.set(name, next)
      if (durable) {
        room.durable.add(name)
        await saved.save(room).catch((error: unknown) => {
          if (document) room.documents.set(name, document)
          else room.documents.delete(name)
          throw error
        })
      }
      return { swapped: true, version: next.version }
    },
    async readDocuments (roomIds, name) {
      return roomIds.map((roomId) => all.get(roomId)?.documents.get(name)?.state)
    },
    async appendLog (roomId, log, { entry, keep, now }) {
      const room = all.get(roomId)
      if (!room) return 0
      room.logs.set(log, [...room.logs.get(log) ?? [], entry].slice(-keep))
      room.lastActivityAt = now
      return 0
    },
    async readLog (roomId, log = sharedLog) {
      return [...all.get(roomId)?.logs.get(log) ?? []]
    }
  }
}
