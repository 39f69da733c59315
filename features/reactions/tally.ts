/** How often each emoji was sent. */
export type Counts = ReadonlyMap<string, number>

/** Gathers the reactions in big rooms. */
export interface Tally {
  /** Counts reactions: they are told once the room's turn comes. */
  add (roomId: string, counts: Counts): void
  /** The room is closed: there is nobody to tell. */
  forget (roomId: string): void
  /** @returns what is still to be told, by room; after this nothing is counted here */
  close (): ReadonlyMap<string, Counts>
}

/** Shortest time between two room:reactions events of a room (protocol.md, "Reactions"). */
export const intervalMs = 1000
/** When a room whose turn another server has is tried again. */
const retryMs = 200

/**
 * @param claim takes the room's turn for a second, over all servers
 * @param tell gets what was counted since the last time; `alone` where nobody could be asked
 *   whose turn it is
 */
export function createTally (claim: (roomId: string) => Promise<boolean>, tell: (roomId: string, counts: Counts, alone: boolean) => void): Tally {
  interface Room { counts: Map<string, number>, timer?: NodeJS.Timeout | undefined }
  const rooms = new Map<string, Room>()
  let closed = false

  async function takeTurn (roomId: string, room: Room): Promise<void> {
    room.timer = undefined
    // Nothing has come for as long as nobody may have been told.
    if (room.counts.size === 0) {
      rooms.delete(roomId)
      return
    }
    let alone = false
    const mine = await claim(roomId).catch(() => (alone = true))
    if (closed || rooms.get(roomId) !== room) return
    room.timer = setTimeout(takeTurn, mine ? intervalMs : retryMs, roomId, room)
    if (!mine) return
    const { counts } = room
    room.counts = new Map()
    tell(roomId, counts, alone)
  }

  return {
    add (roomId, counts) {
      if (closed) return
      const known = rooms.get(roomId)
      const room = known ?? { counts: new Map() }
      for (const [emoji, count] of counts) room.counts.set(emoji, (room.counts.get(emoji) ?? 0) + count)
      if (known) return
      // The first is told at once.
      rooms.set(roomId, room)
      takeTurn(roomId, room)
    },
    forget (roomId) {
      clearTimeout(rooms.get(roomId)?.timer)
      rooms.delete(roomId)
    },
    close () {
      closed = true
      for (const { timer } of rooms.values()) clearTimeout(timer)
      return new Map([...rooms].flatMap(([roomId, { counts }]) => counts.size > 0 ? [[roomId, counts]] : []))
    }
  }
}
