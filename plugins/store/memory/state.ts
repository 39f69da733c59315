import { rateLimited } from '../../errors/codes.ts'
import { RoomNotFound } from '../errors.ts'
import { maxSpacingMs, sharedLog } from '../store.ts'
import type { Spacing, StateStore } from '../store.ts'
import type { MemoryRoom, MemoryRooms } from './rooms.ts'
import type { SavedRooms } from './saved-rooms.ts'

/** @throws RATE_LIMITED if the last entry with this key is too recent */
function space ({ documents, lastEntries }: MemoryRoom, { key, document, field }: Spacing, now: number): void {
  const text = documents.get(document)?.state
  const ms = text === undefined ? 0 : Number((JSON.parse(text) as Record<string, unknown>)[field] ?? 0)
  if (ms <= 0) return
  const waitMs = (lastEntries.get(key) ?? -Infinity) + ms - now
  if (waitMs > 0) throw rateLimited(waitMs)
  // The map's insertion order is chronological.
  for (const [other, at] of lastEntries) {
    if (now - at < maxSpacingMs) break
    lastEntries.delete(other)
  }
  lastEntries.delete(key)
  lastEntries.set(key, now)
}

function restore<V> (map: Map<string, V>, name: string, before: V | undefined): void {
  if (before === undefined) map.delete(name)
  else map.set(name, before)
}

export function createMemoryState ({ all }: MemoryRooms, saved: Pick<SavedRooms, 'save'>): StateStore {
  return {
    async swapDocument ({ roomId, name, expected, state, kept }) {
      const room = all.get(roomId)
      if (!room) throw new RoomNotFound(roomId)
      const document = room.documents.get(name)
      const version = document?.version ?? `${room.record.createdAt}.0`
      if (version !== expected) return { swapped: false, version, state: document?.state }
      if (state === undefined) return { swapped: true, version }
      const [epoch, number] = version.split('.')
      const next = { version: `${epoch}.${Number(number) + 1}`, state }
      room.documents.set(name, next)
      const before = room.kept.get(name)
      if (kept !== undefined && kept !== before) {
        room.kept.set(name, kept)
        await saved.save(room).catch((error: unknown) => {
          restore(room.documents, name, document)
          restore(room.kept, name, before)
          throw error
        })
      }
      return { swapped: true, version: next.version }
    },
    async readDocuments (roomIds, name) {
      return roomIds.map((roomId) => all.get(roomId)?.documents.get(name)?.state)
    },
    async appendLog (roomId, log, { entry, keep, now, spacing }) {
      const room = all.get(roomId)
      if (!room) return 0
      if (spacing) space(room, { ...spacing, key: `${log} ${spacing.key}` }, now)
      room.logs.set(log, [...room.logs.get(log) ?? [], entry].slice(-keep))
      room.lastActivityAt = now
      return 0
    },
    async removeFromLog (roomId, log, entry) {
      const entries = all.get(roomId)?.logs.get(log) ?? []
      const index = entries.indexOf(entry)
      if (index === -1) return
      entries.splice(index, 1)
      return 0
    },
    async readLog (roomId, log = sharedLog, last = Infinity) {
      return (all.get(roomId)?.logs.get(log) ?? []).slice(-last)
    }
  }
}
