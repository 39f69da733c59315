import type { Profile } from '../../connections/session.ts'
import { accessDocument } from '../types.ts'
import type { RoomAccess, RoomRecord, RoomSummary, StoredDocument } from '../types.ts'

export interface MemoryRoom {
  record: RoomRecord
  pinHash: string | undefined
  /** The users by user key, in order of arrival. */
  users: Map<string, { place: number, profile: Profile, sockets: Set<string> }>
  lastActivityAt: number
  producers: number
  documents: Map<string, StoredDocument>
  /** The part of each document that survives a restart, as JSON, by document name. */
  kept: Map<string, string>
  /** The entries of each log, by log name. */
  logs: Map<string, string[]>
  /** Deadlines for disconnected users to rejoin the locked room, in epoch milliseconds, by user key. */
  returning: Map<string, number>
  /** Time of the last log entry per key, in epoch milliseconds; see `Spacing`. */
  lastEntries: Map<string, number>
}

/** @returns which users the room admits; undefined if no host has locked or unlocked it */
export function accessOf ({ documents }: MemoryRoom): RoomAccess | undefined {
  const document = documents.get(accessDocument)
  const access = document && JSON.parse(document.state) as RoomAccess
  return access?.admits === undefined ? undefined : access
}

export const createMemoryRoom = (record: RoomRecord, pinHash: string | undefined): MemoryRoom => ({
  record, pinHash, users: new Map(), lastActivityAt: 0, producers: 0, documents: new Map(), kept: new Map(), logs: new Map(), returning: new Map(), lastEntries: new Map()
})

/** State shared by the parts of the memory store. */
export interface MemoryRooms {
  all: Map<string, MemoryRoom>
  /** When the last member left each empty room, by room id, in chronological order. */
  empty: Map<string, number>
}

export function summaryOf (room: MemoryRoom): RoomSummary {
  return { ...room.record, participantCount: room.users.size, producers: room.producers, lastActivityAt: room.lastActivityAt }
}
