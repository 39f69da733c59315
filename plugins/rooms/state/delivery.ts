import type { FastifyInstance } from 'fastify'
import { createEvent } from '../../connections/face.ts'
import type { OutgoingEvent } from '../../connections/face.ts'
import type { Session } from '../../connections/session.ts'
import type { StateHeader } from '../channel.ts'
import { audience, deliverTo } from '../local-room.ts'
import type { LocalRoom, WaitingEvent } from '../local-room.ts'
import type { Known, KnownStates, Versioned } from './known.ts'
import { nothing } from './known.ts'
import { epochOf, isNewer } from './version.ts'

/** Delivers changes of room state to the members on this server: each once, in order. */
export interface StateDelivery {
  /** A change has arrived on the room's channel. */
  applyRemote (room: LocalRoom, header: StateHeader, version: string, events: readonly OutgoingEvent[]): void
  /**
   * The reply to a join is sent.
   *
   * @param snapshot the state that the reply had, by name
   * @param waiting events that arrived during the join
   * @returns the events that the session has yet to receive
   */
  afterReply (room: LocalRoom, session: Session, snapshot: ReadonlyMap<string, Versioned>, waiting: readonly WaitingEvent[]): OutgoingEvent[]
  /** Sends members the difference between what they have and what this server knows. */
  sendMissed (room: LocalRoom, name: string, known: Known): void
}

export function createStateDelivery ({ hooks, log }: Pick<FastifyInstance, 'hooks' | 'log'>, states: KnownStates): StateDelivery {
  function sendMissed (room: LocalRoom, name: string, known: Known): void {
    const { delivered, version, state, pendingJoiners } = known
    known.delivered = { version, state }
    known.pendingJoiners = new Map()
    log.info({ roomId: room.roomId, state: name, from: delivered.version, to: version }, 'missed room state sent to members')
    const everyone = audience(room)
    const send = (sessions: readonly Session[], from: Versioned) => {
      for (const event of missedEvents(room, name, from, known.delivered)) {
        for (const session of sessions) deliverTo(room, session, event, { name, version, missed: true })
      }
    }
    send([...everyone].filter((session) => !pendingJoiners.has(session)), delivered)
    for (const [session, from] of pendingJoiners) if (from.version !== version && everyone.has(session)) send([session], from)
  }

  /** The events that lead from one version to another, from the feature that defines the state. */
  function missedEvents (room: LocalRoom, name: string, from: Versioned, to: Versioned): OutgoingEvent[] {
    const missed: OutgoingEvent[] = []
    hooks.emit('room:stateMissed', room, name, from.state, to.state, (events) => {
      for (const { type, data } of events) missed.push(createEvent(type, { roomId: room.roomId, ...data }))
    })
    return missed
  }

  return {
    sendMissed,
    applyRemote (room, { name, state, from }, version, events) {
      // The change was made in an earlier room of that name.
      if (Number(epochOf(version)) < room.record.createdAt) return
      const known = states.update(room, name, version, state)
      const { delivered, pendingJoiners } = known
      // Members have it from the reply to their join, or from a sync.
      if (!isNewer(version, delivered.version)) return
      // After an interruption a change may arrive before the sync has found the missed ones.
      if (from !== delivered.version) return sendMissed(room, name, known)
      known.delivered = { version, state }
      for (const session of audience(room)) {
        if (pendingJoiners.has(session)) continue
        for (const event of events) deliverTo(room, session, event, { name, version, missed: false })
      }
      for (const [session, at] of pendingJoiners) if (!isNewer(at.version, version)) pendingJoiners.delete(session)
    },
    afterReply (room, session, snapshot, waiting) {
      const isNew = ({ change }: WaitingEvent) => change === undefined || isNewer(change.version, snapshot.get(change.name)?.version ?? '')
      // Events of a difference start from what others had, not from the snapshot: this session gets its own difference.
      const replaced = new Set(waiting.filter((one) => one.change?.missed === true && isNew(one)).map(({ change }) => change?.name))
      const events = waiting.filter((one) => isNew(one) && !replaced.has(one.change?.name)).map(({ event }) => event)
      for (const [name, known] of states.ofRoom(room.roomId)) {
        const at = snapshot.get(name) ?? nothing
        if (replaced.has(name)) events.push(...missedEvents(room, name, at, known.delivered))
        known.pendingJoiners.delete(session)
        if (isNewer(at.version, known.delivered.version)) known.pendingJoiners.set(session, at)
      }
      return events
    }
  }
}
