/** Number of reactions per emoji. */
export type Counts = ReadonlyMap<string, number>

/**
 * Counts the reactions in rooms with many members, and sends each room's counts to the room's members once per second.
 */
export interface Tally {
  /** Adds a reaction to the counts that the room receives next. */
  add (roomId: string, emoji: string): void
  /** After a reload, this instance of the feature handles the timers that the previous instance has started. */
  takeOver (): void
}

/** Unsent counts and their timers, per room. They survive a reload. */
export interface PendingCounts {
  readonly rooms: Map<string, PendingRoom>
  /** Sends the counts of a room. The current instance of the feature sets this function. */
  flush: ((roomId: string, room: PendingRoom) => void) | undefined
}

interface PendingRoom {
  counts: Map<string, number>
  timer?: NodeJS.Timeout | undefined
}

/**
 * Minimum interval between two room:reactions events in a room, in milliseconds (docs/protocol.md,
 * "Reactions").
 */
export const intervalMs = 1000
/** Retry delay while another server holds the room's lock, in milliseconds. */
const retryMs = 200

export const createPendingCounts = (): PendingCounts => ({ rooms: new Map(), flush: undefined })

/** Drops the unsent counts of a closed room. */
export function forget ({ rooms }: PendingCounts, roomId: string): void {
  clearTimeout(rooms.get(roomId)?.timer)
  rooms.delete(roomId)
}

/**
 * Clears all timers.
 *
 * @returns the unsent counts, per room
 */
export function drain ({ rooms }: PendingCounts): ReadonlyMap<string, Counts> {
  for (const { timer } of rooms.values()) clearTimeout(timer)
  const left = new Map([...rooms].flatMap(([roomId, { counts }]) => counts.size > 0 ? [[roomId, counts]] : []))
  rooms.clear()
  return left
}

/**
 * @param tryLock locks the room for one second across all servers
 * @param send receives the counts since the last call; `local` is true if `tryLock` has thrown an error
 */
export function createTally (pending: PendingCounts, tryLock: (roomId: string) => Promise<boolean>, send: (roomId: string, counts: Counts, local: boolean) => void): Tally {
  const { rooms } = pending

  async function flush (roomId: string, room: PendingRoom): Promise<void> {
    room.timer = undefined
    if (room.counts.size === 0) {
      rooms.delete(roomId)
      return
    }
    let local = false
    const locked = await tryLock(roomId).catch(() => (local = true))
    if (rooms.get(roomId) !== room) return
    room.timer = setTimeout(() => pending.flush?.(roomId, room), locked ? intervalMs : retryMs)
    if (!locked) return
    const { counts } = room
    room.counts = new Map()
    send(roomId, counts, local)
  }

  pending.flush ??= flush
  return {
    add (roomId, emoji) {
      const existing = rooms.get(roomId)
      const room = existing ?? { counts: new Map() }
      room.counts.set(emoji, (room.counts.get(emoji) ?? 0) + 1)
      if (existing) return
      // The first reaction is sent without a delay.
      rooms.set(roomId, room)
      flush(roomId, room)
    },
    takeOver () {
      pending.flush = flush
    }
  }
}
