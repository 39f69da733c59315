import type { Session } from '../sockets/session.ts'
import type { RoomRecord } from '../store/store.ts'

/** This server's part of a room: the sockets that are in it here. */
export interface LocalRoom {
  readonly roomId: string
  record: RoomRecord
  /** Known when a pin was needed or given; restores the room after a loss of the store. */
  pinHash: string | undefined
  readonly members: Set<Session>
  /** Sockets that are about to be members, and the frames they get once their join is answered. */
  readonly joining: Map<Session, Buffer[]>
  closed: boolean
}

/** Writes a frame to every member, in order even for those whose join is being answered. */
export function deliver (room: LocalRoom, frame: Buffer, except?: string): void {
  for (const session of room.members) {
    if (session.id === except) continue
    const waiting = room.joining.get(session)
    if (waiting) waiting.push(frame)
    else session.write(frame)
  }
  // Not members yet: what happens from here on is new to them.
  for (const [session, waiting] of room.joining) {
    if (!room.members.has(session) && session.id !== except) waiting.push(frame)
  }
}
