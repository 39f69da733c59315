import type { OutgoingEvent } from '../connections/face.ts'
import type { Profile, Session, UserId } from '../connections/session.ts'
import { userKeyOf } from '../connections/session.ts'
import { Forbidden } from '../errors/codes.ts'
import type { BanOptions, JoinResult, RoomRecord } from '../store/types.ts'
import type { RoomDetails } from './details.ts'
import type { GivenRole } from './ownership.ts'
import type { RoomState, RoomStateKernel } from './room-state.ts'
import type { LocalRoom } from './node-rooms.ts'
import type { RoomCloseReason } from './messages.ts'

// The interface through which the rest of the server uses rooms; create.ts assembles the implementation.

export interface EmitOptions {
  /** Id of a session that must not receive the event. */
  except?: string
  /**
   * If true, sends the event only to members on this server. Set this only if a `room:join` handler on this server adds
   * the same data to join replies: a joining member receives no local event that was sent before that handler was
   * called.
   */
  local?: boolean
}

/** The room in a join request. The fields other than `roomId` apply only if the join creates the room. */
export interface RoomRequest {
  roomId: string
  title?: string | undefined
  topic?: string | undefined
  /** Additional fields that features define. */
  options: Readonly<Record<string, unknown>>
}

/** An entry for a feature's log (see `Rooms.emitLogged`), and the limits of that log. */
export interface LoggedEvent {
  entry: string
  /**
   * Maximum number of entries in the log, at least 1. If the log exceeds this number, the oldest entries are removed.
   */
  keep: number
  /**
   * The minimum time between two entries with the same key, in milliseconds (at most one hour). The store reads this
   * time from the property `field` of the room state named `state`. While the store is unavailable, this server uses
   * `ms` instead.
   */
  spacing?: { key: string, state: string, field: string, ms: number } | undefined
}

/** A room's details as shown in lists of rooms. */
export interface RoomOverview extends RoomDetails {
  /** The owner's user id; `noOwner` if the room has no owner. */
  ownerId: UserId
  /** The owner's name; null if the room has no owner, or the server does not know the name. */
  hostName: string | null
}

export interface PinRequest {
  room: RoomRecord
  pin: string | undefined
  fallback?: string | undefined
  address: string | undefined
}

/** The owner and the PIN that were chosen for a room before its first member joined. */
export interface ReservedRoom {
  /** Default: the user who joins first. */
  ownerId?: UserId
  /** Everyone except the owner needs this PIN to join. */
  pin?: string
}

export interface JoinRequest extends RoomRequest {
  pin?: string | undefined
}

export interface Joined {
  room: LocalRoom
  result: JoinResult
  /** Fields that features add to the reply. */
  extra: Record<string, unknown>
  /** Call this after the reply is sent. The session then receives the events that were queued during the join. */
  answered: () => void
}

/** `moved`: joined another room. `kicked`: removed by a host, an admin or the backend. */
export type LeaveReason = 'left' | 'moved' | 'disconnected' | 'kicked' | 'closed'
export type Role = 'owner' | 'admin' | 'member'

