import { hasOwner, noOwner, userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, RoomRecord, UserId } from 'flylive-audio-server/feature'
import type { RoomRecordOfApi, RoomRecords } from './room-records.ts'
import type { Broadcasts } from './service.ts'

/**
 * The sender of a request: a user or a server admin. `userId` is null for a request without a token, which is
 * accepted only with ALLOW_ANONYMOUS.
 */
export type Caller = { isAdmin: true } | { isAdmin: false, userId: UserId | null }

/** A room that was created over the REST API (it has a `record`), that members have joined (it is `live`), or both. */
export type ApiRoom = { roomId: string, record: RoomRecordOfApi, live: RoomRecord | undefined } | { roomId: string, record: undefined, live: RoomRecord }

/**
 * Looks up rooms for the REST API, and checks what callers are allowed to do with them. All methods throw UNAVAILABLE
 * while the store cannot be reached.
 */
export interface ApiRooms {
  /** @returns undefined if there is no such room */
  find (roomId: string): Promise<ApiRoom | undefined>
  /**
   * @returns all rooms on air, and rooms that were created over the API, ordered by id. If the caller has a user id,
   *   the rooms created over the API are only the caller's own rooms
   */
  list (caller: Caller): Promise<ApiRoom[]>
  /**
   * Whether the caller owns the room: the caller is a server admin, created the room over the API, has the role host in
   * the room's record, or is the owner of the live room.
   */
  owns (caller: Caller, room: ApiRoom): Promise<boolean>
  /** Whether the caller owns the room or is an admin in it. */
  hosts (caller: Caller, room: ApiRoom): Promise<boolean>
  /**
   * @param onAir for each room, whether it is on air
   * @returns for each room, whether the caller is allowed to list it. Callers can list their own rooms, and rooms on
   *   air that are neither locked nor protected by a PIN
   */
  areVisible (caller: Caller, rooms: readonly ApiRoom[], onAir: readonly boolean[]): Promise<boolean[]>
}

const isSame = (one: UserId | null, other: UserId | null) => one !== null && other !== null && userKeyOf(one) === userKeyOf(other)

/**
 * Whether the API's record belongs to the live room with the same id. It does not if the live room is older than the
 * record, or if the backend has given the live room a different owner.
 */
const isRecordOf = ({ createdAt, ownerId }: RoomRecordOfApi, live: RoomRecord) =>
  live.createdAt >= createdAt && (ownerId === null || isSame(ownerId, live.ownerId))

export function createApiRooms ({ rooms, store }: Pick<FeatureInstance, 'rooms' | 'store'>, records: RoomRecords, broadcasts: Pick<Broadcasts, 'roomsOnAir'>): ApiRooms {
  const combine = (roomId: string, record: RoomRecordOfApi | undefined, live: RoomRecord | undefined): ApiRoom | undefined => {
    if (record && (!live || isRecordOf(record, live))) return { roomId, record, live }
    return live && { roomId, record: undefined, live }
  }

  /** Whether the caller is a server admin, created the room, or has the role host in the room's record. */
  const isCreator = (caller: Caller, { isAnonymous, ownerId, users }: RoomRecordOfApi) => caller.isAdmin ||
    isSame(caller.userId, ownerId) || (isAnonymous && caller.userId === null) ||
    users.some(({ userId, role }) => role === 'host' && isSame(userId, caller.userId))

  async function owns (caller: Caller, { record, live }: ApiRoom): Promise<boolean> {
    if (caller.isAdmin || (record && isCreator(caller, record))) return true
    return live !== undefined && hasOwner(live) && isSame(caller.userId, await rooms.ownerOf(live))
  }

  return {
    async find (roomId) {
      const [record, live] = await Promise.all([records.get(roomId), store.getRoom(roomId)])
      return combine(roomId, record, live)
    },
    async list (caller) {
      const [own, onAir] = await Promise.all([caller.isAdmin || caller.userId === null ? records.ids() : records.idsOf(caller.userId), broadcasts.roomsOnAir()])
      const ids = [...new Set([...own, ...onAir])].sort()
      const [known, live] = await Promise.all([records.getMany(ids), Promise.all(ids.map(async (roomId) => await store.getRoom(roomId)))])
      return ids.flatMap((roomId, i) => combine(roomId, known[i], live[i]) ?? [])
    },
    owns,
    async hosts (caller, room) {
      if (await owns(caller, room)) return true
      if (caller.isAdmin || caller.userId === null || !room.live) return false
      return ['owner', 'admin'].includes(await rooms.roleOfUser(room.live, caller.userId) ?? 'member')
    },
    async areVisible (caller, all, onAir) {
      const live = all.flatMap((room) => room.live ?? [])
      const overviews = new Map((await rooms.overviewsOf(live)).map((overview, i) => [live[i]?.roomId, overview]))
      return all.map(({ roomId, record }, i) => {
        const { isLocked = false, ownerId = noOwner } = overviews.get(roomId) ?? {}
        if (caller.isAdmin || (record && isCreator(caller, record))) return true
        if (ownerId !== noOwner && isSame(caller.userId, ownerId)) return true
        return onAir[i] === true && record?.isProtected !== true && !isLocked
      })
    }
  }
}
