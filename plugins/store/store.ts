import type { Profile, UserId } from '../connections/user.ts'

/** What a room is, as every server sees it. */
export interface RoomRecord {
  roomId: string
  /** Who owns it; never taken from the client. */
  ownerId: UserId
  createdAt: number
  seatCount: number
  /** Whether a pin is needed to join. */
  locked: boolean
}

export interface JoinCommand {
  roomId: string
  sessionId: string
  userKey: string
  profile: Profile
  /** Members allowed; counted in users, so a user who is in may always come again. */
  limit: number
  /** Hash of the pin the client gave. */
  pinHash?: string | undefined
  /** The room to make when there is none; absent where none may be made. */
  create?: RoomRecord | undefined
  now: number
}

export interface JoinResult {
  room: RoomRecord
  created: boolean
  /** Whether this is the user's first socket in the room. */
  firstOfUser: boolean
  /** Users in the room, this one included. */
  count: number
  /** The first hundred of them in order of arrival. */
  participants: Profile[]
  /** What is kept of the room besides, by name. */
  documents: ReadonlyMap<string, StoredDocument>
}

/** Something a feature keeps of a room, as one small text. */
export interface StoredDocument {
  /** `<createdAt of the room>.<number>`: grows with each change, and is never that of an earlier room of the same name. */
  version: string
  /** JSON. */
  state: string
}

export interface SwapCommand {
  roomId: string
  name: string
  /** The version it must have now; empty where there must be none. */
  expected: string
  /** What takes its place; undefined to only have the version checked. */
  next?: StoredDocument | undefined
  /** Where a store can, it publishes this in the same step; see {@link Bus.envelope}. */
  envelope?: Envelope | undefined
}

/** Whether the version was the expected one; else what is there. */
export type SwapResult = { swapped: true } | {
  swapped: false
  createdAt: number
  document: StoredDocument | undefined
  /** In a room that was lost and written back: the least number a new version may have. All that was made before has a lower one. */
  least?: number
}

/** A message and the channel it goes to, as the bus itself would publish it. */
export interface Envelope {
  channel: string
  text: string
}

/** A job that was taken: by its token alone can it be settled. */
export interface DueJob {
  key: string
  token: number
}

export interface LeaveResult {
  /** Whether it was the user's last socket in the room. */
  lastOfUser: boolean
  count: number
}

export interface RoomSummary extends RoomRecord {
  participantCount: number
  producers: number
  lastActivityAt: number
}

/** Some of the rooms that have somebody in them. */
export interface RoomPage {
  rooms: RoomSummary[]
  /** Behind which id to go on; undefined when there are no more. */
  next: string | undefined
}

/** A user in a room, and where they come among the others. */
export interface Arrival {
  /** Grows with each arrival, and is no other member's; who leaves and comes again has another one. */
  place: number
  profile: Profile
}

/** One server's share of a room: who is there through it, and what it knows of the room. */
export interface RoomShare {
  room: RoomRecord
  pinHash?: string | undefined
  members: readonly { sessionId: string, userKey: string, profile: Profile }[]
  /** By name; those of which the store has an older version, or none, are put back. */
  documents: ReadonlyMap<string, StoredDocument>
  /** Published in the same step when some of it had been lost: other servers may know more. */
  envelope?: Envelope | undefined
}

/** What a correction of a server's share changed for everybody. */
export interface ShareChange {
  joined: Profile[]
  left: Profile[]
  count: number
}

/** What writing back a server's share came to. */
export interface WrittenShare extends ShareChange {
  /** The room was closed while this server could not hear of it; its members are not in any more. */
  closed?: boolean
  /** All documents the room has now. */
  documents: ReadonlyMap<string, StoredDocument>
}

export interface SessionRecord {
  sessionId: string
  nodeId: string
  roomId: string | null
  connectedAt: number
}

/**
 * What servers must agree on. Two implementations, `memory` (one server) and
 * `redis`, pass the same contract suite (test/contracts/store.ts). Each method
 * is atomic. When the store can't be reached every method throws UNAVAILABLE
 * and has changed nothing that a later call would not set right.
 */
