import type { FastifyInstance } from 'fastify'
import { unavailable } from '../errors/codes.ts'
import { createEvent, eventFromText } from '../connections/event.ts'
import type { OutgoingEvent } from '../connections/event.ts'
import type { StoredDocument } from '../store/store.ts'
import type { Session } from '../connections/session.ts'
import { audience, deliverTo } from './local-room.ts'
import type { LocalRoom, WaitingEvent } from './local-room.ts'

/** Something that everybody in the room is told of a change. `roomId` is added to its data. */
export interface RoomEvent {
  type: string
  data: object
}

/** What a decision comes to. */
export interface Decision<S, R> {
  /** What the document is from now on; left out when it stays as it is. */
  state?: S
  /** What is told to the room, in this order, right when the change is made. */
  events?: readonly RoomEvent[]
  /** When the document is to be looked at again, epoch milliseconds: the job `document:<name>` . */
  wakeAt?: number | undefined
  result: R
}

/** Decides on a change, from the document as it is. Pure: it may be asked again when somebody else was faster. */
export type Decide<S, R> = (state: S | undefined) => Decision<S, R>

/**
 * Small documents of rooms that many change at once: seats, say. A change is
 * one decision, made on the state as it is and put in force on all servers or not
 * at all; all servers and members hear of the changes in the one order in which
 * they were made.
 */
export interface RoomState {
  /** A document as this server last heard of it; at once, for rooms with members here. */
  peek<S> (roomId: string, name: string): S | undefined
  /**
   * Changes a document, in one round trip when this server has members in the room
   * and nobody else is faster.
   *
   * @returns the decision's result
   * @throws what `decide` throws, which then was the state of the document; ROOM_NOT_FOUND; UNAVAILABLE
   */
  change<S, R> (roomId: string, name: string, decide: Decide<S, R>): Promise<R>
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** A document of a room with members here has changed, or is no more. Called once for each version that is heard of, before its events are told. */
    'room:state': (room: LocalRoom, name: string, state: unknown) => void
    /**
     * Members here have missed changes. Whoever knows the document tells them how to
     * get from one state to the other, at once. A state is undefined where there is no document.
     */
    'room:stateMissed': (room: LocalRoom, name: string, from: unknown, to: unknown, tell: (events: readonly RoomEvent[]) => void) => void
  }
}

/** What the rooms plugin needs besides {@link RoomState} itself. */
export interface DocumentKeeping extends RoomState {
  /**
   * The store has told, with a join, what there is.
   *
   * @returns what is known here then, by name: what the join's reply tells
   */
  learn (room: LocalRoom, documents: ReadonlyMap<string, StoredDocument>): ReadonlyMap<string, Told>
  /**
   * A join has been answered.
   *
   * @param replied what {@link learn} returned for it
   * @param waiting what has come meanwhile
   * @returns what of that is new after the reply
   */
  welcome (room: LocalRoom, session: Session, replied: ReadonlyMap<string, Told>, waiting: readonly WaitingEvent[]): OutgoingEvent[]
  /** The room's channel has told of a change. */
  heard (room: LocalRoom, document: DocumentHeader, events: string): void
  /** Nobody here is in the room any more. */
  forget (roomId: string): void
  /** What this server knows of a room: what is written back with its share of it. */
  known (roomId: string): ReadonlyMap<string, StoredDocument>
  /**
   * This server's share has been written back: takes over what is newer in the store,
   * and tells members here what they have missed.
   *
   * @param given what {@link known} returned for it
   * @param stored what the store has since
   */
  follow (room: LocalRoom, given: ReadonlyMap<string, StoredDocument>, stored: ReadonlyMap<string, StoredDocument>): Promise<void>
}

/** What the first line of a message says of a document. */
export interface DocumentHeader {
  name: string
  version: string
  state: unknown
  /** The version that it was made from: whoever was told of another one has missed something. */
  from: string
}

/** What somebody has been told of a document. */
export interface Told {
  version: string
  state: unknown
}

interface Known {
  version: string
  state: unknown
  /** What the members here have been told of, by events or with their join. */
  told: Told
  /** Those whose join has told them more than that: they wait for the others. */
  ahead: Map<Session, Told>
}

/** What members are told of a document that is not there. */
const nothing: Told = { version: '', state: undefined }

interface Command {
  decide: Decide<unknown, unknown>
  answer: PromiseWithResolvers<unknown>
}

/** How often somebody else may be faster before a change is given up. Each time one of the others has got through. */
const mostTries = 100

