import type { OutgoingEvent } from '../connections/event.ts'
import type { Session } from '../connections/session.ts'
import type { RoomRecord } from '../store/store.ts'

/** An event for a session whose join is being answered. */
export interface WaitingEvent {
  event: OutgoingEvent
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
  /** Sockets that are about to be members, and the events they get once their join is answered. */
  readonly joining: Map<Session, WaitingEvent[]>
  /** Rooms of this name made until then are closed, epoch milliseconds. */
  closedUpTo: number
}

/** Writes an event to every member, in order even for those whose join is being answered. */
export function deliver (room: LocalRoom, event: OutgoingEvent, except?: string): void {
  for (const session of audience(room)) if (session.id !== except) deliverTo(room, session, event)
}

/** Members, and those who are coming in: what happens from here on is new to them, too. */
export function audience ({ members, joining }: LocalRoom): ReadonlySet<Session> {
  return joining.size === 0 ? members : members.union(joining)
}

/** Writes an event to one of the {@link audience}. */
export function deliverTo ({ joining }: LocalRoom, session: Session, event: OutgoingEvent, change?: TellingOfChange): void {
  const waiting = joining.get(session)
  if (waiting) waiting.push({ event, change })
  else session.write(event)
}
