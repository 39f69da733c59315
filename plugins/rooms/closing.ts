import type { FastifyInstance } from 'fastify'
import { createEvent } from '../connections/face.ts'
import type { OutgoingEvent } from '../connections/face.ts'
import { userKeyOf } from '../connections/session.ts'
import { isCoded, unavailable } from '../errors/codes.ts'
import type { Announcements } from './announcements.ts'
import { changeAndPublish, channelOf, closedMessage } from './channel.ts'
import { deliverTo, noKnownUsers } from './node-rooms.ts'
import type { LocalRoom, NodeRooms } from './node-rooms.ts'
import { closeReason } from './messages.ts'
import type { RoomCloseReason } from './messages.ts'
import type { Rooms } from './rooms.ts'
import type { SessionRecords } from './session-records.ts'
import type { RoomStateKernel } from './room-state.ts'

/**
 * A job that calls the `room:resynced` hook after a room is closed. The job is needed if the server that closed the
 * room died before it called the `room:removed` hook.
 */
const closedJob = 'room-closed'

/** A job that kicks a user's sessions again whose servers have missed the message. */
const kickedJob = 'room-kicked'

/** How long other servers have to close a kicked user's sessions before the message is sent again, in milliseconds. */
const kickCheckMs = 1000

/** Closes rooms, and closes the sessions of kicked users. */
export interface Closing extends Pick<Rooms, 'close' | 'kick' | 'kickHere'> {
  /**
   * Removes this server's members from a closed room.
   *
   * @param createdAt when the closed room was created, in epoch milliseconds. A later room with the same name stays
   *   open
   */
  closeHere (room: LocalRoom, createdAt: number, reason: RoomCloseReason, event?: OutgoingEvent): void
}

export interface ClosingOptions {
  nodeRooms: NodeRooms
  roomState: RoomStateKernel
  announcements: Announcements
  sessionRecords: SessionRecords
}

const closedEvent = (roomId: string, reason: RoomCloseReason, timestamp: number) =>
  createEvent('room:closed', { roomId, reason: closeReason.parse(reason), timestamp })

export function createClosing (app: FastifyInstance, { nodeRooms, roomState, announcements, sessionRecords }: ClosingOptions): Closing {
  const { bus, clock, cluster, directory, hooks, jobs, nodeId, sockets, store, timings } = app

  jobs.on(closedJob, async (roomId) => {
    if (await store.getRoom(roomId) === undefined) hooks.emit('room:resynced', roomId)
  })

  function removeMembers (room: LocalRoom, reason: RoomCloseReason): void {
    announcements.forget(room.roomId)
    roomState.forget(room.roomId)
    for (const session of room.members) {
      hooks.emit('room:leave', room, session, 'closed')
      session.room = null
      sessionRecords.update(session)
    }
    room.members.clear()
    room.known = noKnownUsers()
    hooks.emit('room:close', room, reason)
    nodeRooms.release(room)
  }

  /** @param sessionIds the sessions to close; if omitted, all of the user's sessions in the room */
  function kickHere (roomId: string, userKey: string, sessionIds?: readonly string[]): void {
    for (const session of sockets.ofUser(userKey)) {
      if (sessionIds?.includes(session.id) === false) continue
      if (session.roomId === roomId || nodeRooms.get(roomId)?.joining.has(session) === true) session.close('KICKED')
    }
  }
  cluster.on('room:kick', ({ roomId, userKey, sessionIds }) => kickHere(roomId, userKey, sessionIds))

  async function sessionsIn (roomId: string, userKey: string) {
    return (await directory.sessionsOf(userKey)).filter((session) => session.roomId === roomId)
  }

  async function scheduleKickCheck (roomId: string, userKey: string, sessionIds: readonly string[]): Promise<void> {
    await jobs.schedule(kickedJob, JSON.stringify([roomId, userKey, sessionIds]), clock.now() + kickCheckMs)
  }

  // A server whose subscription is interrupted misses the message that kicks a user. Only the sessions that were in the
  // room at the time of the kick are closed: without a ban, the user may join again with other sessions.
  jobs.on(kickedJob, async (key) => {
    const [roomId, userKey, sessionIds] = JSON.parse(key) as [string, string, string[]]
    const missed = (await sessionsIn(roomId, userKey)).map(({ sessionId }) => sessionId).filter((id) => sessionIds.includes(id))
    if (missed.length === 0) return
    await cluster.send('room:kick', { roomId, userKey, sessionIds: missed })
    await scheduleKickCheck(roomId, userKey, missed)
  })

  return {
    closeHere (room, createdAt, reason, event = closedEvent(room.roomId, reason, clock.now())) {
      room.closedUpTo = Math.max(room.closedUpTo, createdAt)
      // Keep the members of a later room with the same name. A join in flight checks `closedUpTo` when it completes.
      if (room.record.createdAt > createdAt) return
      for (const session of room.members) deliverTo(room, session, event)
      removeMembers(room, reason)
    },
    async close (roomId, reason, onlyIfEmpty) {
      const message = closedMessage(closedEvent(roomId, reason, clock.now()), reason)
      // Send both commands to the store in one round trip.
      const [removed] = await Promise.all([
        changeAndPublish(
          bus, channelOf(roomId), message,
          (publish) => store.removeRoom(roomId, onlyIfEmpty, publish),
          (room) => room && `${message}\n${room.createdAt}`
        ),
        jobs.schedule(closedJob, roomId, clock.now() + timings.closeVerifyDelayMs)
      ])
      if (!removed) return false
      hooks.emit('room:removed', removed, reason)
      return true
    },
    kickHere,
    async kick (roomId, userId, banUntil, options = {}) {
      const userKey = userKeyOf(userId)
      // Remove the user even if the ban cannot be stored.
      const [banFailed, sessions] = await Promise.all([
        banUntil === undefined ? undefined : store.ban(roomId, userKey, banUntil, { userId, ...options }).then(() => undefined, (error: unknown) => error),
        sessionsIn(roomId, userKey).catch(() => undefined)
      ])
      if (isCoded(banFailed) && banFailed.code === 'BAN_LIMIT') throw banFailed
      const elsewhere = (sessions ?? []).filter((session) => session.nodeId !== nodeId).map(({ sessionId }) => sessionId)
      const [, sentToAll, checked] = await Promise.all([
        store.forbidReturn(roomId, userKey).catch(() => { /* The user can then return to a locked room for up to a minute. */ }),
        cluster.send('room:kick', { roomId, userKey }),
        elsewhere.length === 0 ? sessions !== undefined : scheduleKickCheck(roomId, userKey, elsewhere).then(() => true, () => false)
      ])
      hooks.emit('room:kicked', roomId, userId)
      if (banFailed !== undefined) throw unavailable('The user was removed, but storing the ban failed', banFailed)
      if (!sentToAll || !checked) throw unavailable('The other servers are unreachable')
    }
  }
}
