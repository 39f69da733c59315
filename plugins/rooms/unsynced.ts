export interface UnsyncedRooms {
  /** All rooms and sessions of this server. */
  all: boolean
  roomIds: ReadonlySet<string>
}

/** Rooms whose state in the store may be older than on this server. The reconciler syncs them. */
export interface Unsynced {
  /** @param roomId the room to sync; all rooms and sessions of this server without it */
  add (roomId?: string): void
  delete (roomId: string): void
  /** @returns what was added since the last call */
  take (): UnsyncedRooms
}

export function createUnsynced (): Unsynced {
  let all = false
  let roomIds = new Set<string>()
  return {
    add (roomId) {
      if (roomId === undefined) all = true
      else roomIds.add(roomId)
    },
    delete (roomId) {
      roomIds.delete(roomId)
    },
    take () {
      const taken = { all, roomIds }
      all = false
      roomIds = new Set()
      return taken
    }
  }
}
