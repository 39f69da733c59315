import type { Profile } from '../../connections/session.ts'
import type { RoomRecord, RoomSummary, StoredDocument } from '../types.ts'

export interface MemoryRoom {
  record: RoomRecord
  pinHash: string | undefined
  /** The users by user key, in order of arrival. */
  users: Map<string, { place: number, profile: Profile, sockets: Set<string> }>
  lastActivityAt: number
  producers: number
  documents: Map<string, StoredDocument>
  /** Names of the documents that survive a restart. */
  durable: Set<string>
  /** By name. */
  logs: Map<string, string[]>
}

/** State that the parts of the memory store share. */
export interface MemoryRooms {
  all: Map<string, MemoryRoom>
  /** Rooms without members, with the time at which the last member left, in chronological order. */
  empty: Map<string, number>
}

export function summaryOf (room: MemoryRoom): RoomSummary {
  return { ...room.record, participantCount: room.users.size, producers: room.producers, lastActivityAt: room.lastActivityAt }
}
