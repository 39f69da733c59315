import type { FastifyInstance } from 'fastify'
import { createEvent } from '../../connections/face.ts'
import type { OutgoingEvent } from '../../connections/face.ts'
import type { Session } from '../../connections/session.ts'
import type { Hooks } from '../../hooks.ts'
import type { StateHeader } from '../channel.ts'
import { audience, deliverTo } from '../node-rooms.ts'
import type { LocalRoom, WaitingEvent } from '../node-rooms.ts'

// A version of room state has the form `<createdAt of the room>.<number>`. The store assigns versions. Versions
// increase with each change and are newer than all versions of earlier rooms with the same id.

/** The first part of a version: the creation time of the room, as text. Empty for the empty version. */
export const epochOf = (version: string) => version.split('.')[0]

/** The version that stands for "no state yet" in a room that was created at `createdAt`. */
export const versionZero = (createdAt: number) => `${createdAt}.0`

/** Whether `version` is newer than the version `than`. The empty version is older than all others. */
export function isNewer (version: string, than: string): boolean {
  if (than === '' || version === than) return version !== than
  const [dot, otherDot] = [version.indexOf('.'), than.indexOf('.')]
  const [epoch, otherEpoch] = [Number(version.slice(0, dot)), Number(than.slice(0, otherDot))]
  return epoch === otherEpoch ? Number(version.slice(dot + 1)) > Number(than.slice(otherDot + 1)) : epoch > otherEpoch
}

/** One version of a room's state. */
export interface Versioned {
  version: string
  state: unknown
}

/** This server's copy of a room's state with one name. */
export interface Known extends Versioned {
  /** The version that the members on this server have received, through events or join replies. */
  delivered: Versioned
  /**
   * Members whose join reply contained a newer version than `delivered`, each with the version in the reply. A
   * member does not receive the events of the version in its reply or of earlier versions.
   */
  pendingJoiners: Map<Session, Versioned>
}

/** Represents missing state. */
export const nothing: Versioned = { version: '', state: undefined }

/** This server's copies of room state, for the rooms with members on this server. */
export interface KnownStates {
  get (roomId: string, name: string): Known | undefined
  ofRoom (roomId: string): Iterable<[name: string, known: Known]>
  /**
   * Replaces this server's copy of a state if `version` is newer than the copy.
   *
   * @returns the resulting copy
   */
  update (room: LocalRoom, name: string, version: string, state: unknown): Known
  /**
   * Drops this server's copy of a state, because the state belongs to an earlier room with the same id or the store no
   * longer has it.
   */
  reset (room: LocalRoom, name: string): Known
  forget (roomId: string): void
}

export function createKnownStates ({ emit }: Pick<Hooks, 'emit'>): KnownStates {
  const byRoom = new Map<string, Map<string, Known>>()

  function set ({ roomId }: LocalRoom, name: string, known: Known): Known {
    const states = byRoom.get(roomId) ?? new Map<string, Known>()
    byRoom.set(roomId, states.set(name, known))
    return known
  }

  return {
    get: (roomId, name) => byRoom.get(roomId)?.get(name),
    ofRoom: (roomId) => byRoom.get(roomId) ?? [],
    update (room, name, version, state) {
      const known = byRoom.get(room.roomId)?.get(name)
      if (known && !isNewer(version, known.version)) return known
      const updated = set(room, name, { version, state, delivered: known?.delivered ?? nothing, pendingJoiners: known?.pendingJoiners ?? new Map() })
      emit(`room:state:${name}`, room, state)
      return updated
    },
    reset (room, name) {
      const known = byRoom.get(room.roomId)?.get(name)
      const dropped = set(room, name, { ...nothing, delivered: known?.delivered ?? nothing, pendingJoiners: known?.pendingJoiners ?? new Map() })
      emit(`room:state:${name}`, room, undefined)
      return dropped
    },
    forget (roomId) {
      byRoom.delete(roomId)
    }
  }
}

/** Delivers each change of room state to the members on this server, exactly once and in order. */
export interface StateDelivery {
  /** Applies a change that has arrived on the room's channel. */
  applyRemote (room: LocalRoom, header: StateHeader, version: string, events: readonly OutgoingEvent[]): void
  /**
   * Returns the events that a session must receive after the reply to its join. Call this after the reply is sent.
   *
   * @param snapshot the state in the reply, by name
   * @param waiting the events that were queued during the join
   */
  afterReply (room: LocalRoom, session: Session, snapshot: ReadonlyMap<string, Versioned>, waiting: readonly WaitingEvent[]): OutgoingEvent[]
  /** Sends the members on this server the events that turn their last known state into this server's current state. */
  sendMissed (room: LocalRoom, name: string, known: Known): void
}

export function createStateDelivery ({ hooks, log, messages }: Pick<FastifyInstance, 'hooks' | 'log' | 'messages'>, states: KnownStates): StateDelivery {
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

  /** Asks the feature that defines the state for the events that turn `from` into `to`. */
  function missedEvents (room: LocalRoom, name: string, from: Versioned, to: Versioned): OutgoingEvent[] {
    const missed: OutgoingEvent[] = []
    hooks.emit('room:stateMissed', room, name, from.state, to.state, (events) => {
      for (const { type, data } of events) {
        const event = createEvent(type, { roomId: room.roomId, ...data })
        messages.checkEvent(type, event.data)
        missed.push(event)
      }
    })
    return missed
  }

  return {
    sendMissed,
    applyRemote (room, { name, from, readState }, version, events) {
      // Ignore a change of an earlier room with the same id.
      if (Number(epochOf(version)) < room.record.createdAt) return
      const latest = states.get(room.roomId, name)
      const known = latest && !isNewer(version, latest.version) ? latest : states.update(room, name, version, readState())
      const { delivered, pendingJoiners } = known
      // Skip a version that the members have already received in their join replies or through a sync.
      if (!isNewer(version, delivered.version)) return
      // After an interruption, this change may arrive before a sync has detected that earlier changes are missing.
      if (from !== delivered.version) return sendMissed(room, name, known)
      known.delivered = { version, state: known.version === version ? known.state : readState() }
      for (const session of audience(room)) {
        if (pendingJoiners.has(session)) continue
        for (const event of events) deliverTo(room, session, event, { name, version, missed: false })
      }
      for (const [session, at] of pendingJoiners) if (!isNewer(at.version, version)) pendingJoiners.delete(session)
    },
    afterReply (room, session, snapshot, waiting) {
      const isNew = ({ change }: WaitingEvent) => change === undefined || isNewer(change.version, snapshot.get(change.name)?.version ?? '')
      // The events from `sendMissed` are based on the state that the other members had. Replace these events with
      // events that are based on this session's snapshot.
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