/** Rooms and their members. */
export interface Rooms {
  /** Number of rooms with members or joining sockets on this server. */
  readonly size: number
  get (roomId: string): LocalRoom | undefined
  local (): IterableIterator<LocalRoom>
  /**
   * @param roomId the id in the request; default: the id of the socket's room
   * @throws NOT_IN_ROOM if the socket is in no room or in a different room
   */
  ofSession (session: Session, roomId?: string): LocalRoom
  /** The state of each room that all servers share, updated by compare-and-set. */
  readonly roomState: RoomState
  /**
   * Creates a `Rooms` object for one instance of a feature, with its own `roomState` and its own log; see
   * `RoomStateKernel.forFeature`.
   */
  forFeature (...args: Parameters<RoomStateKernel['forFeature']>): Rooms
  /**
   * A user's role in a room: the first result of the `room:role` hook; if no handler returns a role, the result of
   * {@link defaultRoleOf}.
   *
   * @throws UNAVAILABLE
   */
  roleOf (room: RoomRecord, session: Session): Promise<Role>
  /**
   * A user's role in a room, based on the room's owner, the roles that the owner has assigned, and the user's token.
   * Does not ask features. Works only for rooms with members on this server.
   */
  defaultRoleOf (room: RoomRecord, session: Session): Role
  /**
   * The role of a user in a room, even if the user is connected to another server.
   *
   * @returns undefined if the user has no session in the room
   * @throws UNAVAILABLE
   */
  roleOfUser (room: RoomRecord, userId: UserId): Promise<Role | undefined>
  /**
   * @returns `noOwner` if the room has no owner
   * @throws UNAVAILABLE
   */
  ownerOf (room: RoomRecord): Promise<UserId>
  /**
   * The owner of a room, from this server's memory. Does not ask features. Works only for rooms with members on this
   * server.
   */
  defaultOwnerOf (room: RoomRecord): UserId
  /**
   * Reads the owners of rooms from the store in one round trip. Does not ask features.
   *
   * @throws UNAVAILABLE
   */
  ownersOf (rooms: readonly RoomRecord[]): Promise<UserId[]>
  /**
   * Reads the details of rooms for lists of rooms. Takes two round trips to the store, regardless of the number of
   * rooms.
   *
   * @throws UNAVAILABLE
   */
  overviewsOf (rooms: readonly RoomRecord[]): Promise<RoomOverview[]>
  /** A room's title and topic, and whether it is locked. Works only for rooms with members on this server. */
  detailsOf (room: RoomRecord): RoomDetails
  /**
   * Whether users who are not in the room need a PIN to join.
   *
   * @throws UNAVAILABLE
   */
  hasPin (room: RoomRecord): Promise<boolean>
  /**
   * Checks the PIN of a person who does not join the room. Counts wrong PINs per address and per room across all
   * servers, together with wrong PINs from joins.
   *
   * @param request.fallback the PIN to compare with, if the room itself admits everyone
   * @throws ROOM_LOCKED, PIN_REQUIRED, PIN_WRONG, RATE_LIMITED, UNAVAILABLE
   */
  checkPin (request: PinRequest): Promise<void>
  /**
   * Changes a room's title and topic. Members receive `room:updated`.
   *
   * @param change for each field, undefined keeps the current value, and null removes that value
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  update (room: RoomRecord, change: { title?: string | null | undefined, topic?: string | null | undefined }): Promise<RoomDetails>
  /**
   * Locks a room, so that users who are not in the room need a PIN or cannot join. The owner, the admins, and users
   * whose connection broke less than a minute ago can still join. Members receive `room:updated`.
   *
   * @param pin the PIN that users need from now on; if omitted, new users cannot join
   * @throws FORBIDDEN if the room has no owner
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  lock (room: RoomRecord, pin?: string): Promise<RoomDetails>
  /**
   * Admits everyone again. Members receive `room:updated`.
   *
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  unlock (room: RoomRecord): Promise<RoomDetails>
  /** The admins appointed by the owner. Works only for rooms with members on this server. */
  adminsOf (room: RoomRecord): UserId[]
  /**
   * The roles that the owner has assigned.
   *
   * @throws UNAVAILABLE
   */
  rolesOf (room: RoomRecord): Promise<{ userId: UserId, role: GivenRole }[]>
  /**
   * Assigns a role to a user. The assigned role overrides the role in the user's token. Members receive `room:role`.
   *
   * @param by the user who assigns the role and must be the owner; omitted for a server admin
   * @returns the user's previous role, and the user's id (for a user in the room, with the type that the id has in the
   *   token)
   * @throws FORBIDDEN if the room has no owner, a feature determines roles, `by` is not the owner, or `userId` is the
   *   owner
   * @throws NOT_IN_ROOM if `role` is `admin` and the user is not in the room
   * @throws ROLE_LIMIT, ROOM_NOT_FOUND, UNAVAILABLE
   */
  setRole (room: RoomRecord, userId: UserId, role: GivenRole, by?: UserId): Promise<{ userId: UserId, previous: Role }>
  /**
   * Makes a member the owner. The previous owner becomes a member. Members receive `room:owner`.
   *
   * @param by the current owner, who makes the request; omitted for a server admin
   * @returns the new owner's id, with the type that the id has in the token
   * @throws FORBIDDEN if the room has no owner, a feature determines the owner, or `by` is not the owner
   * @throws NOT_IN_ROOM, ROOM_NOT_FOUND, UNAVAILABLE
   */
  transfer (room: RoomRecord, userId: UserId, by?: UserId): Promise<UserId>
  /**
   * Makes a successor the owner if the room's owner has been absent for `OWNER_GRACE_SECONDS`. If your feature handles
   * `room:successors`, call this method whenever the handler's result would change. While the owner is present, the
   * call does almost nothing.
   */
  reviewOwner (roomId: string): void
  /** Records activity in a room. Admins see the time of a room's last activity. */
  touch (roomId: string): void
  /**
   * Adds a socket to a room and removes it from its previous room. The socket receives the new room's events after
   * `answered` is called.
   *
   * @throws the errors that the store's `join` throws
   */
  join (session: Session, request: JoinRequest): Promise<Joined>
  /** Removes a socket from its room. Does nothing if the socket is not in a room. */
  leave (session: Session, reason: LeaveReason): Promise<void>
  /**
   * Publishes an event to all members of a room. All servers deliver a room's events in the same order.
   * `roomId` is added to the event's data.
   */
  emit (roomId: string, type: string, data: object, options?: EmitOptions): void
  /**
   * Like {@link emit}, but also appends an entry to the feature's log for the room, for members who join later. Each
   * feature has its own log for each room. `store.readLog` returns the entries, in the same order as the events. While
   * the store is unavailable, the event reaches members on this server only. If the store is available, resolves when
   * the entry is stored.
   *
   * @param log the entry, and the limits of the log
   * @throws RATE_LIMITED, without sending anything, if the previous entry with the same key is newer than `log.spacing`
   *   allows
   */
  emitLogged (roomId: string, type: string, data: object, log: LoggedEvent): Promise<void>
  /**
   * Removes an entry from the feature's log for the room, and publishes an event in the same step.
   *
   * @returns whether the log had the entry; if not, nothing is published
   * @throws UNAVAILABLE
   */
  emitUnlogged (roomId: string, type: string, data: object, entry: string): Promise<boolean>
  /**
   * Sends a message to the other servers that have members in a room. Each of those servers calls the
   * `room:nodeMessage` hook. A server that cannot be reached misses the message.
   *
   * @param topic identifies the kind of message
   * @param data JSON
   */
  sendToNodes (roomId: string, topic: string, data: unknown): void
  /**
   * Sends an event to all members of a room on this server.
   *
   * @returns whether the room has members on this server
   */
  sendHere (roomId: string, event: OutgoingEvent): boolean
  /**
   * Sends an event to one member on this server. While the member's join is in flight, the event is queued until the
   * join reply is sent.
   */
  sendTo (room: LocalRoom, session: Session, event: OutgoingEvent): void
  /**
   * Removes all members and deletes the room.
   *
   * @param onlyIfEmpty true: closes the room only if it has no members
   * @returns whether this call deleted the room; if several callers close the room at the same time, exactly one call
   *   returns true
   */
  close (roomId: string, reason: RoomCloseReason, onlyIfEmpty?: boolean): Promise<boolean>
  /**
   * On all servers, closes the sockets that a user has in a room.
   *
   * @param banUntil the time when the ban ends, in epoch milliseconds; if omitted, the user is not banned
   * @param options more details of the ban
   * @throws BAN_LIMIT, without changing anything
   * @throws UNAVAILABLE
   */
  kick (roomId: string, userId: UserId, banUntil?: number, options?: Omit<BanOptions, 'userId'>): Promise<void>
  /** On this server, closes the sockets that a user has in a room. */
  kickHere (roomId: string, userKey: string): void
}

