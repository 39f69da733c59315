import type { Session } from '../connections/session.ts'
import type { RoomRecord } from '../store/store.ts'

/** A frame for somebody whose join is being answered. */
export interface WaitingFrame {
  frame: Buffer
  /** The change of a document that it tells of, which the answer may tell as well. */
  change?: TellingOfChange | undefined
}

export interface TellingOfChange {
  name: string
  version: string
  /** It makes up for what was missed: what it says depends on what was known before. */
  missed: boolean
}

/** This server's part of a room: the sockets that are in it here. */
export interface LocalRoom {
  readonly roomId: string
  record: RoomRecord
  /** Known when a pin was needed or given; restores the room after a loss of the store. */
  pinHash: string | undefined
  readonly members: Set<Session>
  /** Sockets that are about to be members, and the frames they get once their join is answered. */
  readonly joining: Map<Session, WaitingFrame[]>
  /** Rooms of this name made until then are closed, epoch milliseconds. */
  closedUpTo: number
}

/** Writes a frame to every member, in order even for those whose join is being answered. */
export function deliver (room: LocalRoom, frame: Buffer, except?: string): void {
  for (const session of audience(room)) if (session.id !== except) deliverTo(room, session, frame)
}

/** Members, and those who are coming in: what happens from here on is new to them, too. */
export function audience ({ members, joining }: LocalRoom): ReadonlySet<Session> {
  return joining.size === 0 ? members : members.union(joining)
}

/** Writes a frame to one of the {@link audience}. */
export function deliverTo ({ joining }: LocalRoom, session: Session, frame: Buffer, change?: TellingOfChange): void {
  const waiting = joining.get(session)
  if (waiting) waiting.push({ frame, change })
  else session.write(frame)
}
