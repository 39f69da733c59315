import type { FastifyInstance } from 'fastify'
import type { Envelope, ShareChange } from '../store/store.ts'
import type { DocumentKeeping } from './room-state.ts'
import type { LocalRoom } from './local-room.ts'

/** Where the store may have missed something that this server knows. */
export interface Marked {
  everywhere: boolean
  roomIds: ReadonlySet<string>
}

/** Makes the store know of this server's rooms what this server knows, after it was away or has lost something. */
export interface WriteBack {
  /** Makes the store know of a room what this server knows, and this server what the store knows. */
  setRight (room: LocalRoom): Promise<void>
  /**
   * The store has no room in which there are members here: either it was closed, and they are about to hear
   * of that, or it was lost, and with a new one of that name they would lose what they have.
   *
   * @returns whether it is there again
   */
  bringBack (room: LocalRoom): Promise<boolean>
  /** @param roomId where the store may have missed something; everywhere without it */
  mark (roomId?: string): void
  /** @returns what was marked since the last time */
  take (): Marked
}

export interface WriteBackOptions {
  documents: DocumentKeeping
  /** What tells the other servers that this one has written the room back. */
  envelopeFor (roomId: string): Envelope | undefined
  /** Tells a room of users whose membership was ended or restored. */
  announce (roomId: string, change: ShareChange): void
  /** Others closed the room while this server could not hear of it. */
  ended (room: LocalRoom): void
}

export function createWriteBack ({ bus, nodeId, store }: Pick<FastifyInstance, 'bus' | 'nodeId' | 'store'>, { documents, envelopeFor, announce, ended }: WriteBackOptions): WriteBack {
  let everywhere = false
  let roomIds = new Set<string>()

  async function setRight (room: LocalRoom): Promise<void> {
    const { roomId, record, pinHash } = room
    // What is added to it from now on comes behind it.
    roomIds.delete(roomId)
    const members = [...room.members].map((session) => ({ sessionId: session.id, userKey: session.userKey, profile: session.user.profile }))
    // Somebody who is coming in may be in the store and not in the list.
    if (room.joining.size > 0) roomIds.add(roomId)
    if (members.length === 0) return
    const known = documents.known(roomId)
    try {
      const change = await store.replaceShare(nodeId, { room: record, pinHash, members, documents: known, envelope: envelopeFor(roomId) })
      if (change.closed === true) return ended(room)
      announce(roomId, change)
      await documents.follow(room, known, change.documents)
    } catch (error) {
      roomIds.add(roomId)
      throw error
    }
  }

  return {
    setRight,
    async bringBack (room) {
      if (room.members.size === 0) return false
      await bus.check().catch(() => { /* This server is deaf. */ })
      await setRight(room)
      return room.members.size > 0
    },
    mark (roomId) {
      if (roomId === undefined) everywhere = true
      else roomIds.add(roomId)
    },
    take () {
      const marked = { everywhere, roomIds }
      everywhere = false
      roomIds = new Set()
      return marked
    }
  }
}