declare module 'fastify' {
  interface FastifyInstance {
    rooms: Rooms
  }
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /**
     * This server has just sent a socket's join to the store. The join can still fail, and can be sent again. If
     * `mayRead` is true, a handler can send reads now: the store runs the reads after the join, in the same round trip.
     * `mayRead` is false for the first member on a server and for locked rooms. See `readWithJoin`.
     */
    'room:joining': (room: LocalRoom, session: Session, mayRead: boolean) => void
    /**
     * A socket has joined a room. Handlers return fields to add to the join reply. If a handler fails or times out, the
     * reply lacks the fields of that handler.
     */
    'room:join': (room: LocalRoom, session: Session) => Record<string, unknown> | Promise<Record<string, unknown>>
    /** A socket is about to leave a room. */
    'room:leave': (room: LocalRoom, session: Session, reason: LeaveReason) => void
    /** A room was closed. Its members on this server have been notified and removed. */
    'room:close': (room: LocalRoom, reason: RoomCloseReason) => void
    /** Another server has sent a message with `Rooms.sendToNodes`. */
    'room:nodeMessage': (roomId: string, topic: string, data: unknown) => void
    /** A dead server's members are about to be removed from a room. If a handler fails, the hook is called again. */
    'room:nodeRemoved': (roomId: string, nodeId: string) => Promise<void>
    /**
     * A room no longer has members or joining sockets on this server. The room may still have members on other servers.
     */
    'room:released': (roomId: string) => void

