import { createSearch, cursorBehind, fitting, hasOwner, keyBehind, maxPageBytes, userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, RoomOverview, RoomSummary, z } from 'flylive-audio-server/feature'
import { createCache } from './cache.ts'
import type { config } from './config.ts'
import type { ListedRoom } from './messages.ts'
import type { Speaking } from './speaking.ts'

export interface Page {
  rooms: ListedRoom[]
  nextCursor: string | null
}

export interface Lobby {
  /**
   * Returns a page of rooms that have members. The page is at most `cacheMs` old.
   *
   * @param query if present, the page contains only rooms whose id, title, topic and host name together contain all of
   *   these words. At most {@link maxSearched} rooms are searched per page
   * @throws UNAVAILABLE
   */
  list (cursor: string | undefined, limit: number, query?: string): Promise<Page>
}

const maxCachedPages = 500
/** Maximum number of rooms to read for one page of search results. */
export const maxSearched = 1000
/** Maximum size of a room's `people`, in bytes, so that every room fits on a page. */
const maxPeopleBytes = maxPageBytes / 2

interface Found {
  room: RoomSummary
  overview: RoomOverview
}

export function createLobby (app: FeatureInstance, { cacheMs, people }: z.output<typeof config>, speaking: Speaking): Lobby {
  const { features, hooks, store } = app
  const pages = createCache<Page>(cacheMs, maxCachedPages)

  /**
   * Reads rooms with their overviews. The number of round trips to the store does not depend on the number of rooms.
   */
  async function readRooms (after: string, limit: number): Promise<{ found: Found[], next: string | undefined }> {
    const { rooms: busy, next } = await store.listBusyRooms(after, limit)
    // Rooms without an owner are not listed, because the feature that manages such a room decides who is allowed to
    // join.
    const rooms = busy.filter(hasOwner)
    const overviews = rooms.length > 0 ? await app.rooms.overviewsOf(rooms) : []
    return { found: rooms.map((room, i) => ({ room, overview: overviews[i] as RoomOverview })), next }
  }

  /** Reads up to {@link maxSearched} rooms and returns at most `limit` matches. */
  async function search (after: string, limit: number, query: string): Promise<{ found: Found[], next: string | undefined }> {
    const matches = createSearch(query)
    const { found, next } = await readRooms(after, maxSearched)
    const matching = found.filter(({ room: { roomId }, overview: { hostName, title, topic, isLocked } }) => matches([roomId, title, topic, isLocked ? null : hostName]))
    const shown = matching.slice(0, limit)
    return { found: shown, next: matching.length > limit ? shown.at(-1)?.room.roomId : next }
  }

  async function describe (found: readonly Found[]): Promise<ListedRoom[]> {
    if (found.length === 0) return []
    const rooms = found.map(({ room }) => room)
    const [seats, onAir] = await Promise.all([features.getFeature('seats')?.seatsOf(rooms), hooks.ask('lobby:onAir', rooms)])
    // Hide the members of a locked room, because only users in the room are allowed to see its members.
    const open = found.flatMap(({ room: { roomId }, overview }, i) => overview.isLocked ? [] : [{ roomId, first: (seats?.[i]?.seats ?? []).map(({ userId }) => userKeyOf(userId)) }])
    const members = people > 0 && open.length > 0 ? await store.getSomeMembers(open, people) : []
    const named = new Map(open.map(({ roomId }, i) => [roomId, members[i]]))
    return found.map(({ room: { roomId, participantCount, createdAt }, overview }, i) => ({
      roomId,
      ...overview,
      hostName: overview.isLocked ? null : overview.hostName,
      participantCount,
      createdAt,
      live: { speaking: overview.isLocked ? [] : speaking.of(roomId), onAir: onAir.some((rooms) => rooms[i] === true) },
      ...(seats ? { seatCount: seats[i]?.seatCount, seated: seats[i]?.present } : {}),
      people: fitting(named.get(roomId) ?? [], maxPeopleBytes)
    }))
  }

  async function read (after: string, limit: number, query: string | undefined): Promise<Page> {
    const { found, next } = await (query === undefined ? readRooms(after, limit) : search(after, limit, query))
    const all = await describe(found)
    const listed = fitting(all, maxPageBytes)
    return { rooms: listed, nextCursor: cursorBehind(listed.length < all.length ? listed.at(-1)?.roomId : next) }
  }

  return {
    list (cursor, limit, query) {
      const after = keyBehind(cursor)
      return pages.get(JSON.stringify([limit, after, query]), () => read(after, limit, query))
    }
  }
}