/** @param lost is called for a room of which the store has less than this server knows */
export function createDocuments (
  app: FastifyInstance,
  local: (roomId: string) => LocalRoom | undefined,
  channelOf: (roomId: string) => string,
  lost: (roomId: string) => void
): DocumentKeeping {
  const { jobs, bus, hooks, log, store } = app
  const byRoom = new Map<string, Map<string, Known>>()
  const queues = new Map<string, Command[]>()

  function remember (room: LocalRoom, name: string, version: string, state: unknown): Known {
    const mine = byRoom.get(room.roomId) ?? new Map<string, Known>()
    byRoom.set(room.roomId, mine)
    const known = mine.get(name)
    if (known && !isNewer(version, known.version)) return known
    const now = { version, state, told: known?.told ?? nothing, ahead: known?.ahead ?? new Map<Session, Told>() }
    mine.set(name, now)
    hooks.emit('room:state', room, name, state)
    return now
  }

  /** Makes members here know what this server knows, where the events that would have told them did not come. */
  function tellMissed (room: LocalRoom, name: string, known: Known): void {
    const { told, version, state, ahead } = known
    known.told = { version, state }
    known.ahead = new Map()
    log.info({ roomId: room.roomId, document: name, from: told.version, to: version }, 'members are told what they missed')
    const everybody = audience(room)
    const tell = (sessions: readonly Session[], from: Told) => {
      for (const event of missedEvents(room, name, from, known.told)) {
        for (const session of sessions) deliverTo(room, session, event, { name, version, missed: true })
      }
    }
    tell([...everybody].filter((session) => !ahead.has(session)), told)
    for (const [session, from] of ahead) if (from.version !== version && everybody.has(session)) tell([session], from)
  }

  /** How those who know it get from one state to the other. */
  function missedEvents (room: LocalRoom, name: string, from: Told, to: Told): OutgoingEvent[] {
    const missing: OutgoingEvent[] = []
    hooks.emit('room:stateMissed', room, name, from.state, to.state, (events) => {
      for (const { type, data } of events) missing.push(createEvent(type, { roomId: room.roomId, ...data }))
    })
    return missing
  }

  /** What is known here was of an earlier room of that name. */
  function drop (room: LocalRoom, name: string, { told, ahead }: Known): void {
    const gone: Known = { ...nothing, told, ahead }
    byRoom.get(room.roomId)?.set(name, gone)
    hooks.emit('room:state', room, name, undefined)
    if (told.version !== '' || ahead.size > 0) tellMissed(room, name, gone)
  }

  /** Answers all that waits for a document, as much at a time as has come meanwhile. */
  async function work (roomId: string, name: string, queue: Command[]): Promise<void> {
    while (queue.length > 0) {
      const batch = queue.splice(0)
      try {
        await commit(roomId, name, batch)
      } catch (error) {
        for (const { answer } of batch) answer.reject(error)
      }
    }
    queues.delete(`${name} ${roomId}`)
  }

  async function commit (roomId: string, name: string, batch: readonly Command[]): Promise<void> {
    const known = byRoom.get(roomId)?.get(name)
    let createdAt = local(roomId)?.record.createdAt
    let version = known?.version ?? ''
    let state = known?.state
    let least = 1
    // Without a member here nothing is known: a version that can't be asks for what is.
    let guess = known !== undefined || createdAt !== undefined
    for (let tries = 0; tries < mostTries; tries++) {
      const outcome = guess ? decideAll(batch, state) : undefined
      const changed = outcome !== undefined && outcome.state !== state
      const next = changed ? { version: following(version, createdAt ?? 0, least), state: JSON.stringify(outcome.state) } : undefined
      const message = next && `{"document":{"name":${JSON.stringify(name)},"version":"${next.version}","state":${next.state},"from":"${version}"}}\n` +
        outcome?.events.map(({ type, data }) => createEvent(type, { roomId, ...data }).text).join('\n')
      const envelope = message === undefined ? undefined : bus.envelope(channelOf(roomId), message)
      const before = byRoom.get(roomId)?.get(name)?.version ?? ''
      // In the same turn, so in the same round trip; and rather in vain than forgotten.
      const [result] = await Promise.all([
        store.swapDocument({ roomId, name, expected: guess ? version : '?', next, envelope }),
        changed && outcome.wakeAt !== undefined ? jobs.schedule(`document:${name}`, roomId, outcome.wakeAt) : undefined
      ])
      if (result.swapped && outcome) {
        const room = local(roomId)
        if (next && room) remember(room, name, next.version, outcome.state)
        if (message !== undefined && !envelope) await bus.publish(channelOf(roomId), message)
        for (const settle of outcome.settle) settle()
        return
      }
      if (!result.swapped) {
        // What was known then had been in the store: nothing may be decided without it.
        if (epochOf(before) === String(result.createdAt) && isNewer(before, result.document?.version ?? '')) {
          lost(roomId)
          throw unavailable('The store has lost what this room was')
        }
        createdAt = result.createdAt
        least = result.least ?? 1
        version = result.document?.version ?? ''
        state = result.document === undefined ? undefined : JSON.parse(result.document.state)
        guess = true
      }
    }
    throw unavailable('Too many change this room at once')
  }

  return {
    peek: <S>(roomId: string, name: string) => byRoom.get(roomId)?.get(name)?.state as S | undefined,
    change<S, R> (roomId: string, name: string, decide: Decide<S, R>) {
      const answer = Promise.withResolvers<unknown>()
      const key = `${name} ${roomId}`
      const waiting = queues.get(key)
      const queue = waiting ?? []
      queue.push({ decide: decide as Decide<unknown, unknown>, answer })
      if (!waiting) {
        queues.set(key, queue)
        work(roomId, name, queue)
      }
      return answer.promise as Promise<R>
    },
    learn (room, documents) {
      for (const [name, known] of byRoom.get(room.roomId) ?? []) {
        if (known.version !== '' && epochOf(known.version) !== String(room.record.createdAt)) drop(room, name, known)
      }
      for (const [name, { version, state: text }] of documents) {
        const state: unknown = JSON.parse(text)
        remember(room, name, version, state)
      }
      const replied = new Map<string, Told>()
      for (const [name, known] of byRoom.get(room.roomId) ?? []) {
        const { version, state } = known
        replied.set(name, { version, state })
        // The reply tells who comes in; those who are in still wait for the event. A change
        // made when the last one left may be known before anybody is here to be told.
        if (room.members.size <= 1 && known.told.version === '') known.told = { version, state }
      }
      return replied
    },
    welcome (room, session, replied, waiting) {
      const isNew = ({ change }: WaitingEvent) => change === undefined || isNewer(change.version, replied.get(change.name)?.version ?? '')
      const missing: OutgoingEvent[] = []
      // What makes up for what others missed does not fit what the reply told.
      const missed = new Set(waiting.filter((one) => one.change?.missed === true && isNew(one)).map(({ change }) => change?.name))
      for (const one of waiting) if (isNew(one) && !missed.has(one.change?.name)) missing.push(one.event)
      for (const [name, known] of byRoom.get(room.roomId) ?? []) {
        const at = replied.get(name) ?? nothing
        if (missed.has(name)) missing.push(...missedEvents(room, name, at, known.told))
        known.ahead.delete(session)
        if (isNewer(at.version, known.told.version)) known.ahead.set(session, at)
      }
      return missing
    },
    heard (room, { name, version, state, from }, events) {
      // Of an earlier room of that name.
      if (Number(epochOf(version)) < room.record.createdAt) return
      const known = remember(room, name, version, state)
      // What members were told by their join, or to make up for what they had missed, is not told again.
      const { told } = known
      if (!isNewer(version, told.version)) return
      // Whoever was deaf for a while may hear this one before it has looked for what it missed.
      if (from !== told.version) return tellMissed(room, name, known)
      known.told = { version, state }
      const passedOn = events === '' ? [] : events.split('\n').map(eventFromText)
      for (const session of audience(room)) {
        if (known.ahead.has(session)) continue
        for (const event of passedOn) deliverTo(room, session, event, { name, version, missed: false })
      }
      for (const [session, at] of known.ahead) if (!isNewer(at.version, version)) known.ahead.delete(session)
    },
    forget (roomId) {
      byRoom.delete(roomId)
    },
    known: (roomId) => new Map([...byRoom.get(roomId) ?? []]
      .filter(([, { version }]) => version !== '')
      .map(([name, { version, state }]) => [name, { version, state: JSON.stringify(state) }])),
    async follow (room, given, stored) {
      if (local(room.roomId) !== room) return
      for (const [name, { version, state }] of stored) {
        const known = remember(room, name, version, JSON.parse(state))
        if (isNewer(known.version, known.told.version)) tellMissed(room, name, known)
        // Acknowledged by a store that lost it again, and not known here yet when the share was written.
        if (isNewer(known.version, version)) lost(room.roomId)
      }
      for (const [name, { version }] of given) {
        const known = byRoom.get(room.roomId)?.get(name)
        // What is not taken back was of a room that is gone; unless more has been heard of it meanwhile.
        if (known && known.version === version && !stored.has(name)) drop(room, name, known)
      }
      // When something in them was to be done is lost with the store.
      for (const name of stored.keys()) await jobs.schedule(`document:${name}`, room.roomId, Date.now())
    }
  }
}

