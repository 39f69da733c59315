import { cursorBehind, fitting, keyBehind, maxPageBytes, userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, z } from 'flylive-audio-server/feature'
import { createCache } from './cache.ts'
import type { config } from './config.ts'
import type { ListedRoom } from './messages.ts'

export interface Page {
  rooms: ListedRoom[]
  nextCursor: string | null
}

export interface Lobby {
  /**
   * Returns a page of the rooms that have members. The page is at most `cacheMs` old.
   *
   * @throws UNAVAILABLE
   */
  list (cursor: string | undefined, limit: number): Promise<Page>
}

const maxCachedPages = 500
/** Maximum size of a room's `people`, in bytes, so that every room fits on a page. */
const maxPeopleBytes = maxPageBytes / 2

export function createLobby (app: FeatureInstance, { cacheMs, people }: z.output<typeof config>): Lobby {
  const { features, store } = app
  const pages = createCache<Page>(cacheMs, maxCachedPages)

  /** Reads a page from the store. The number of round trips does not depend on the number of rooms. */
  async function read (after: string, limit: number): Promise<Page> {
    const { rooms, next } = await store.listBusyRooms(after, limit)
    const [owners, seats] = rooms.length > 0 ? await Promise.all([app.rooms.ownersOf(rooms), features.getFeature('seats')?.seatsOf(rooms)]) : [[], []]
    // The members of a locked room are hidden, because only users with the PIN may see them.
    const open = rooms.flatMap(({ roomId, locked }, i) => locked ? [] : [{ roomId, first: (seats?.[i]?.seats ?? []).map(({ userId }) => userKeyOf(userId)) }])
    const found = people > 0 && open.length > 0 ? await store.getSomeMembers(open, people) : []
    const named = new Map(open.map(({ roomId }, i) => [roomId, found[i]]))
    const listed = fitting(rooms.map(({ roomId, ownerId, participantCount, locked, createdAt }, i) => ({
      roomId,
      ownerId: owners[i] ?? ownerId,
      participantCount,
      isLocked: locked,
      createdAt,
      ...(seats ? { seatCount: seats[i]?.seatCount, seated: seats[i]?.present } : {}),
      people: fitting(named.get(roomId) ?? [], maxPeopleBytes)
    })), maxPageBytes)
    return { rooms: listed, nextCursor: cursorBehind(listed.length < rooms.length ? listed.at(-1)?.roomId : next) }
  }

  return {
    list (cursor, limit) {
      const after = keyBehind(cursor)
      return pages.get(`${limit} ${after}`, () => read(after, limit))
    }
  }
}
