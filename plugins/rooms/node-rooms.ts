import type { FastifyInstance } from 'fastify'
import { channelOf } from './channel.ts'
import type { LocalRoom } from './local-room.ts'
import type { Unsynced } from './unsynced.ts'

/** The rooms that have members, or joining sockets, on this server. */
export interface NodeRooms {
  readonly size: number
  get (roomId: string): LocalRoom | undefined
  all (): IterableIterator<LocalRoom>
  /** @returns the room's local part; when there is none, it is created and subscribes to the room's channel */
  acquire (roomId: string): LocalRoom
  /** @returns once messages that are published from now on arrive */
  subscribed (roomId: string): Promise<void>
  /**
   * Drops a room's local part when it has no members and no joining sockets here.
   *
   * @param confirmed whether the store has answered the last request about the room. A request without an
   *   answer may still take effect: then the store keeps the room on this server's list and it is synced
   */
  release (room: LocalRoom, confirmed?: boolean): void
}

export interface NodeRoomsOptions {
  unsynced: Unsynced
  receive (room: LocalRoom, message: string): void
  /** The room's local part is dropped. */
  released (roomId: string): void
}

export function createNodeRooms ({ bus, store }: Pick<FastifyInstance, 'bus' | 'store'>, { unsynced, receive, released }: NodeRoomsOptions): NodeRooms {
  interface Entry { room: LocalRoom, subscribed: Promise<void>, handler: (message: string) => void }
  const entries = new Map<string, Entry>()

  return {
    get size () {
      return entries.size
    },
    get: (roomId) => entries.get(roomId)?.room,
    all: () => entries.values().map(({ room }) => room),
    acquire (roomId) {
      const known = entries.get(roomId)
      if (known) return known.room
      const room: LocalRoom = {
        roomId,
        record: { roomId, ownerId: '', createdAt: 0, options: {}, locked: false },
        pinHash: undefined,
        members: new Set(),
        joining: new Map(),
        closedUpTo: -1
      }
      const handler = (message: string) => {
        if (entries.get(roomId)?.room === room) receive(room, message)
      }
      const entry: Entry = { room, subscribed: Promise.resolve(), handler }
      entries.set(roomId, entry)
      entry.subscribed = bus.subscribe(channelOf(roomId), handler)
      return room
    },
    subscribed: async (roomId) => entries.get(roomId)?.subscribed,
    release (room, confirmed = true) {
      const { roomId, members, joining } = room
      const entry = entries.get(roomId)
      if (members.size + joining.size > 0 || entry?.room !== room) return
      entries.delete(roomId)
      released(roomId)
      bus.unsubscribe(channelOf(roomId), entry.handler)
      if (confirmed) store.releaseRoom(roomId).catch(() => unsynced.add())
      else unsynced.add()
    }
  }
}
