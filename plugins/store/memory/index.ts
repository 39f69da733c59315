import type { KeyValue } from '../../kv/kv.ts'
import type { NodeMembersStore, RoomStore } from '../store.ts'
import { createMemoryMembers } from './members.ts'
import { createMemoryRecords } from './records.ts'
import type { MemoryRooms } from './rooms.ts'
import { createMemoryState } from './state.ts'

/** There is only one server, and its rooms end with its process, so nothing has to be cleaned up or restored. */
function createMemoryNodeMembers ({ all }: MemoryRooms): NodeMembersStore {
  const unchanged = (roomId: string) => ({ joined: [], left: [], count: all.get(roomId)?.users.size ?? 0 })
  return {
    listNodeRooms: async () => [],
    replaceNodeMembers: async (_nodeId, { room: { roomId } }) => ({ ...unchanged(roomId), documents: new Map(all.get(roomId)?.documents) }),
    removeNodeMembers: async (_nodeId, roomId) => unchanged(roomId),
    areIntact: async (roomIds) => roomIds.map(() => true),
    releaseRoom: async () => {},
    forgetNodeRooms: async () => {}
  }
}

/**
 * The room store of a single server, in memory.
 *
 * @param kv stores the bans, which must survive a crash
 */
export function createMemoryStore (kv: Pick<KeyValue, 'namespace'>): RoomStore {
  const rooms: MemoryRooms = { all: new Map(), empty: new Map() }
  return {
    kind: 'memory',
    async check () {},
    ...createMemoryMembers(rooms, kv.namespace('bans')),
    ...createMemoryRecords(rooms),
    ...createMemoryState(rooms),
    ...createMemoryNodeMembers(rooms)
  }
}
