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
  /** Rooms of this name made until then are closed, epoch milliseconds. */
  closedUpTo: number
}

/** Writes a frame to every member, in order even for those whose join is being answered. */
export function deliver (room: LocalRoom, frame: Buffer, except?: string): void {
  const { members, joining } = room
  if (joining.size === 0) {
    for (const session of members) if (session.id !== except) session.write(frame)
    return
  }
  for (const session of members) {
    if (session.id !== except && !joining.has(session)) session.write(frame)
  }
  // What happens from here on is new to those who are coming in, too.
  for (const [session, waiting] of joining) if (session.id !== except) waiting.push(frame)
}
