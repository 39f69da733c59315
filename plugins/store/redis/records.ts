import type { Redis } from 'ioredis'
import { closedMemoryMs } from '../store.ts'
import type { RecordStore } from '../store.ts'
import type { RoomSummary } from '../types.ts'
import { closedKey, emptyRoomsKey, parseRecord, publishArgs, roomKey, roomKeys, roomsKey, usersKey } from './layout.ts'
import type { RoomIndex } from './room-index.ts'

// To fill a page of busy rooms (rooms with members), the first read fetches the requested number of rooms. Each later
// read fetches `busyStride` rooms, up to `busyReads` reads in total.
const busyStride = 500
const busyReads = 4
/**
 * Maximum number of reads to fill a page of the list of all rooms. Each read also removes the ids of missing rooms from
 * the index.
 */
const maxReads = 10

export function createRedisRecords (redis: Redis, nodeId: string, index: RoomIndex): RecordStore {
  async function getRoom (roomId: string): Promise<RoomSummary | undefined> {
    const [hash, participantCount] = await Promise.all([redis.hgetall(roomKey(roomId)), redis.zcard(usersKey(roomId))])
    if (hash.meta === undefined) return
    const producers = Object.entries(hash).reduce((sum, [name, value]) => name.startsWith('producers:') ? sum + Number(value) : sum, 0)
    return { ...parseRecord(hash.meta), participantCount, producers, lastActivityAt: Number(hash.activity) }
  }

  /** @returns the next `limit` ids in the index, and the records of the rooms that still exist */
  async function readAfter (after: string, limit: number): Promise<{ ids: string[], rooms: RoomSummary[] }> {
    const ids = await redis.zrangebylex(roomsKey, after === '' ? '-' : `(${after}`, '+', 'LIMIT', 0, limit)
    const rooms = await Promise.all(ids.map(getRoom))
    ids.forEach((id, i) => { if (!rooms[i]) index.removeMissing(id).catch(() => {}) })
    return { ids, rooms: rooms.filter((room) => room !== undefined) }
  }

  return {
    getRoom,
    getPinHash: async (roomId) => await redis.hget(roomKey(roomId), 'pin') ?? undefined,
    async listRooms (after, limit) {
      // The rooms of some ids may no longer exist, so the loop reads more ids until the page is full or `maxReads` is
      // reached.
      const found: RoomSummary[] = []
      let from = after
      for (let reads = 0; found.length < limit && reads < maxReads; reads++) {
        const { ids, rooms } = await readAfter(from, limit)
        found.push(...rooms)
        if (ids.length < limit) break
        from = ids.at(-1) as string
      }
      return found.slice(0, limit)
    },
    async listBusyRooms (after, limit) {
      const found: RoomSummary[] = []
      let [from, size] = [after, limit + 1]
      for (let reads = 0; reads < busyReads; reads++) {
        const { ids, rooms } = await readAfter(from, size)
        found.push(...rooms.filter(({ participantCount }) => participantCount > 0))
        if (found.length > limit) return { rooms: found.slice(0, limit), next: found[limit - 1]?.roomId }
        if (ids.length < size) return { rooms: found, next: undefined }
        from = ids.at(-1) as string
        size = busyStride
      }
      return { rooms: found, next: from }
    },
    listEmptyRooms: (before, limit) => redis.zrangebyscore(emptyRoomsKey, '-inf', before, 'LIMIT', 0, limit),
    async forgetEmptyRoom (roomId, before) {
      await redis.msabForgetEmpty(emptyRoomsKey, roomKey(roomId), usersKey(roomId), roomId, before)
    },
    async touchRoom (roomId, now, producers) {
      await redis.msabTouch(roomKey(roomId), now, `producers:${nodeId}`, producers ?? '')
    },
    async removeRoom (roomId, onlyIfEmpty = false, publish = undefined) {
      const meta = await redis.msabRemoveRoom(...roomKeys(roomId), closedKey(roomId), onlyIfEmpty ? 1 : 0, closedMemoryMs, ...publishArgs(publish))
      // If the room does not exist, a server may have died after removing the room and before updating the indexes.
      if (meta === null && await redis.exists(roomKey(roomId)) === 1) return
      await Promise.all([redis.zrem(roomsKey, roomId), redis.zrem(emptyRoomsKey, roomId), index.release(roomId)])
      // If the room has been created again, the indexes must contain it.
      if (await redis.exists(roomKey(roomId)) === 1) await index.add(roomId)
      return meta === null ? undefined : parseRecord(meta)
    }
  }
}