/** Decides on several commands as if they came one after the other. */
function decideAll (batch: readonly Command[], from: unknown) {
  const events: RoomEvent[] = []
  const settle: (() => void)[] = []
  let state = from
  let wakeAt: number | undefined
  for (const { decide, answer } of batch) {
    try {
      const decision = decide(state)
      state = decision.state ?? state
      events.push(...decision.events ?? [])
      wakeAt = decision.wakeAt === undefined ? wakeAt : Math.min(wakeAt ?? Infinity, decision.wakeAt)
      settle.push(() => answer.resolve(decision.result))
    } catch (error) {
      settle.push(() => answer.reject(error))
    }
  }
  return { state, events, wakeAt, settle }
}

const epochOf = (version: string) => version.split('.')[0]

/**
 * @param least the number it has at least
 * @returns the version that follows another, or the first one of a room made at that time
 */
function following (version: string, createdAt: number, least: number): string {
  const [epoch = String(createdAt), number = '0'] = version === '' ? [] : version.split('.')
  return `${epoch}.${Math.max(Number(number) + 1, least)}`
}

function isNewer (version: string, than: string): boolean {
  if (than === '') return version !== ''
  const [epoch = 0, number = 0] = version.split('.').map(Number)
  const [otherEpoch = 0, otherNumber = 0] = than.split('.').map(Number)
  return epoch === otherEpoch ? number > otherNumber : epoch > otherEpoch
}
