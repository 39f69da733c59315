import type { FastifyInstance } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { OutgoingEvent } from '../connections/face.ts'
import { userKeyOf } from '../connections/session.ts'
import type { Session, UserId } from '../connections/session.ts'
import { unavailable } from '../errors/codes.ts'
import { createAdmission } from './admission.ts'
import type { Announcements } from './announcements.ts'
import type { Closing } from './closing.ts'
import { RoomNotFound } from './errors.ts'
import type { Details } from './details.ts'
import type { MemberLists } from './member-lists.ts'
import type { LocalRoom, NodeRooms, WaitingEvent } from './node-rooms.ts'
import type { Ownership } from './ownership.ts'
import type { Roles } from './roles.ts'
import type { PinLimits } from './pin-limits.ts'
import type { PinCheck } from './pins.ts'
import type { RoomStateKernel } from './room-state.ts'
import type { Joined, JoinRequest, LeaveReason, Rooms } from './rooms.ts'
import type { SessionRecords } from './session-records.ts'
import type { RoomSync, Unsynced } from './sync.ts'

/** Adds sockets to rooms and removes them. */
export interface Membership extends Pick<Rooms, 'join' | 'leave'> {
  /** Removes a closed session from its room. */
  disconnected (session: Session): void
  /**
   * Announces again that users left whose leaves the store had not confirmed. The first announcements may have reached
   * only this server. Users who are still in the room, or in the room again, are announced as joined. Call this
   * regularly while the store is available.
   *
   * @throws UNAVAILABLE
   */
  announceUnconfirmed (): Promise<void>
  /** Resolves when every closed session has been removed from its room. */
  settled (): Promise<void>
}

/** How long a join reply waits for features to add fields to it, in milliseconds. */
const hookMs = 3000
/** Maximum number of joins to remember whose results are unknown. */
const maxUncertain = 50_000
/**
 * How long to wait before a leave is announced again, in milliseconds, so that the other servers can renew their
 * subscriptions after an outage.
 */
const announceAgainMs = 3000

export interface MembershipOptions {
  unsynced: Unsynced
  nodeRooms: NodeRooms
  memberLists: MemberLists
  roomState: RoomStateKernel
  announcements: Announcements
  closing: Closing
  ownership: Ownership
  details: Details
  isHost: Roles['isHost']
  sessionRecords: SessionRecords
  sync: RoomSync
  pins: PinCheck
  pinLimits: PinLimits
}

/**
 * True if an event announces that the joining user has left. Such an event refers to the user's previous session. The
 * user does not receive this event, because the join reply already lists the user as a participant.
 */
function isOwnLeave ({ type, data }: OutgoingEvent, { userKey }: Session): boolean {
  return type === 'room:userLeft' && userKeyOf((data as { userId: UserId }).userId) === userKey
}

const endedDuringJoin = () => unavailable('The room or the connection was closed during the join')