export interface Store {
  readonly kind: 'memory' | 'redis'
  /** @throws UNAVAILABLE when the store can't be reached */
  ping (): Promise<void>
  close (): Promise<void>

  /**
   * Lets a socket into a room and makes the room when it is the first.
   *
   * @throws ROOM_NOT_FOUND, ROOM_FULL, BANNED (details `{until}`), PIN_REQUIRED,
   *   PIN_WRONG, RATE_LIMITED after five wrong pins in a minute; UNAVAILABLE for a new room in the first
   *   {@link recoveryMs} after everything was lost: it may be one of those that are written back
   */
  join (command: JoinCommand): Promise<JoinResult>
  /** @returns undefined when the socket was not in the room */
  leave (roomId: string, sessionId: string, userKey: string, now: number): Promise<LeaveResult | undefined>
  /**
   * Removes a room and all that is kept of it but its bans.
   *
   * @param onlyIfEmpty leave it when somebody is in it
   * @param envelope published in the same step, with one line more: when the room was made, epoch milliseconds
   * @returns the room, to exactly one of several callers; undefined to the others
   */
  removeRoom (roomId: string, onlyIfEmpty?: boolean, envelope?: Envelope): Promise<RoomRecord | undefined>
  getRoom (roomId: string): Promise<RoomSummary | undefined>
  /** @returns at most `limit` users in order of arrival */
  getParticipants (roomId: string, limit: number): Promise<Profile[]>
  /**
   * @param after the place of a member, who may be gone meanwhile; 0 for the first
   * @returns at most `limit` users who arrived after it, in that order, and how many there are in all
   */
  listParticipants (roomId: string, after: number, limit: number): Promise<{ arrivals: Arrival[], count: number }>
  /**
   * For each of several rooms some of its users: those that are named and are in it, and then
   * others in order of arrival.
   *
   * @param limit of users of each
   */
  getSomeMembers (rooms: readonly { roomId: string, first: readonly string[] }[], limit: number): Promise<Profile[][]>
  /**
   * @param after a roomId; rooms are listed in the order of their ids
   * @returns at most `limit` rooms after it
   */
  listRooms (after: string, limit: number): Promise<RoomSummary[]>
  /**
   * Lists, as `listRooms` does, rooms with somebody in them. It looks at so many rooms and no more:
   * where most of them are empty there may be fewer than `limit` although `next` says that there are others.
   */
  listBusyRooms (after: string, limit: number): Promise<RoomPage>
  /** Rooms whose last member left before `before`, oldest first. Each may meanwhile have members again. */
  listEmptyRooms (before: number, limit: number): Promise<string[]>
  /** Takes a room off the list of empty ones when it was put there before `before`. */
  forgetEmptyRoom (roomId: string, before: number): Promise<void>
  /** @returns for each user the profile, when the user is in the room */
  getMembers (roomId: string, userKeys: readonly string[]): Promise<(Profile | undefined)[]>
  /** Notes that something happened in a room, and how many producers it has on this server. */
  touchRoom (roomId: string, now: number, producers?: number): Promise<void>

  /**
   * Puts a document in the place of the version the caller knows, and tells the
   * room in the same step: so all servers hear of changes in the order in which
   * they were made.
   *
   * @throws ROOM_NOT_FOUND; UNAVAILABLE for a change in the first {@link recoveryMs} after the
   *   room was lost, in which servers write back what they know
   */
  swapDocument (command: SwapCommand): Promise<SwapResult>
  /** @returns for each room the state of its document of that name */
  readDocuments (roomIds: readonly string[], name: string): Promise<(string | undefined)[]>

  /**
   * Adds to what is told to those who come later, and notes the activity.
   * Nothing is kept where there is no such room.
   *
   * @param keep how many entries stay; the oldest go
   * @param envelope published in the same step: so the log has the order in which all servers hear
   * @returns how many connections heard what was published
   */
  appendLog (roomId: string, entry: string, keep: number, now: number, envelope?: Envelope): Promise<number>
  /** @returns the room's log, the oldest first */
  readLog (roomId: string): Promise<string[]>

