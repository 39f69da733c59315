import type { OutgoingEvent } from '../connections/face.ts'
import type { Session } from '../connections/session.ts'
import type { RoomRecord } from '../store/types.ts'

/** An event for a session whose join is in flight. */
export interface WaitingEvent {
  event: OutgoingEvent
  /** The change of room state that it belongs to; the reply may have that version already. */
  change?: StateChange | undefined
}

export interface StateChange {
  name: string
  version: string
  /** The event is part of the difference between two versions. */
  missed: boolean
}

/** This server's part of a room: its sockets here. */
export interface LocalRoom {
  readonly roomId: string
  record: RoomRecord
  /** Known when a pin was needed or given; restores the room when the store has lost it. */
  pinHash: string | undefined
  readonly members: Set<Session>
  /** Sockets whose join is in flight, and the events they receive after its reply. */
  readonly joining: Map<Session, WaitingEvent[]>
  /** Rooms of this name that were created until then are closed, epoch milliseconds. */
  closedUpTo: number
}

/** Writes an event to every member, and keeps it for sockets whose join is in flight. */
export function deliver (room: LocalRoom, event: OutgoingEvent, except?: string): void {
  for (const session of audience(room)) if (session.id !== except) deliverTo(room, session, event)
}

/** Members and joining sockets. */
export function audience ({ members, joining }: LocalRoom): ReadonlySet<Session> {
  return joining.size === 0 ? members : members.union(joining)
}

/** Writes an event to one of the {@link audience}. */
export function deliverTo ({ joining }: LocalRoom, session: Session, event: OutgoingEvent, change?: StateChange): void {
  const waiting = joining.get(session)
  if (waiting) waiting.push({ event, change })
  else session.write(event)
}
