import type { OutgoingEvent } from '../connections/face.ts'
import type { Profile, Session, UserId } from '../connections/session.ts'
import { userKeyOf } from '../connections/session.ts'
import type { JoinResult, RoomRecord } from '../store/types.ts'
import type { RoomState, RoomStateKernel } from './room-state.ts'
import type { LocalRoom } from './node-rooms.ts'
import type { RoomCloseReason } from './messages.ts'

// The interface of rooms for the rest of the server; create.ts assembles the implementation.

export interface EmitOptions {
  /** The session that does not receive the event. */
  except?: string
  /** Sends the event to members on this server only. */
  local?: boolean
}

/** Options of a join that apply when it creates the room. */
export interface RoomRequest {
  roomId: string
  /** The fields of features. */
  options: Readonly<Record<string, unknown>>
}

export interface JoinRequest extends RoomRequest {
  pin?: string | undefined
}

export interface Joined {
  room: LocalRoom
  result: JoinResult
  /** Fields that features add to the reply. */
  extra: Record<string, unknown>
  /** Must be called after the reply is sent. The session then receives the events that arrived during the join. */
  answered: () => void
}

/** `moved`: to another room. `kicked`: ended by an admin or the backend. */
export type LeaveReason = 'left' | 'moved' | 'disconnected' | 'kicked' | 'closed'
export type Role = 'owner' | 'admin' | 'member'

/** Rooms and their members. */
export interface Rooms {
  /** Rooms with members on this server. */
  readonly size: number
  get (roomId: string): LocalRoom | undefined
  local (): IterableIterator<LocalRoom>
  /**
   * @param roomId the room in the request; default: the socket's room
   * @throws NOT_IN_ROOM if the socket is in no room or in another one
   */
  ofSession (session: Session, roomId?: string): LocalRoom
  /** Shared per-room state, updated by compare-and-set. */
  readonly roomState: RoomState
  /** Gives one instance of a feature rooms whose `roomState` is its own; see `RoomStateKernel.forFeature`. */
  forFeature (...args: Parameters<RoomStateKernel['forFeature']>): Rooms
  /**
   * A user's role in a room, from the hook `room:role`.
   *
   * @throws UNAVAILABLE
   */
  roleOf (room: RoomRecord, session: Session): Promise<Role>
  /** A user's role by the room's record and the user's token alone, without calling features. */
  defaultRoleOf (room: RoomRecord, session: Session): Role
  /** @throws UNAVAILABLE */
  ownerOf (room: RoomRecord): Promise<UserId>
  /** Records activity in a room, for the detection of idle rooms. */
  touch (roomId: string): void
  /**
   * Adds a socket to a room; the socket leaves its previous room. Events of the
   * new room reach the socket once `answered` is called.
   *
   * @throws what the store's join throws
   */
  join (session: Session, request: JoinRequest): Promise<Joined>
  /** Removes a socket from its room. Does nothing if it is in no room. */
  leave (session: Session, reason: LeaveReason): Promise<void>
  /**
   * Publishes an event to all members of a room, on all servers, in the same order. `roomId` is added to its data.
   */
  emit (roomId: string, type: string, data: object, options?: EmitOptions): void
  /**
   * Like {@link emit}, and appends an entry to the room's log for later members,
   * in the order of the events: read it with the store's `readLog`. While the
   * store is unavailable, the event reaches members on this server only.
   *
   * @param log the entry, and the maximum length of the log
   * @returns once the entry is stored, if the store is available
   */
  emitLogged (roomId: string, type: string, data: object, log: { entry: string, keep: number }): Promise<void>
  /**
   * Sends an event to all members of a room on this server.
   *
   * @returns whether the room has members here
   */
  sendHere (roomId: string, event: OutgoingEvent): boolean
  /** Sends an event to one member of a room on this server; during the member's join, right after the reply. */
  sendTo (room: LocalRoom, session: Session, event: OutgoingEvent): void
  /**
   * Removes all members and deletes the room.
   *
   * @param onlyIfEmpty keep the room if it has members
   * @returns whether the room existed; true for exactly one of several callers
   */
  close (roomId: string, reason: RoomCloseReason, onlyIfEmpty?: boolean): Promise<boolean>
  /**
   * Closes a user's sockets that are in a room, on all servers.
   *
   * @param banUntil epoch milliseconds before which the user can't join again
   */
  kick (roomId: string, userId: UserId, banUntil?: number): Promise<void>
  /** Closes a user's sockets that are in a room, on this server. */
  kickHere (roomId: string, userKey: string): void
}

declare module 'fastify' {
  interface FastifyInstance {
    rooms: Rooms
  }
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** A socket has joined a room. Returns fields that are added to the reply to room:join. */
    'room:join': (room: LocalRoom, session: Session) => Record<string, unknown> | Promise<Record<string, unknown>>
    /** A socket is about to leave a room. */
    'room:leave': (room: LocalRoom, session: Session, reason: LeaveReason) => void
    /** A room was closed. Its members on this server have been notified and removed. */
    'room:close': (room: LocalRoom, reason: RoomCloseReason) => void
    /** The last session of this server has left a room, which may have members on other servers. */
    'room:released': (roomId: string) => void

    /**
     * Returns the owner of a room that a join is about to create. Throws to reject
     * the join.
     */
    'room:create': (roomId: string, session: Session, request: RoomRequest) => Promise<{ ownerId: UserId } | undefined>
    /** Returns a user's role. The first result is used. Without a result, the room's record determines the owner and the token determines admins. */
    'room:role': (room: RoomRecord, session: Session) => Promise<Role | undefined>
    /** Returns a room's owner. The first result is used; the default is the owner in the room's record. */
    'room:owner': (room: RoomRecord) => Promise<UserId | undefined>
    /** Returns the members that a limited list must include. */
    'room:featured': (room: LocalRoom) => readonly UserId[]

    // Each of the following hooks is called once, on one server.
    /** A join has created a room, with these options. */
    'room:created': (room: RoomRecord, request: RoomRequest) => void
    /** A user's first socket has joined. */
    'room:userJoined': (roomId: string, user: Profile, count: number) => void
    /** A user's last socket has left. */
    'room:userLeft': (roomId: string, user: { userId: UserId, userKey: string }, reason: LeaveReason, count: number) => void
    /** A user was kicked from a room. The user may be disconnected and in a grace period. */
    'room:kicked': (roomId: string, userId: UserId) => void
    /** A room is closed. */
    'room:removed': (room: RoomRecord, reason: RoomCloseReason) => void
    /** Member hooks may have been missed: a server died, or the store was unavailable. */
    'room:resynced': (roomId: string) => void
  }
}

declare module '../cluster/messages.ts' {
  interface ClusterMessages {
    'room:kick': { roomId: string, userKey: string }
  }
}

/** The role if no feature determines it. */
export function roleByRecord (room: RoomRecord, session: Session): Role {
  if (userKeyOf(room.ownerId) === session.userKey) return 'owner'
  return session.user.roles.includes('admin') ? 'admin' : 'member'
}