  /** @param until epoch milliseconds */
  ban (roomId: string, userKey: string, until: number): Promise<void>
  /** @returns whether there was one */
  unban (roomId: string, userKey: string): Promise<boolean>

  /** Records a socket of a user and the room it is in, in place of what was known of it. */
  putSession (userKey: string, session: SessionRecord): Promise<void>
  removeSession (userKey: string, sessionId: string): Promise<void>
  /** Sessions of a user on servers that are alive. */
  getSessions (userKey: string): Promise<SessionRecord[]>

  /**
   * Remembers a key for a while, also over a crash.
   *
   * @param until epoch milliseconds
   */
  setMark (key: string, until: number): Promise<void>
  /** @returns for each key whether it is remembered */
  hasMarks (keys: readonly string[]): Promise<boolean[]>

  /** Remembers a short text by its key, also over a crash; undefined forgets it. */
  setNote (book: string, key: string, text: string | undefined): Promise<void>
  /**
   * Changes a note that several may change at once.
   *
   * @param expected what it must be now; undefined where there must be none
   * @returns whether it was, and the note is changed
   */
  swapNote (book: string, key: string, expected: string | undefined, text: string): Promise<boolean>
  getNote (book: string, key: string): Promise<string | undefined>
  /** @returns the keys of a book */
  listNotes (book: string): Promise<string[]>

  /**
   * Notes that a job is to be done. Of several times for one job the earliest counts.
   *
   * @param at epoch milliseconds
   */
  scheduleJob (queue: string, key: string, at: number): Promise<void>
  /**
   * Takes the jobs whose time has come, the oldest first. Nobody else gets one of
   * them until it is settled or `until` has passed; then it is due again.
   *
   * @param until epoch milliseconds
   */
  takeDueJobs (queue: string, now: number, limit: number, until: number): Promise<DueJob[]>
  /**
   * Ends the turn of who took a job. It stays when it was scheduled again meanwhile.
   *
   * @param retryAt when it is to be tried again; undefined when it is done
   */
  settleJob (queue: string, job: DueJob, retryAt?: number): Promise<void>

  /**
   * Takes a key that nobody holds.
   *
   * @param forMs how long nobody else gets it
   * @returns whether this call got it
   */
  claim (key: string, forMs: number): Promise<boolean>

  /**
   * Tells the other servers that this one lives, for ten seconds.
   *
   * @returns false when they may have thought otherwise since the last call
   */
  heartbeat (): Promise<boolean>
  /** Servers that have stopped telling so and whose members nobody has removed yet. */
  listDeadNodes (): Promise<string[]>
  /** Rooms in which a server has, or may have, members. */
  listNodeRooms (nodeId: string): Promise<string[]>
  /**
   * Makes the store's view of a server's share of one room what is given. A missing room is made again,
   * in the same step as its documents: nobody ever finds it without them.
   */
  replaceShare (nodeId: string, share: RoomShare): Promise<WrittenShare>
  /** This server has nobody in the room any more. */
  releaseRoom (roomId: string): Promise<void>
  /** Takes all members of a server out of a room. */
  dropShare (nodeId: string, roomId: string): Promise<ShareChange>
  forgetNode (nodeId: string): Promise<void>
}

/** Lifetime of a server's claim to be alive, in milliseconds; renewed every third of it. */
export const leaseMs = 10_000
/**
 * How long servers have to write back what they know of a room that the store has lost, in milliseconds:
 * each tries to reach the store once a second, and looks after its rooms as often.
 */
export const recoveryMs = 3000
/** How long it is remembered that a room was closed, for servers that missed it, in milliseconds. */
export const closedMemoryMs = 600_000
/** Wrong pins a user may try in a room per minute (protocol.md, room rules). */
export const pinTries = 5
export const pinWindowMs = 60_000
/** Most participants that a join tells (protocol.md, room:join). */
export const participantsTold = 100
