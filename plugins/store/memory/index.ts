import { createClock } from '../../clock.ts'
import type { Clock } from '../../clock.ts'
import type { KeyValue } from '../../kv/kv.ts'
import type { NodeMembersStore, RoomStore } from '../store.ts'
import { createMemoryBans } from './bans.ts'
import { createMemoryMembers } from './members.ts'
import { createMemoryRecords } from './records.ts'
import type { MemoryRooms } from './rooms.ts'
import { createSavedRooms } from './saved-rooms.ts'
import { createMemoryState } from './state.ts'

/**
 * The memory store needs no cleanup or recovery, because all members are on one server and are gone when that process
 * ends.
 */
function createMemoryNodeMembers ({ all }: MemoryRooms): NodeMembersStore {
  const unchanged = (roomId: string) => ({ joined: [], left: [], count: all.get(roomId)?.users.size ?? 0 })
  return {
    listNodeRooms: async () => [],
    replaceNodeMembers: async (_nodeId, { room: { roomId } }) => ({ ...unchanged(roomId), documents: new Map(all.get(roomId)?.documents) }),
    removeNodeMembers: async (_nodeId, roomId) => unchanged(roomId),
    areIntact: async (rooms) => rooms.map(() => true),
    releaseRoom: async () => {},
    forgetNodeRooms: async () => {}
  }
}

/**
 * The room store of a single server, in memory. Restores the rooms of the previous process, without their members.
 *
 * @param kv stores the data that must survive a crash: bans, and the record, PIN and durable state of each room
 */
export async function createMemoryStore (kv: Pick<KeyValue, 'namespace'>, clock: Clock = createClock()): Promise<RoomStore> {
  const rooms: MemoryRooms = { all: new Map(), empty: new Map() }
  const saved = createSavedRooms(kv.namespace('rooms'))
  await saved.restore(rooms, clock.now())
  return {
    kind: 'memory',
    async check () {},
    ...createMemoryMembers(rooms, saved, await createMemoryBans(kv.namespace('bans'), clock), clock),
    ...createMemoryRecords(rooms, saved),
    ...createMemoryState(rooms, saved),
    ...createMemoryNodeMembers(rooms)
  }
}
