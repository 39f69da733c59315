import type { Redis } from 'ioredis'
import type { Clock } from '../../clock.ts'
import type { NodeMembersStore } from '../store.ts'
import type { Publication, WrittenMembers } from '../types.ts'
import { closedKey, emptyRoomsKey, memberKeys, nodeRoomsKey, parseDocuments, parseProfile, publishArgs, roomKey, roomKeys, sessionField } from './layout.ts'
import type { RoomIndex } from './room-index.ts'

interface Replacement {
  nodeId: string
  roomId: string
  /** JSON of the room record; if empty, no room is created. */
  meta: string
  pinHash?: string | undefined
  /** JSON of the server's members. */
  members: string
  /** Name, version and state of each document. */
  documents?: readonly string[]
  publish?: Publication | undefined
}

export function createRedisNodeMembers (redis: Redis, nodeId: string, index: RoomIndex, clock: Clock): NodeMembersStore {
  async function replace ({ nodeId, roomId, meta, pinHash, members, documents = [], publish }: Replacement): Promise<WrittenMembers> {
    const now = clock.now()
    const [joined, left, count, closed, stored] = await redis.msabReplaceNodeMembers(
      ...roomKeys(roomId), closedKey(roomId), nodeId, meta, pinHash ?? '', now, members, ...publishArgs(publish), ...documents
    )
    // If the room was already empty, keep the stored time when the room became empty.
    if (count === 0) await (left.length > 0 ? redis.zadd(emptyRoomsKey, now, roomId) : redis.zadd(emptyRoomsKey, 'NX', now, roomId))
    return {
      joined: joined.map(parseProfile),
      left: left.filter((text) => text !== null).map(parseProfile),
      count,
      documents: parseDocuments(stored),
      ...(closed === 1 ? { closed: true } : {})
    }
  }

  return {
    listNodeRooms: (node) => redis.smembers(nodeRoomsKey(node)),
    async replaceNodeMembers (node, { room, pinHash, members, documents, publish }) {
      const list = members.map((member) => [sessionField(node, member.sessionId), member.userKey, JSON.stringify(member.profile)])
      if (node === nodeId) index.invalidate(room.roomId)
      // Send both commands in the same turn of the event loop. If the script waited for the index command, the members
      // could change before the script was sent.
      const [written] = await Promise.all([
        replace({
          nodeId: node,
          roomId: room.roomId,
          meta: JSON.stringify(room),
          pinHash,
          members: JSON.stringify(list),
          documents: [...documents].flatMap(([name, { version, state }]) => [name, version, state]),
          publish
        }),
        node === nodeId ? index.add(room.roomId) : undefined
      ])
      return written
    },
    async removeNodeMembers (node, roomId) {
      const { joined, left, count } = await replace({ nodeId: node, roomId, meta: '', members: '[]' })
      await (node === nodeId ? index.release(roomId) : redis.srem(nodeRoomsKey(node), roomId))
      return { joined, left, count }
    },
    async areIntact (rooms) {
      const intact = await Promise.all(rooms.map(({ roomId, sessionId }) => redis.msabIsIntact(roomKey(roomId), ...memberKeys(roomId), sessionField(nodeId, sessionId))))
      return intact.map((result) => result === 1)
    },
    releaseRoom: index.release,
    async forgetNodeRooms (node) {
      await redis.del(nodeRoomsKey(node))
    }
  }
}