    /**
     * Lets the feature that manages a room decide whether a session is allowed to join that room. If the result is
     * `managed` and the room does not exist, the join creates the room without an owner or a PIN, and without a request
     * to the backend. In rooms without an owner, every member is allowed to send audio, nobody can become the owner or
     * lock the room, and only users whose token has the `admin` role are admins. A handler rejects the join by throwing
     * an error.
     */
    'room:admit': (roomId: string, session: Session) => Promise<'managed' | undefined>
    /**
     * Returns the owner of a room that a join is about to create. A handler rejects the join by throwing an error.
     */
    'room:create': (roomId: string, session: Session, request: RoomRequest) => Promise<{ ownerId: UserId } | undefined>
    /**
     * Returns the owner and the PIN that were chosen for a room before its first member joined. Called before a join
     * creates the room, unless a handler of `room:create` has returned an owner. The first result is used.
     */
    'room:reserved': (roomId: string) => Promise<ReservedRoom | undefined>
    /**
     * Returns a user's role. The first result is used. If no handler returns a role, the role depends on the room's
     * current owner, the roles that the owner has assigned, and the user's token.
     */
    'room:role': (room: RoomRecord, session: Session) => Promise<Role | undefined>
    /**
     * Returns a room's owner. The first result is used. If no handler returns an owner, the owner is the room's creator
     * or that user's successor. While a feature handles this hook, the server chooses no successors.
     */
    'room:owner': (room: RoomRecord) => Promise<UserId | undefined>
    /**
     * The server is about to list some of a room's participants. The profiles are copies: a handler can synchronously
     * add fields to these copies.
     */
    'room:participants': (room: LocalRoom, profiles: Profile[]) => void
    /** Returns the members who have priority when a list cannot contain all members. */
    'room:featured': (room: LocalRoom) => readonly UserId[]

    // Each of the following hooks is called on only one server of the cluster.
    /** A join has created a room. */
    'room:created': (room: RoomRecord, request: RoomRequest) => void
    /** A user has joined a room. Not called for further sockets of that user. */
    'room:userJoined': (roomId: string, user: Profile, count: number) => void
    /** A user has left a room with all sockets. */
    'room:userLeft': (roomId: string, user: { userId: UserId, userKey: string }, reason: LeaveReason, count: number) => void
    /**
     * A user was kicked from a room. At that time, the user may already be disconnected, in the grace period for a
     * reconnect.
     */
    'room:kicked': (roomId: string, userId: UserId) => void
    /** A room was closed and deleted. */
    'room:removed': (room: RoomRecord, reason: RoomCloseReason) => void
    /**
     * Some calls of the hooks from `room:created` to `room:removed` may have been skipped for the room, because a
     * server died or the store was unavailable.
     */
    'room:resynced': (roomId: string) => void
  }
}

declare module '../cluster/messages.ts' {
  interface ClusterMessages {
    /** `sessionIds`: the sessions to close; if omitted, all of the user's sessions in the room. */
    'room:kick': { roomId: string, userKey: string, sessionIds?: readonly string[] }
  }
  interface ClusterRequests {
    /**
     * The session's role in the room; null if the session is not in the room. Send the request to the server that the
     * session is connected to.
     */
    'room:role': { data: { roomId: string, sessionId: string }, reply: Role | null }
  }
}

/** The `ownerId` of a room without an owner. No user has this id. */
export const noOwner = ''

/** Whether a room has an owner. A room without an owner is managed by a feature; see the `room:admit` hook. */
export const hasOwner = ({ ownerId }: Pick<RoomRecord, 'ownerId'>): boolean => ownerId !== noOwner

/** @throws FORBIDDEN if the room has no owner */
export function assertHasOwner (room: Pick<RoomRecord, 'ownerId'>): void {
  if (!hasOwner(room)) throw new Forbidden('The feature that manages this room determines its members and roles')
}

/** A session's role in a room if no feature determines the role. */
export function defaultRole (ownerId: UserId, session: Session): Role {
  if (ownerId !== noOwner && userKeyOf(ownerId) === session.userKey) return 'owner'
  return session.user.roles.includes('admin') ? 'admin' : 'member'
}
