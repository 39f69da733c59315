import type { Profile, UserId } from '../connections/session.ts'

/** A room's record. */
export interface RoomRecord {
  roomId: string
  /** The server determines the owner; clients cannot set this field. */
  ownerId: UserId
  /** Epoch milliseconds. */
  createdAt: number
  /**
   * The values of the fields that features add to `room:join` (with `messages.accepts`), from the join that created the
   * room.
   */
  options: Readonly<Record<string, unknown>>
  /**
   * True if the room was created with a PIN. A host may have changed the lock since then; see
   * {@link RoomAccess}.
   */
  locked: boolean
  /**
   * True if the PIN was chosen before the first member joined; see the `room:reserved` hook. The room's owner does not
   * need such a PIN.
   */
  reserved?: boolean | undefined
  /** The title from the join that created the room. A host may have changed the title since then. */
  title?: string | undefined
  topic?: string | undefined
  /** The owner's name, if the owner created the room. */
  ownerName?: string | undefined
}

/** Which users a room admits. Stored in the document {@link accessDocument}. */
export interface RoomAccess {
  /**
   * Undefined until a host locks or unlocks the room; until then, the PIN from the join that created the room applies.
   * `pin`: users with the PIN. `nobody`: no new users. In both cases, a user who is already in the room, or whose
   * connection broke less than {@link returnMs} ago, can join without a PIN.
   */
  admits?: 'everyone' | 'pin' | 'nobody' | undefined
  /** The hash of the PIN, if `admits` is `pin`. */
  pinHash?: string | undefined
}

/** The name of the document that contains a room's {@link RoomAccess}, title and topic. */
export const accessDocument = 'details'

/** How long users can return to a locked room after their connection broke, in milliseconds. */
export const returnMs = 60_000

/** A ban from a room. */
export interface Ban {
  userId: UserId
  /** Epoch milliseconds. */
  until: number
  /** Id of the member who banned the user; null if an admin (over REST) or the backend banned the user. */
  by: UserId | null
}

/** Options of a ban. */
export interface BanOptions {
  /**
   * The user's id for lists of bans, with the type (number or string) that it has in the user's token. Default: the
   * user's key.
   */
  userId?: UserId | undefined
  by?: UserId | undefined
  /** Maximum number of bans per room. */
  limit?: number | undefined
}

export interface JoinCommand {
  roomId: string
  sessionId: string
  userKey: string
  profile: Profile
  /** Maximum users in the room. Further sockets of a user who is already in the room do not count. */
  limit: number
  /**
   * The room's stored hash if the PIN in the request matches that hash; any other string if the PIN is wrong. If the
   * join creates the room, `pinHash` becomes the room's stored hash.
   */
  pinHash?: string | undefined
  /**
   * The stored hash that the PIN was compared with; any other string if the PIN was not compared. If the room has a
   * different hash, the join fails with `PinNotCompared`, without counting a wrong PIN. If omitted, a wrong `pinHash`
   * is always counted.
   */
  comparedHash?: string | undefined
  /** Key of the client's address, for the limits on wrong PINs; undefined if the address is not known. */
  address?: string | undefined
  /**
   * True if the lock does not apply to the user: the owner and the admins can join a room that a host has locked, and
   * the owner can join a reserved room without its PIN.
   */
  isHost?: boolean | undefined
  /** The record of the room to create if the room does not exist. If omitted, a join of a missing room fails. */
  create?: RoomRecord | undefined
  now: number
}

export interface JoinResult {
  room: RoomRecord
  created: boolean
  /** Whether this is the user's first socket in the room. */
  firstOfUser: boolean
  /** Number of users in the room, including this user. */
  count: number
  /** The first {@link maxListedParticipants} users, in order of arrival. */
  participants: readonly Readonly<Profile>[]
  /** All documents of the room, by name. */
  documents: ReadonlyMap<string, StoredDocument>
  /** The hash of the PIN from the join that created the room; undefined if there was none. */
  pinHash?: string | undefined
}

export interface LeaveResult {
  /** Whether the socket was the user's last socket in the room. */
  lastOfUser: boolean
  count: number
}

/** One part of a room's state, as text. */
export interface StoredDocument {
  /**
   * `<createdAt of the room>.<number>`. The number increases with each change. On Redis, the number is never lower than
   * the time of the change in microseconds, so that versions created after a loss are newer than all lost versions.
   */
  version: string
  /** JSON. */
  state: string
}

/**
 * A message that the store publishes in the same step as a change. The caller encodes the message; the store does not
 * interpret it.
 */
export interface Publication {
  channel: string
  payload: string
}

export interface SwapCommand {
  roomId: string
  name: string
  /** The version that the document must have. A version with the number 0 means that the document must not exist. */
  expected: string
  /** The new state, as JSON. If omitted, only the version is checked. */
  state?: string | undefined
  /**
   * The part of the state that survives a restart even with the memory store, as JSON; undefined if nothing survives.
   */
  kept?: string | undefined
  /** True if the state is allowed to change while servers restore a lost room. Default: false. */
  duringRestore?: boolean | undefined
  /** The message to publish if the document changes. The new version is appended to the payload as the last line. */
  publish?: Publication | undefined
}

/**
 * Whether the document had the expected version, and the document's current version (with the number 0 if the document
 * does not exist).
 */
export type SwapResult = { swapped: true, version: string } | { swapped: false, version: string, state: string | undefined }

export interface RoomSummary extends RoomRecord {
  participantCount: number
  producers: number
  lastActivityAt: number
}

/** One page of the rooms that have members. */
export interface RoomPage {
  rooms: RoomSummary[]
  /** The cursor of the next page: a room id; undefined on the last page. */
  next: string | undefined
}

/** A user in a room, and the user's position in the order of arrival. */
export interface Arrival {
  /** Unique in the room, and higher for each new arrival. A user who leaves and joins again gets a new place. */
  place: number
  profile: Profile
}

/** One server's members of a room, and that server's copy of the room's data. */
export interface NodeMembers {
  room: RoomRecord
  pinHash?: string | undefined
  members: readonly { sessionId: string, userKey: string, profile: Profile }[]
  /** Documents by name. The store restores documents that it has lost or has only in an older version. */
  documents: ReadonlyMap<string, StoredDocument>
  /** The message to publish if the store had lost data, because other servers may have newer state. */
  publish?: Publication | undefined
}

/** The users who joined and left the room when one server's members were replaced or removed. */
export interface MembersChange {
  joined: Profile[]
  left: Profile[]
  count: number
}

/** The result of writing one server's members. */
export interface WrittenMembers extends MembersChange {
  /** True if the room was closed while this server was disconnected. In that case, nothing was written. */
  closed?: boolean
  /** The room's current documents. */
  documents: ReadonlyMap<string, StoredDocument>
}

/** Maximum participants in the reply to a join (docs/protocol.md, "Rooms"). */
export const maxListedParticipants = 100
