import type { Redis } from 'ioredis'
import { nodeRoomsKey, roomKey, roomsKey } from './layout.ts'

/** Two indexes: one lists all rooms, the other lists this server's rooms. */
export interface RoomIndex {
  /** Adds a room. Call this before the room has members, so that a crash cannot leave a room without an index entry. */
  add (roomId: string): Promise<void>
  /** Makes the next {@link add} write the room's index entries again. */
  invalidate (roomId: string): void
  /** Removes a room from the index of this server's rooms. */
  release (roomId: string): Promise<void>
  /** Removes the id of a missing room from both indexes. Errors are ignored, because the next lookup removes the id. */
  removeMissing (roomId: string): Promise<void>
}

export function createRoomIndex (redis: Redis, nodeId: string): RoomIndex {
  const added = new Set<string>()

  async function add (roomId: string): Promise<void> {
    if (added.has(roomId)) return
    await Promise.all([redis.zadd(roomsKey, 0, roomId), redis.sadd(nodeRoomsKey(nodeId), roomId)])
    added.add(roomId)
  }

  return {
    add,
    async removeMissing (roomId) {
      added.delete(roomId)
      const found = await Promise.all([redis.zrem(roomsKey, roomId), redis.srem(nodeRoomsKey(nodeId), roomId), redis.exists(roomKey(roomId))]).catch(() => [])
      // A server has created the room again in the meantime.
      if (found[2] === 1) await add(roomId).catch(() => { /* The next sync adds the room. */ })
    },
    invalidate (roomId) {
      added.delete(roomId)
    },
    async release (roomId) {
      // Delete the room from `added` before sending the command, so that a concurrent join adds the room to the index
      // again.
      added.delete(roomId)
      await redis.srem(nodeRoomsKey(nodeId), roomId)
    }
  }
}
