import type { RecordStore } from '../store.ts'
import { summaryOf } from './rooms.ts'
import type { MemoryRoom, MemoryRooms } from './rooms.ts'
import type { SavedRooms } from './saved-rooms.ts'

export function createMemoryRecords ({ all, empty }: MemoryRooms, saved: Pick<SavedRooms, 'remove'>): RecordStore {
  const summaries = (ids: readonly string[]) => ids.map((id) => summaryOf(all.get(id) as MemoryRoom))

  return {
    async getRoom (roomId) {
      const room = all.get(roomId)
      return room && summaryOf(room)
    },
    getPinHash: async (roomId) => all.get(roomId)?.pinHash,
    async listRooms (after, limit) {
      return summaries([...all.keys()].filter((id) => id > after).sort().slice(0, limit))
    },
    async listBusyRooms (after, limit) {
      const busy = [...all].filter(([id, { users }]) => id > after && users.size > 0).map(([id]) => id).sort()
      const ids = busy.slice(0, limit)
      return { rooms: summaries(ids), next: busy.length > limit ? ids.at(-1) : undefined }
    },
    async listEmptyRooms (before, limit) {
      const due: string[] = []
      for (const [roomId, since] of empty) {
        if (since > before || due.length === limit) break
        due.push(roomId)
      }
      return due
    },
    async forgetEmptyRoom (roomId, before) {
      if (all.get(roomId)?.users.size !== 0 && (empty.get(roomId) ?? Infinity) <= before) empty.delete(roomId)
    },
    async touchRoom (roomId, now, producers) {
      const room = all.get(roomId)
      if (!room) return
      room.lastActivityAt = now
      room.producers = producers ?? room.producers
    },
    async removeRoom (roomId, onlyIfEmpty = false) {
      const room = all.get(roomId)
      if (!room || (onlyIfEmpty && room.users.size > 0)) return
      all.delete(roomId)
      await saved.remove(roomId).catch((error: unknown) => {
        if (!all.has(roomId)) all.set(roomId, room)
        throw error
      })
      if (!all.has(roomId)) empty.delete(roomId)
      return room.record
    }
  }
}
