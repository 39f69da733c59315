import type { Profile, UserId } from '../connections/session.ts'

/** The record of a room. */
export interface RoomRecord {
  roomId: string
  /** Assigned by the server; clients cannot set it. */
  ownerId: UserId
  /** Epoch milliseconds. */
  createdAt: number
  /** Values of feature fields (`messages.accepts('room:join', …)`) in the join that created the room. */
  options: Readonly<Record<string, unknown>>
  /** Whether a join requires a PIN. */
  locked: boolean
}

export interface JoinCommand {
  roomId: string
  sessionId: string
  userKey: string
  profile: Profile
  /** Maximum users in the room. A member may join with more sockets. */
  limit: number
  /** Hash of the PIN in the request. */
  pinHash?: string | undefined
  /** The room to create if it does not exist. Without it, the join fails if the room does not exist. */
  create?: RoomRecord | undefined
  now: number
}

export interface JoinResult {
  room: RoomRecord
  created: boolean
  /** Whether this is the user's first socket in the room. */
  firstOfUser: boolean
  /** Users in the room, including this one. */
  count: number
  /** The first {@link participantsTold} of them, in order of arrival. */
  participants: Profile[]
  /** All documents of the room, by name. */
  documents: ReadonlyMap<string, StoredDocument>
}

export interface LeaveResult {
  /** Whether it was the user's last socket in the room. */
  lastOfUser: boolean
  count: number
}

/** One part of a room's state, as text. */
export interface StoredDocument {
  /**
   * `<createdAt of the room>.<number>`. The number increases with each change. On Redis it is at least
   * the time of the change in microseconds, so that versions after a loss are newer than all lost
   * versions.
   */
  version: string
  /** JSON. */
  state: string
}

/** A message that the store publishes in the same step as a change. Opaque to the store; the caller encodes it. */
export interface Publication {
  channel: string
  payload: string
}

export interface SwapCommand {
  roomId: string
  name: string
  /** The version that the document must have; with number 0, the document must not exist. */
  expected: string
  /** The new state, JSON; undefined to check the version only. */
  state?: string | undefined
  /** Published with a change. The new version is appended to the payload as a last line. */
  publish?: Publication | undefined
}

/** Whether the version was the expected one, and the current version. If there is no document, its number is 0. */
export type SwapResult = { swapped: true, version: string } | { swapped: false, version: string, state: string | undefined }

export interface RoomSummary extends RoomRecord {
  participantCount: number
  producers: number
  lastActivityAt: number
}

/** One page of the rooms that have members. */
export interface RoomPage {
  rooms: RoomSummary[]
  /** The id after which the next page starts; undefined on the last page. */
  next: string | undefined
}

/** A user in a room, and the user's position in the order of arrival. */
export interface Arrival {
  /** Unique in the room; grows with each arrival. A user who leaves and joins again gets a new one. */
  place: number
  profile: Profile
}

/** The members that a room has on one server, and that server's view of the room. */
export interface NodeMembers {
  room: RoomRecord
  pinHash?: string | undefined
  members: readonly { sessionId: string, userKey: string, profile: Profile }[]
  /** Documents by name. Those that the store has lost, or has in an older version, are restored. */
  documents: ReadonlyMap<string, StoredDocument>
  /** Published if the store had lost data, because other servers may have newer state. */
  publish?: Publication | undefined
}

/** How a correction of one server's members changed the room. */
export interface MembersChange {
  joined: Profile[]
  left: Profile[]
  count: number
}

/** The result of writing one server's members. */
export interface WrittenMembers extends MembersChange {
  /** Set if the room was closed while this server was disconnected. Then nothing was written. */
  closed?: boolean
  /** All documents the room has now. */
  documents: ReadonlyMap<string, StoredDocument>
}

/** Maximum participants in the reply to a join (protocol.md, room:join). */
export const participantsTold = 100
