import type { Redis } from 'ioredis'
import { nodeRoomsKey, roomsKey } from './layout.ts'

/** The index of all rooms and that of this server's rooms. */
export interface RoomIndex {
  /** Adds a room before it has members, so that a crash in between loses nothing. */
  add (roomId: string): Promise<void>
  /** Makes the next {@link add} write the room again. */
  invalidate (roomId: string): void
  /** Removes a room from this server's rooms. */
  release (roomId: string): Promise<void>
}

export function createRoomIndex (redis: Redis, nodeId: string): RoomIndex {
  const added = new Set<string>()
  return {
    async add (roomId) {
      if (added.has(roomId)) return
      await Promise.all([redis.zadd(roomsKey, 0, roomId), redis.sadd(nodeRoomsKey(nodeId), roomId)])
      added.add(roomId)
    },
    invalidate (roomId) {
      added.delete(roomId)
    },
    async release (roomId) {
      // Before the command is sent: a join that starts now adds the room again, after it.
      added.delete(roomId)
      await redis.srem(nodeRoomsKey(nodeId), roomId)
    }
  }
}
