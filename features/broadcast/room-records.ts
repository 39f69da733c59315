import { randomInt } from 'node:crypto'
import { createError, userId as userIdSchema, userKeyOf, withDetails, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'

export const RoomExists = createError('ROOM_EXISTS', 'Room %s already exists', 409)
export const RoomQuota = createError('ROOM_QUOTA', 'You already have the maximum of %s rooms', 429)
export const AnchorLimit = createError('ANCHOR_LIMIT', 'Room %s already has %s anchors', 409)

export const userRole = z.enum(['host', 'guest', 'anchor'])

const record = z.object({
  roomId: z.string(),
  /** Null if a server admin or an anonymous client created the room. */
  ownerId: userIdSchema.nullable(),
  /** True if a client without a token created the room. Any client without a token can manage such a room. */
  isAnonymous: z.boolean().default(false),
  pin: z.string(),
  /**
   * True if a client chose the PIN; false if the server generated it. A generated PIN does not protect the broadcast.
   */
  isProtected: z.boolean(),
  maxAnchors: z.int(),
  /** Epoch milliseconds. */
  createdAt: z.number(),
  /** When the room was first started or on air; undefined before that. Epoch milliseconds. */
  startedAt: z.number().optional(),
  /**
   * True if the room must not go on air when a member joins the empty room. Set when the room first goes on air
   * without a start through the API, and when a host stops the broadcast. A start through the API clears it.
   */
  isStopped: z.literal(true).optional(),
  users: z.array(z.object({ userId: z.string(), role: userRole }))
})
/**
 * A room that was created over the REST API. A live room with the same id can be a different room; see `isRecordOf` in
 * api-rooms.ts.
 */
export type RoomRecordOfApi = z.output<typeof record>

/** When the list of users in a room's record has this length, the oldest guests are removed from the list. */
export const maxUsers = 1000

/**
 * The rooms created over the REST API, on all servers. All methods throw UNAVAILABLE while the store cannot be reached.
 */
export interface RoomRecords {
  get (roomId: string): Promise<RoomRecordOfApi | undefined>
  getMany (roomIds: readonly string[]): Promise<(RoomRecordOfApi | undefined)[]>
  list (): Promise<RoomRecordOfApi[]>
  ids (): Promise<string[]>
  /** @returns the ids of the rooms that a user has created */
  idsOf (userId: UserId): Promise<string[]>
  /** @throws ROOM_EXISTS, ROOM_QUOTA */
  create (room: Pick<RoomRecordOfApi, 'ownerId' | 'isAnonymous' | 'maxAnchors'> & { roomId?: string | undefined, pin?: string | undefined }): Promise<RoomRecordOfApi>
  /**
   * Changes a room atomically.
   *
   * @param change returns the changed record. It is called again if another server changes the record at the same time
   * @returns undefined if there is no such room
   */
  change (roomId: string, change: (room: RoomRecordOfApi) => RoomRecordOfApi): Promise<RoomRecordOfApi | undefined>
  /** @returns whether the room existed */
  delete (roomId: string): Promise<boolean>
}

const alphanumerics = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789'
const randomText = (length: number) => Array.from({ length }, () => alphanumerics[randomInt(alphanumerics.length)]).join('')

export function createRoomRecords ({ clock, kv }: FeatureInstance, maxRoomsPerUser: number): RoomRecords {
  const rooms = kv.namespace('broadcast-rooms')
  /** The ids of each user's rooms, so that checking the quota does not require reading all rooms. */
  const owned = kv.namespace('broadcast-owned')
  const parse = (text: string | undefined) => text === undefined ? undefined : record.parse(JSON.parse(text))

  const getMany = async (roomIds: readonly string[]) => (await rooms.getMany(roomIds)).map(parse)
  const ids = async () => (await rooms.list()).sort()
  const parseOwned = (text: string | undefined) => text === undefined ? [] : z.array(z.string()).parse(JSON.parse(text))

  /** @param update returns the new list, or undefined to leave the list unchanged */
  async function changeOwned (ownerId: UserId, update: (ids: readonly string[]) => string[] | undefined): Promise<boolean> {
    const key = userKeyOf(ownerId)
    for (;;) {
      const before = await owned.get(key)
      const next = update(parseOwned(before))
      if (!next) return false
      if (await owned.compareAndSet(key, before, JSON.stringify(next))) return true
    }
  }

  /**
   * Adds a room to the list of rooms that count towards a user's quota.
   *
   * @returns false if the user already has the maximum number of rooms
   */
  const take = async (ownerId: UserId, roomId: string) =>
    await changeOwned(ownerId, (ids) => ids.includes(roomId) ? [...ids] : ids.length >= maxRoomsPerUser ? undefined : [...ids, roomId])

  /**
   * Removes rooms that no longer exist from a user's list of rooms. Such entries remain if a server dies while it
   * creates or deletes a room.
   *
   * @returns whether any rooms were removed
   */
  async function prune (ownerId: UserId): Promise<boolean> {
    const ids = parseOwned(await owned.get(userKeyOf(ownerId)))
    const found = await getMany(ids)
    const gone = new Set(ids.filter((_id, i) => !found[i]))
    return gone.size > 0 && await changeOwned(ownerId, (ids) => ids.filter((id) => !gone.has(id)))
  }

  return {
    get: async (roomId) => parse(await rooms.get(roomId)),
    getMany,
    list: async () => (await getMany(await ids())).flatMap((room) => room ?? []),
    ids,
    idsOf: async (userId) => parseOwned(await owned.get(userKeyOf(userId))),
    async create ({ roomId = `room-${randomText(10)}`, pin, ownerId, isAnonymous, maxAnchors }) {
      const room: RoomRecordOfApi = { roomId, ownerId, isAnonymous, pin: pin ?? randomText(6), isProtected: pin !== undefined, maxAnchors, createdAt: clock.now(), users: [] }
      if (await rooms.get(roomId) !== undefined) throw new RoomExists(roomId)
      if (ownerId !== null && !await take(ownerId, roomId) && !(await prune(ownerId) && await take(ownerId, roomId))) {
        throw withDetails(new RoomQuota(maxRoomsPerUser), { limit: maxRoomsPerUser })
      }
      if (await rooms.compareAndSet(roomId, undefined, JSON.stringify(room))) return room
      if (ownerId !== null) await changeOwned(ownerId, (ids) => ids.filter((id) => id !== roomId))
      throw new RoomExists(roomId)
    },
    async change (roomId, change) {
      for (;;) {
        const before = await rooms.get(roomId)
        const room = parse(before)
        if (!room) return
        const next = change(room)
        if (await rooms.compareAndSet(roomId, before, JSON.stringify(next))) return next
      }
    },
    async delete (roomId) {
      const room = parse(await rooms.get(roomId))
      if (!room) return false
      const existed = await rooms.delete(roomId)
      if (room.ownerId !== null) await changeOwned(room.ownerId, (ids) => ids.filter((id) => id !== roomId))
      return existed
    }
  }
}
