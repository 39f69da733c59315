import type { OutgoingEvent } from '../connections/event.ts'
import type { Session } from '../connections/session.ts'
import { userKeyOf } from '../connections/user.ts'
import type { Profile, UserId } from '../connections/user.ts'
import type { JoinResult, RoomRecord } from '../store/types.ts'
import type { RoomState, RoomStateKernel } from './room-state.ts'
import type { LocalRoom } from './local-room.ts'
import type { RoomCloseReason } from './messages.ts'

// The interface of rooms for the rest of the server; create.ts assembles the implementation.

export interface EmitOptions {
  /** The session that does not get it. */
  except?: string
  /** Only to members on this server: what is said is true only here. */
  local?: boolean
}

/** What a join says of the room that it creates. */
export interface RoomRequest {
  roomId: string
  seatCount: number
}

export interface JoinRequest extends RoomRequest {
  pin?: string | undefined
}

export interface Joined {
  room: LocalRoom
  result: JoinResult
  /** What features add to the reply. */
  extra: Record<string, unknown>
  /** Call it when the reply is sent: the session then receives the events that came in during the join. */
  answered: () => void
}

/** `moved`: to another room. `kicked`: ended by an admin or the backend. */
export type LeaveReason = 'left' | 'moved' | 'disconnected' | 'kicked' | 'closed'
export type Role = 'owner' | 'admin' | 'member'

/** Rooms and who is in them. */
export interface Rooms {
  /** Rooms with members on this server. */
  readonly size: number
  get (roomId: string): LocalRoom | undefined
  local (): IterableIterator<LocalRoom>
  /**
   * @param roomId the room a message names; by default the one the socket is in
   * @throws NOT_IN_ROOM when the socket is in none or in another one
   */
  ofSession (session: Session, roomId?: string): LocalRoom
  /** Shared per-room state, updated by compare-and-set. */
  readonly roomState: RoomState
  /** Gives one instance of a feature rooms whose `roomState` is its own; see `RoomStateKernel.forFeature`. */
  forFeature (...args: Parameters<RoomStateKernel['forFeature']>): Rooms
  /**
   * The rights a user has in a room, as whoever knows the room says (the hook `room:role`).
   *
   * @throws UNAVAILABLE when it can't be told now
   */
  roleOf (room: RoomRecord, session: Session): Promise<Role>
  /** A user's rights by the room's record and the user's token alone: no feature is asked. */
  defaultRoleOf (room: RoomRecord, session: Session): Role
  /** @throws UNAVAILABLE when it can't be told now */
  ownerOf (room: RoomRecord): Promise<UserId>
  /** Notes that something happened in a room, for those who look for idle ones. */
  touch (roomId: string): void
  /**
   * Lets a socket into a room; another room it is in is left. Events of the
   * room reach it once `answered` is called.
   *
   * @throws what the store's join throws
   */
  join (session: Session, request: JoinRequest): Promise<Joined>
  /** Takes a socket out of its room; nothing when it is in none. */
  leave (session: Session, reason: LeaveReason): Promise<void>
  /**
   * Sends an event to everyone in a room, on every server, in one order for
   * all. `roomId` is added to its data.
   */
  emit (roomId: string, type: string, data: object, options?: EmitOptions): void
  /**
   * Like {@link emit}, and keeps an entry for those who come later, in the
   * order in which everyone hears: read it with the store's `readLog`. While
   * the store is away it is only said, on this server.
   *
   * @param log the entry, and how many of them the room keeps
   * @returns once it is kept, where it can be
   */
  emitLogged (roomId: string, type: string, data: object, log: { entry: string, keep: number }): Promise<void>
  /**
   * Sends an event to everyone in a room on this server.
   *
   * @returns whether anyone is in it here
   */
  sendHere (roomId: string, event: OutgoingEvent): boolean
  /** Sends an event to one member of a room on this server; while the member's join is being answered, right after the answer. */
  sendTo (room: LocalRoom, session: Session, event: OutgoingEvent): void
  /**
   * Closes a room for everyone.
   *
   * @param onlyIfEmpty leave it when somebody is in it
   * @returns whether there was one; true to exactly one of several callers
   */
  close (roomId: string, reason: RoomCloseReason, onlyIfEmpty?: boolean): Promise<boolean>
  /**
   * Ends a user's sockets in a room, on every server.
   *
   * @param banUntil epoch milliseconds before which the user can't join again
   */
  kick (roomId: string, userId: UserId, banUntil?: number): Promise<void>
  /** Ends a user's sockets in a room on this server, at once. */
  kickHere (roomId: string, userKey: string): void
}

declare module 'fastify' {
  interface FastifyInstance {
    rooms: Rooms
  }
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** A socket is in a room now. What it returns is added to the reply of room:join. */
    'room:join': (room: LocalRoom, session: Session) => Record<string, unknown> | Promise<Record<string, unknown>>
    /** A socket is about to be out of a room. */
    'room:leave': (room: LocalRoom, session: Session, reason: LeaveReason) => void
    /** A room is closed; its members here have been told and are out. */
    'room:close': (room: LocalRoom, reason: RoomCloseReason) => void
    /** The last session of this server has left a room, which may go on elsewhere. */
    'room:released': (roomId: string) => void

    /**
     * May a room come to be, and whose is it? Asked when there is none of that name.
     * It throws where there must be none.
     */
    'room:create': (roomId: string, session: Session, request: RoomRequest) => Promise<{ ownerId: UserId } | undefined>
    /** What rights has a user? The first answer counts; without one the owner is the owner, and an admin is who has that role in the token. */
    'room:role': (room: RoomRecord, session: Session) => Promise<Role | undefined>
    /** Whose is a room? The first answer counts; without one it is whose it was when it was made. */
    'room:owner': (room: RoomRecord) => Promise<UserId | undefined>
    /** Who of a room's members is told of first, when not all can be? */
    'room:featured': (room: LocalRoom) => readonly UserId[]

    // Each of these is called on one server for what happens on any.
    /** A room was created by a join, which said that of it. */
    'room:created': (room: RoomRecord, request: RoomRequest) => void
    /** A user has come in, with the first of their sockets. */
    'room:userJoined': (roomId: string, user: Profile, count: number) => void
    /** A user is out, with the last of their sockets. */
    'room:userLeft': (roomId: string, user: { userId: UserId, userKey: string }, reason: LeaveReason, count: number) => void
    /** A user was put out of a room; who is not connected just now is not waited for. */
    'room:kicked': (roomId: string, userId: UserId) => void
    /** A room is no more. */
    'room:removed': (room: RoomRecord, reason: RoomCloseReason) => void
    /** Something of what was to be told of a room's members may not have been: a server died, or the store was away. */
    'room:resynced': (roomId: string) => void
  }
}

declare module '../cluster/messages.ts' {
  interface ClusterMessages {
    'room:kick': { roomId: string, userKey: string }
  }
}

/** Rights without anybody who knows more of the room. */
export function roleByRecord (room: RoomRecord, session: Session): Role {
  if (userKeyOf(room.ownerId) === session.userKey) return 'owner'
  return session.user.roles.includes('admin') ? 'admin' : 'member'
}
