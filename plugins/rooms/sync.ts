import type { FastifyInstance } from 'fastify'
import type { Announcements } from './announcements.ts'
import { channelOf, restoredMessage } from './channel.ts'
import type { Closing } from './closing.ts'
import type { LocalRoom, NodeRooms } from './node-rooms.ts'
import type { RoomStateKernel } from './room-state.ts'

export interface UnsyncedRooms {
  /** Whether to sync all of this server's rooms and sessions. */
  all: boolean
  roomIds: ReadonlySet<string>
}

/** Rooms whose stored data may be older than this server's data. The reconciler syncs them. */
export interface Unsynced {
  /** @param roomId the room to sync; if omitted, all of this server's rooms and sessions */
  add (roomId?: string): void
  delete (roomId: string): void
  /** @returns what has been added since the last call */
  take (): UnsyncedRooms
}

export function createUnsynced (): Unsynced {
  let all = false
  let roomIds = new Set<string>()
  return {
    add (roomId) {
      if (roomId === undefined) all = true
      else roomIds.add(roomId)
    },
    delete (roomId) {
      roomIds.delete(roomId)
    },
    take () {
      const taken = { all, roomIds }
      all = false
      roomIds = new Set()
      return taken
    }
  }
}

/** Syncs this server's data about a room with the store, after an outage or a loss of data. */
export interface RoomSync {
  /**
   * Writes this server's members and room state to the store, and reads newer room state from the store.
   *
   * @throws UNAVAILABLE, in which case the room stays unsynced
   */
  sync (room: LocalRoom): Promise<void>
  /**
   * Restores a room that is missing from the store. Does not restore a closed room, even if this server has not yet
   * received the message that the room was closed.
   *
   * @returns whether the room exists again
   */
  restore (room: LocalRoom): Promise<boolean>
  /** Removes a server's members from a room, because the server is dead or no longer has the room. */
  drop (nodeId: string, roomId: string): Promise<void>
}

export interface RoomSyncOptions {
  unsynced: Unsynced
  nodeRooms: NodeRooms
  roomState: RoomStateKernel
  announcements: Announcements
  closing: Closing
}

export function createRoomSync ({ bus, nodeId, store }: Pick<FastifyInstance, 'bus' | 'nodeId' | 'store'>, { unsynced, nodeRooms, roomState, announcements, closing }: RoomSyncOptions): RoomSync {
  async function sync (room: LocalRoom): Promise<void> {
    const { roomId, record, pinHash } = room
    // A later `unsynced.add(roomId)` causes another sync.
    unsynced.delete(roomId)
    const members = [...room.members].map((session) => ({ sessionId: session.id, userKey: session.userKey, profile: session.user.profile }))
    // The store may already list a joining socket that is not in `members` yet. This sync would remove that socket from
    // the store, so sync again later.
    if (room.joining.size > 0) unsynced.add(roomId)
    if (members.length === 0) return
    const documents = roomState.snapshot(roomId)
    const isUncertain = nodeRooms.uncertain.delete(roomId)
    try {
      const publish = bus.encode(channelOf(roomId), restoredMessage(nodeId))
      const change = await store.replaceNodeMembers(nodeId, { room: record, pinHash, members, documents, publish })
      if (change.closed === true) return closing.closeHere(room, room.record.createdAt, 'closed_by_admin')
      announcements.changed(roomId, change)
      if (nodeRooms.get(roomId) === room) await roomState.resync(room, documents, change.documents)
    } catch (error) {
      unsynced.add(roomId)
      if (isUncertain) nodeRooms.uncertain.add(roomId)
      throw error
    }
  }

  return {
    sync,
    async restore (room) {
      if (room.members.size === 0) return false
      await bus.check().catch(() => { /* If the bus is down, this server learns from the store, in `sync`, whether the room was closed. */ })
      await sync(room)
      return room.members.size > 0
    },
    async drop (node, roomId) {
      announcements.changed(roomId, await store.removeNodeMembers(node, roomId))
    }
  }
}
