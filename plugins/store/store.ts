import type { Profile } from '../connections/session.ts'
import type {
  Arrival, Ban, BanOptions, JoinCommand, JoinResult, LeaveResult, MembersChange, NodeMembers, Publication, RoomPage, RoomRecord,
  RoomSummary, SwapCommand, SwapResult, WrittenMembers
} from './types.ts'

/** Members of rooms. */
export interface MemberStore {
  /**
   * Adds a socket to a room. If the room does not exist, creates the room from the record in `create`. A user who is
   * already in the room can join with more sockets, without a PIN.
   *
   * @throws ROOM_NOT_FOUND, ROOM_FULL, BANNED (details `{until}`), PIN_REQUIRED, PIN_WRONG, RATE_LIMITED if a limit in
   *   {@link wrongPins} is reached; UNAVAILABLE for a new room in the first `recoveryMs` after the store lost all data,
   *   because another server may be about to restore that room; ROOM_LOCKED if the room admits nobody;
   *   `PinNotCompared`, see `comparedHash`
   */
  join (command: JoinCommand): Promise<JoinResult>
  /**
   * Records the result of a PIN check for a person who does not join the room. Wrong PINs from these checks and from
   * joins count towards the same limits.
   *
   * @param address see `JoinCommand`
   * @throws PIN_WRONG; RATE_LIMITED if the address or the room has reached its limit in {@link wrongPins}, even if the
   *   PIN is right
   */
  countPin (roomId: string, address: string | undefined, isRight: boolean): Promise<void>
  /**
   * @param mayReturn true if the connection broke, so that the user can rejoin a locked room for `returnMs`
   * @returns undefined if the socket was not in the room
   */
  leave (roomId: string, sessionId: string, userKey: string, now: number, mayReturn?: boolean): Promise<LeaveResult | undefined>
  /**
   * Prevents a user from returning to a locked room: a user who has left can no longer return, and a user who is in
   * the room cannot return after leaving.
   */
  forbidReturn (roomId: string, userKey: string): Promise<void>
  /** @returns at most `limit` users, in order of arrival */
  getParticipants (roomId: string, limit: number): Promise<Profile[]>
  /**
   * @param after the place of the previous page's last user, who may have left since then; 0 for the first page
   * @returns at most `limit` users who arrived after that user, in order of arrival, and the total number of users
   */
  listParticipants (roomId: string, after: number, limit: number): Promise<{ arrivals: Arrival[], count: number }>
  /** @returns one value per user: the profile, or undefined if the user is not in the room */
  getMembers (roomId: string, userKeys: readonly string[]): Promise<(Profile | undefined)[]>
  /**
   * @param limit maximum number of users per room
   * @returns at most `limit` users of each room: first the users in `first` who are in the room, then other users in
   *   order of arrival
   */
  getSomeMembers (rooms: readonly { roomId: string, first: readonly string[] }[], limit: number): Promise<Profile[][]>

  /**
   * Bans a user from a room. The ban still applies if the room is deleted or a server crashes.
   *
   * @param until when the ban ends, in epoch milliseconds
   * @throws BAN_LIMIT if the room already has `options.limit` bans of other users
   */
  ban (roomId: string, userKey: string, until: number, options?: BanOptions): Promise<void>
  /** @returns whether the user was banned */
  unban (roomId: string, userKey: string): Promise<boolean>
  /**
   * @param after the key of the previous page's last user, who may have been unbanned since then; empty for the first
   *   page
   * @returns at most `limit` bans of users whose keys come after `after`, ordered by key
   */
  listBans (roomId: string, after: string, limit: number): Promise<Ban[]>
}

/** Room records, and lists of rooms. */
export interface RecordStore {
  getRoom (roomId: string): Promise<RoomSummary | undefined>
  /** @returns the hash of the PIN from the join that created the room */
  getPinHash (roomId: string): Promise<string | undefined>
  /**
   * @param after a room id; rooms are sorted by id
   * @returns at most `limit` rooms whose ids come after `after`
   */
  listRooms (after: string, limit: number): Promise<RoomSummary[]>
  /**
   * Like {@link listRooms}, but lists only rooms with members. Each call reads a limited number of rooms, so a page can
   * have fewer than `limit` rooms even if another page follows.
   */
  listBusyRooms (after: string, limit: number): Promise<RoomPage>
  /**
   * @returns rooms that became empty at or before `before`, in chronological order. Some of these rooms may have
   *   members again
   */
  listEmptyRooms (before: number, limit: number): Promise<string[]>
  /**
   * Removes a room from the list of empty rooms if the room has members again or no longer exists. Does nothing if the
   * room was added to the list after `before`.
   */
  forgetEmptyRoom (roomId: string, before: number): Promise<void>
  /** Records activity in a room and, if `producers` is given, the number of the room's producers on this server. */
  touchRoom (roomId: string, now: number, producers?: number): Promise<void>
  /**
   * Removes a room and all its data except bans.
   *
   * @param onlyIfEmpty true: removes the room only if it has no members
   * @param publish the message to publish if this call removes the room; `createdAt` is appended as the last line
   * @returns the room's record if this call removed the room; only one of several concurrent calls removes the room
   */
  removeRoom (roomId: string, onlyIfEmpty?: boolean, publish?: Publication): Promise<RoomRecord | undefined>
}

