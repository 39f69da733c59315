/** How often each emoji was sent. */
export type Counts = ReadonlyMap<string, number>

/** Counts the reactions in big rooms and sends them once per second and room. */
export interface Tally {
  /** Counts reactions: they are sent when it is the room's turn. */
  add (roomId: string, emoji: string): void
  /** Takes over the turns from the previous generation. */
  takeOver (): void
}

/** Counts that are not sent yet, and the timers of their rooms. They outlive a reload. */
export interface PendingCounts {
  readonly rooms: Map<string, PendingRoom>
  /** Of the generation in service. */
  takeTurn: ((roomId: string, room: PendingRoom) => void) | undefined
}

interface PendingRoom {
  counts: Map<string, number>
  timer?: NodeJS.Timeout | undefined
}

/** Shortest time between two room:reactions events of a room (protocol.md, "Reactions"). */
export const intervalMs = 1000
/** How long a server waits when another server has the room's turn. */
const retryMs = 200

export const createPendingCounts = (): PendingCounts => ({ rooms: new Map(), takeTurn: undefined })

/** Drops the counts of a room that is closed. */
export function forget ({ rooms }: PendingCounts, roomId: string): void {
  clearTimeout(rooms.get(roomId)?.timer)
  rooms.delete(roomId)
}

/** Ends all timers. @returns what is still to be sent, per room */
export function drain ({ rooms }: PendingCounts): ReadonlyMap<string, Counts> {
  for (const { timer } of rooms.values()) clearTimeout(timer)
  const left = new Map([...rooms].flatMap(([roomId, { counts }]) => counts.size > 0 ? [[roomId, counts]] : []))
  rooms.clear()
  return left
}

/**
 * @param tryLock takes the room's turn for a second, over all servers
 * @param send gets the counts since the last time; `alone` if it is unknown whose turn it is
 */
export function createTally (pending: PendingCounts, tryLock: (roomId: string) => Promise<boolean>, send: (roomId: string, counts: Counts, alone: boolean) => void): Tally {
  const { rooms } = pending

  async function takeTurn (roomId: string, room: PendingRoom): Promise<void> {
    room.timer = undefined
    if (room.counts.size === 0) {
      rooms.delete(roomId)
      return
    }
    let alone = false
    const mine = await tryLock(roomId).catch(() => (alone = true))
    if (rooms.get(roomId) !== room) return
    room.timer = setTimeout(() => pending.takeTurn?.(roomId, room), mine ? intervalMs : retryMs)
    if (!mine) return
    const { counts } = room
    room.counts = new Map()
    send(roomId, counts, alone)
  }

  pending.takeTurn ??= takeTurn
  return {
    add (roomId, emoji) {
      const known = rooms.get(roomId)
      const room = known ?? { counts: new Map() }
      room.counts.set(emoji, (room.counts.get(emoji) ?? 0) + 1)
      if (known) return
      // The first is sent at once.
      rooms.set(roomId, room)
      takeTurn(roomId, room)
    },
    takeOver () {
      pending.takeTurn = takeTurn
    }
  }
}
