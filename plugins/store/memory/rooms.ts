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
  /** By document name: the part of the document that survives a restart, as JSON. */
  kept: Map<string, string>
  /** The entries of each log, by log name. */
  logs: Map<string, string[]>
  /** By user key: until when a disconnected user can rejoin the locked room, in epoch milliseconds. */
  returning: Map<string, number>
  /** Keys of kicked users who have not left the room yet. After leaving, these users cannot return to a locked room. */
  kicked: Set<string>
  /** By log name and key of `Spacing`: the time of the last log entry with that key, in epoch milliseconds. */
  lastEntries: Map<string, number>
}

/** @returns which users the room admits; undefined if no host has locked or unlocked the room */
export function accessOf ({ documents }: MemoryRoom): RoomAccess | undefined {
  const document = documents.get(accessDocument)
  const access = document && JSON.parse(document.state) as RoomAccess
  return access?.admits === undefined ? undefined : access
}

/** Whether a host has locked the room, with or without a PIN. */
export const isHostLocked = (room: MemoryRoom): boolean => (accessOf(room)?.admits ?? 'everyone') !== 'everyone'

export const createMemoryRoom = (record: RoomRecord, pinHash: string | undefined): MemoryRoom => ({
  record, pinHash, users: new Map(), lastActivityAt: 0, producers: 0, documents: new Map(), kept: new Map(), logs: new Map(), returning: new Map(), kicked: new Set(), lastEntries: new Map()
})

/** State shared by the parts of the memory store. */
export interface MemoryRooms {
  all: Map<string, MemoryRoom>
  /** By room id: when the last member left the empty room. The entries are in chronological order. */
  empty: Map<string, number>
}

export function summaryOf (room: MemoryRoom): RoomSummary {
  return { ...room.record, participantCount: room.users.size, producers: room.producers, lastActivityAt: room.lastActivityAt }
}