/** An entry of a room's log. */
export interface LogEntry {
  entry: string
  /**
   * Maximum number of entries in the log, at least 1. If the log exceeds this number, the oldest entries are removed.
   */
  keep: number
  now: number
  publish?: Publication | undefined
  spacing?: Spacing | undefined
}

/** The minimum time between two log entries with the same key. */
export interface Spacing {
  key: string
  /**
   * Name of the room's document that contains the minimum time, in milliseconds, in the field `field`. If the document
   * or the field is missing, the time is 0.
   */
  document: string
  field: string
}

/** The longest time that a {@link Spacing} can require, in milliseconds. */
export const maxSpacingMs = 3_600_000

/** Name of the log that the kernel shares with features that are registered as plain plugins. */
export const sharedLog = 'kernel'

/** Shared room state: documents changed by compare-and-set, and logs. */
export interface StateStore {
  /**
   * Replaces a document if it has the expected version. Publishes the message in the same step, so that all servers
   * receive the changes in order.
   *
   * @throws ROOM_NOT_FOUND; UNAVAILABLE for a change in the first `recoveryMs` after a lost room was restored, because
   *   other servers may be about to restore newer state
   */
  swapDocument (command: SwapCommand): Promise<SwapResult>
  /**
   * @returns one value per room: the state of the room's document with this name; undefined if there is no such
   *   document
   */
  readDocuments (roomIds: readonly string[], name: string): Promise<(string | undefined)[]>
  /**
   * Appends an entry to one of a room's logs, and records activity in the room. Publishes the message in the same step,
   * so that log entries and published messages have the same order. If the room does not exist, nothing is stored, but
   * the message is still published.
   *
   * @param log the name of the log: the feature that owns it, or {@link sharedLog}
   * @returns the number of connections that received the message
   * @throws RATE_LIMITED, without storing or publishing anything, if the previous entry with the same key is newer than
   *   `spacing` allows
   */
  appendLog (roomId: string, log: string, entry: LogEntry): Promise<number>
  /**
   * Removes an entry from one of a room's logs, and publishes the message in the same step.
   *
   * @returns the number of connections that received the message; undefined, without publishing, if the log does
   *   not have the entry
   */
  removeFromLog (roomId: string, log: string, entry: string, publish?: Publication): Promise<number | undefined>
  /**
   * @param log the name of the log
   * @param last how many of the newest entries to return; default: all
   * @returns the entries, oldest first
   */
  readLog (roomId: string, log?: string, last?: number): Promise<string[]>
}

/** The members of rooms, by server. When a server dies, another server removes the dead server's members. */
export interface NodeMembersStore {
  /** @returns rooms that may have members on the server */
  listNodeRooms (nodeId: string): Promise<string[]>
  /**
   * Replaces the members that a room has on one server. If the room is missing from the store, creates the room
   * together with its documents.
   */
  replaceNodeMembers (nodeId: string, members: NodeMembers): Promise<WrittenMembers>
  /** Removes all members of a server from a room. */
  removeNodeMembers (nodeId: string, roomId: string): Promise<MembersChange>
  /**
   * @param rooms rooms, and for each room a session on this server that is in the room
   * @returns one value per room: false if the store has lost the room's record or data about the room's members
   */
  areIntact (rooms: readonly { roomId: string, sessionId: string }[]): Promise<boolean[]>
  /** Removes a room from the list of this server's rooms, because the room no longer has members on this server. */
  releaseRoom (roomId: string): Promise<void>
  /** Deletes the list of a server's rooms. */
  forgetNodeRooms (nodeId: string): Promise<void>
}

/**
 * The rooms of all servers. Each change of a room is atomic. All methods throw UNAVAILABLE while the store cannot be
 * reached. The two drivers, `memory` (one server) and `redis`, pass the same contract suite (test/contracts/store).
 */
export interface RoomStore extends MemberStore, RecordStore, StateStore, NodeMembersStore {
  readonly kind: 'memory' | 'redis'
  /**
   * Checks that the store accepts writes.
   *
   * @throws UNAVAILABLE if the store cannot be reached or rejects writes
   */
  check (): Promise<void>
}

/**
 * How long Redis remembers that a user was kicked, in milliseconds. If the user's server dies before it removes the
 * user, the room still lists the user until another server removes the dead server's users.
 */
export const kickMemoryMs = 3_600_000

/**
 * How long the store remembers that a room was closed, in milliseconds. During this time, a server that was
 * disconnected cannot restore that room.
 */
export const closedMemoryMs = 600_000
/**
 * Maximum numbers of wrong PINs in one window (docs/protocol.md, "Frames"). `perUser` applies per user and room, and
 * `perAddress` applies per address across all rooms.
 */
export const wrongPins = { perUser: 5, perAddress: 20, perRoom: 200 } as const
export const pinWindowMs = 60_000