export function createMembership (app: FastifyInstance, options: MembershipOptions): Membership {
  const { clock, drain, hooks, log, store } = app
  const { unsynced, nodeRooms, memberLists, roomState, announcements, closing, ownership, details, isHost, sessionRecords, sync, pins, pinLimits } = options
  const admission = createAdmission(app, { sync, closing, details, isHost, ownership, pins, pinLimits })
  const leaving = new Set<Promise<void>>()
  // The joins whose results are unknown, by room and user. The store may run such a join later. When the user then
  // retries, the store already lists the user, although the user has not been announced.
  const uncertainJoins = new LRUCache<string, true>({ maxSize: maxUncertain, sizeCalculation: () => 1 })
  // The users whose leaves the store has not confirmed, by room and user key.
  const unconfirmedLeaves = new Map<string, { users: Map<string, UserId>, dueAt: number | undefined }>()
  const uncertainKey = (roomId: string, { userKey }: Session) => `${roomId} ${userKey}`

  async function join (session: Session, request: JoinRequest): Promise<Joined> {
    const room = nodeRooms.acquire(request.roomId)
    const rejoining = room.members.has(session)
    room.joining.set(session, [])
    try {
      return await enter(room, session, request)
    } catch (error) {
      const waiting = takeWaiting(room, session)
      if (rejoining) for (const { event } of waiting) session.write(event)
      else if (session.roomId === room.roomId) await leave(session, 'left')
      const uncertain = admission.isUncertain(error)
      if (uncertain) {
        unsynced.add()
        if (!rejoining) rememberUncertain(room, session)
      }
      nodeRooms.release(room, !uncertain)
      throw error instanceof RoomNotFound && drain.draining ? app.nodes.refusal('DRAINING') : error
    }
  }

  function rememberUncertain (room: LocalRoom, session: Session): void {
    uncertainJoins.set(uncertainKey(room.roomId, session), true)
    // If the user retries on another server, that server does not announce the user, because the store already lists
    // the user. Every server therefore compares its list of known users with the store.
    announcements.mayMiss(room.roomId)
    memberLists.checkLater(room)
  }

  async function enter (room: LocalRoom, session: Session, request: JoinRequest): Promise<Joined> {
    const { pin, ...asked } = request
    const { roomId } = asked
    await nodeRooms.subscribed(roomId)
    const admitted = await admission.admit(room, session, asked, pin)
    // Announce the user if the result of an earlier join is unknown. If the user has already been announced, clients
    // ignore the repetition.
    const result = uncertainJoins.delete(uncertainKey(roomId, session)) && isLastOfUser(room, session) ? { ...admitted, firstOfUser: true } : admitted
    // Leave the previous room only after the join succeeds, so that a session stays in the previous room if its join is
    // rejected.
    const isClosed = () => result.room.createdAt <= room.closedUpTo
    if (session.roomId !== roomId) {
      if (isClosed()) throw endedDuringJoin()
      await leave(session, 'moved')
    }
    room.record = result.room
    room.pinHash = result.room.locked ? result.pinHash : undefined
    const rejoining = room.members.has(session)
    room.members.add(session)
    session.room = room
    const announce = () => {
      if (result.created) hooks.emit('room:created', result.room, asked)
      if (result.firstOfUser) announcements.joined(roomId, session.user.profile, result.count, session.id)
    }
    if (!session.open || isClosed()) {
      // The user may have joined with another session in the meantime. Nothing else announces that user, because the
      // other session is not the user's first one.
      if (!isClosed()) announce()
      await leave(session, 'disconnected')
      throw endedDuringJoin()
    }
    const snapshot = roomState.hydrate(room, result.documents)
    announce()
    // Call the handlers of `room:join` in the same turn of the event loop as `hydrate`, so that the handlers see the
    // same state as the snapshot.
    if (!rejoining) room.joining.set(session, (room.joining.get(session) ?? []).filter(({ isLocal }) => !isLocal))
    const additions = hooks.gather('room:join', hookMs, room, session)
    sessionRecords.update(session)
    await ownership.joined(room, session, result)
    const extra = await additions
    return {
      room,
      result,
      extra,
      answered () {
        const waiting = takeWaiting(room, session).filter(({ event }) => !isOwnLeave(event, session))
        if (room.members.has(session)) {
          memberLists.listed(room, result.participants, result.count)
          for (const { event } of waiting) memberLists.announced(room, event)
        }
        for (const event of roomState.afterReply(room, session, snapshot, waiting)) session.write(event)
        // If the room was closed during the join, nothing else releases it.
        nodeRooms.release(room)
      }
    }
  }

  function takeWaiting ({ joining }: LocalRoom, session: Session): readonly WaitingEvent[] {
    const waiting = joining.get(session) ?? []
    joining.delete(session)
    return waiting
  }

  async function leave (session: Session, reason: LeaveReason): Promise<void> {
    const { room } = session
    if (!room) return
    hooks.emit('room:leave', room, session, reason)
    room.members.delete(session)
    room.joining.delete(session)
    session.room = null
    sessionRecords.update(session)
    let confirmed = true
    try {
      const result = await store.leave(room.roomId, session.id, session.userKey, clock.now(), reason === 'disconnected')
      if (result?.lastOfUser === true) announcements.left(room.roomId, session.user.id, reason, result.count)
      if (!result) await leaveLostRoom(room, session)
    } catch (err) {
      // The room keeps working on this server. The room is synced when the store is available again.
      unsynced.add()
      confirmed = false
      log.warn({ err, roomId: room.roomId, sessionId: session.id }, 'failed to store a leave')
      if (isLastOfUser(room, session)) {
        announcements.leftUnconfirmed(room.roomId, session.user.id, room.members.size)
        rememberUnconfirmed(room.roomId, session.user.id)
      }
    } finally {
      nodeRooms.release(room, confirmed)
    }
  }

  function rememberUnconfirmed (roomId: string, userId: UserId): void {
    const known = unconfirmedLeaves.get(roomId)
    if (known) known.users.set(userKeyOf(userId), userId)
    else unconfirmedLeaves.set(roomId, { users: new Map([[userKeyOf(userId), userId]]), dueAt: undefined })
  }

  /** @throws UNAVAILABLE */
  async function announceAgain (roomId: string, users: ReadonlyMap<string, UserId>): Promise<void> {
    const [members, { count }] = await Promise.all([store.getMembers(roomId, [...users.keys()]), store.listParticipants(roomId, 0, 1)])
    for (const [i, userId] of [...users.values()].entries()) {
      const profile = members[i]
      if (profile) announcements.stayed(roomId, profile, count)
      else announcements.leftUnconfirmed(roomId, userId, count)
    }
  }

  /** Removes a session from a room that the store has lost. */
  async function leaveLostRoom (room: LocalRoom, session: Session): Promise<void> {
    unsynced.add(room.roomId)
    const [member] = await store.getMembers(room.roomId, [session.userKey])
    if (!member && isLastOfUser(room, session)) announcements.leftUnconfirmed(room.roomId, session.user.id, room.members.size)
  }

  const isLastOfUser = ({ members }: LocalRoom, { userKey }: Session) => ![...members].some((other) => other.userKey === userKey)

  return {
    join,
    leave,
    disconnected (session) {
      const done = leave(session, session.endedFor === 'KICKED' ? 'kicked' : 'disconnected').finally(() => leaving.delete(done))
      leaving.add(done)
    },
    async announceUnconfirmed () {
      for (const [roomId, unconfirmed] of unconfirmedLeaves) {
        unconfirmed.dueAt ??= performance.now() + announceAgainMs
        if (performance.now() < unconfirmed.dueAt) continue
        unconfirmedLeaves.delete(roomId)
        try {
          await announceAgain(roomId, unconfirmed.users)
        } catch (error) {
          for (const userId of unconfirmed.users.values()) rememberUnconfirmed(roomId, userId)
          throw error
        }
      }
    },
    async settled () {
      await Promise.all(leaving)
    }
  }
}
