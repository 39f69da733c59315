import type { UserId } from 'flylive-audio-server/feature'
import { v7 } from 'uuid'
import { derivedId, eventOf, secondsBetween } from './events.ts'
import type { EventData, EventName, QueuedEvent } from './events.ts'

// Tracks what has been reported about a room to the webhook receivers. Each change to this state is stored together
// with the resulting events. From this state, a server can tell which events were lost when another server died, and
// which reports are duplicate or late.

/** The data of a `room_started` event. */
export interface RoomStart {
  /** When the room was created, in epoch milliseconds. Distinguishes successive rooms with the same id. */
  startedAt: number
  ownerId: UserId | null
  title?: string | undefined
  topic?: string | undefined
}

interface Reported {
  /** A UUID. The ids of the resulting events are derived from this id. */
  id: string
  /** When the change was detected, in epoch milliseconds. */
  at: number
  /** Orders the changes that a server detects in the same millisecond. Default: 0. */
  order?: number
}

/** @returns a function that creates the {@link Reported} fields of a change detected by this server */
export function createReports (clock: { now (): number }): () => Required<Reported> {
  let order = 0
  return () => ({ id: v7(), at: clock.now(), order: order++ })
}

/**
 * Maximum number of events per change whose ids sort in the order of the events. The ids of further events sort in any
 * order.
 */
const orderedEvents = 64

/** A change that a server has observed. */
export type Change = Reported & (
  | { type: 'started', room: RoomStart }
  | { type: 'finished', startedAt: number, reason: string }
  /**
   * `isCorrection`: true if the reconciler detected the join afterwards. Such a join is ignored if the user has already
   * been reported as joined.
   */
  | { type: 'joined', room: RoomStart | undefined, userKey: string, data: EventData<'participant_joined'>, isCorrection?: boolean }
  /**
   * `startedAt`: undefined if the reporting server does not know the room. `joinedAt`: when the user joined; set only
   * if the reconciler detected that the user left.
   */
  | { type: 'left', startedAt: number | undefined, userKey: string, reason: EventData<'participant_left'>['reason'], count: number, joinedAt?: number }
  | { type: 'seats', startedAt: number | undefined, revision: number, seats: readonly SeatEntry[] }
  | { type: 'broadcast', onAir: boolean, startedAt: number, hlsUrl: string }
  | { type: 'recorded', data: EventData<'recording_finished'> }
)

export interface SeatEntry { seatIndex: number, userId: UserId | null, isMuted: boolean, isLocked: boolean }

/** The stored fields of a room: a map from field names to JSON. */
export type Fields = ReadonlyMap<string, string>

/**
 * The names of the stored fields. Most changes need only some fields. A `finished` change and a change to a later room
 * with the same id need all fields of the room.
 */
export const memberField = (userKey: string): string => `member ${userKey}`
export const roomField = 'room'
export const seatsField = 'seats'
export const broadcastField = 'broadcast'

/** The value of the field {@link roomField}. */
export interface KnownRoom extends RoomStart {
  members: number
  /** Set once the room is closed. The field is then kept for {@link closedTtlMs}, to recognise late reports. */
  isClosed?: true
}

export interface KnownMember {
  userId: UserId
  joinedAt: number
  /** The id of the change that reported the join. */
  id: string
  /**
   * A later join by the same user. The event of the later join is sent once a server has reported that the user left.
   */
  again?: { id: string, at: number, data: EventData<'participant_joined'> }
}

/** The value of the field {@link seatsField}. */
export interface KnownSeats { revision: number, seats: SeatEntry[] }

export interface KnownBroadcast { startedAt: number, hlsUrl: string, onAir: boolean }

/** How long a closed room stays stored, so that late reports about it are recognised, in milliseconds. */
export const closedTtlMs = 600_000

export interface Step {
  set: Map<string, string>
  remove: Set<string>
  events: QueuedEvent[]
}

/**
 * Whether the room has been reported as started but not as closed.
 *
 * @param text the JSON of the field {@link roomField}
 */
export const isOpen = (text: string | undefined): boolean => text !== undefined && (JSON.parse(text) as KnownRoom).isClosed !== true

/** The result of {@link applyChanges} if a change needs all fields of the room, but only some were read. */
export const needsAllFields: unique symbol = Symbol('needsAllFields')

const freeSeat = (seatIndex: number): SeatEntry => ({ seatIndex, userId: null, isMuted: false, isLocked: false })

/**
 * @returns the seats that differ. The seats that become free come first, so that a user who changes seats never appears
 *   to have two seats
 */
export function seatChanges (known: readonly SeatEntry[], current: readonly SeatEntry[]): { from: SeatEntry, to: SeatEntry }[] {
  const [before, after] = [known, current].map((seats) => new Map(seats.map((seat) => [seat.seatIndex, seat]))) as [Map<number, SeatEntry>, Map<number, SeatEntry>]
  const indexes = [...new Set([...before.keys(), ...after.keys()])].sort((a, b) => a - b)
  return indexes.map((index) => ({ from: before.get(index) ?? freeSeat(index), to: after.get(index) ?? freeSeat(index) }))
    .filter(({ from, to }) => from.userId !== to.userId || from.isMuted !== to.isMuted || from.isLocked !== to.isLocked)
    .sort((a, b) => Number(a.to.userId !== null) - Number(b.to.userId !== null))
}

/** Applies changes to a copy of a room's fields, and collects the fields to store and the events to send. */
class RoomDraft {
  readonly roomId: string
  readonly step: Step = { set: new Map(), remove: new Set(), events: [] }
  readonly #fields: Map<string, string>
  readonly #isComplete: boolean
  /** Number of events that the current change has caused so far. */
  #emitted = 0

  constructor (roomId: string, fields: Fields, isComplete: boolean) {
    this.roomId = roomId
    this.#fields = new Map(fields)
    this.#isComplete = isComplete
  }

  read<T> (field: string): T | undefined {
    const text = this.#fields.get(field)
    return text === undefined ? undefined : JSON.parse(text) as T
  }

  write (field: string, value: unknown): void {
    const text = JSON.stringify(value)
    this.#fields.set(field, text)
    this.step.set.set(field, text)
    this.step.remove.delete(field)
  }

  remove (field: string): void {
    this.#fields.delete(field)
    this.step.set.delete(field)
    this.step.remove.add(field)
  }

  emit<N extends EventName> ({ id, at, order = 0 }: Reported, name: N, data: EventData<N>, key = ''): void {
    const place = order * orderedEvents + Math.min(this.#emitted++, orderedEvents - 1)
    this.step.events.push(eventOf(derivedId(id, at, `${name} ${key}`, place % 2 ** 32), name, at, this.roomId, data))
  }

  /** The room as it was last reported; undefined if the room is closed or has never been reported. */
  get room (): KnownRoom | undefined {
    const room = this.read<KnownRoom>(roomField)
    return room?.isClosed ? undefined : room
  }

  /**
   * Reports the room as started, unless this has already been reported. If an older room with the same id has not been
   * reported as closed, first reports the end of the older room.
   *
   * @returns false if a newer room with this id has been reported, or if this room has already been reported as closed
   */
  enter (change: Reported, room: RoomStart): boolean {
    const known = this.read<KnownRoom>(roomField)
    if (known && (known.startedAt > room.startedAt || (known.isClosed && known.startedAt === room.startedAt))) return false
    if (known?.startedAt === room.startedAt) return true
    if (known && !known.isClosed) this.finish(change, 'unknown')
    const { startedAt, ownerId, title, topic } = room
    this.write(roomField, { startedAt, ownerId, title, topic, members: 0 } satisfies KnownRoom)
    this.emit(change, 'room_started', { ownerId, title, topic, startedAt })
    return true
  }

  /** @throws needsAllFields */
  finish (change: Reported, reason: string): void {
    const { room } = this
    if (!room) return
    if (!this.#isComplete) throw needsAllFields
    const broadcast = this.read<KnownBroadcast>(broadcastField)
    if (broadcast?.onAir) this.stopBroadcast(change, broadcast)
    const members = [...this.#fields.keys()].filter((field) => field.startsWith(memberField('')))
    for (const [i, field] of members.entries()) {
      this.leave(change, field.slice(memberField('').length), 'closed', members.length - i - 1)
    }
    this.emit(change, 'room_finished', { startedAt: room.startedAt, durationSeconds: secondsBetween(room.startedAt, change.at), reason })
    for (const field of [...this.#fields.keys()]) this.remove(field)
    this.write(roomField, { ...room, members: 0, isClosed: true } satisfies KnownRoom)
  }

  #count (added: number): void {
    const room = this.read<KnownRoom>(roomField)
    if (room) this.write(roomField, { ...room, members: room.members + added })
  }

  join (change: Reported, userKey: string, data: EventData<'participant_joined'>): void {
    this.write(memberField(userKey), { userId: data.userId, joinedAt: change.at, id: change.id } satisfies KnownMember)
    this.#count(1)
    this.emit(change, 'participant_joined', data, userKey)
  }

  leave (change: Reported, userKey: string, reason: EventData<'participant_left'>['reason'], participantCount: number): void {
    const member = this.read<KnownMember>(memberField(userKey))
    if (!member) return
    const { userId, joinedAt } = member
    this.remove(memberField(userKey))
    this.#count(-1)
    this.emit(change, 'participant_left', { userId, reason, joinedAt, durationSeconds: secondsBetween(joinedAt, change.at), participantCount }, userKey)
    if (member.again && reason !== 'closed') this.join(member.again, userKey, member.again.data)
  }

  stopBroadcast (change: Reported, { startedAt, hlsUrl }: KnownBroadcast): void {
    this.emit(change, 'broadcast_stopped', { hlsUrl, startedAt, durationSeconds: secondsBetween(startedAt, change.at) }, String(startedAt))
  }

  apply (change: Change): void {
    this.#emitted = 0
    switch (change.type) {
      case 'started':
        this.enter(change, change.room)
        return
      case 'finished': {
        const { room } = this
        if (room && room.startedAt <= change.startedAt) this.finish(change, change.reason)
        return
      }
      case 'joined': {
        if (change.room ? !this.enter(change, change.room) : !this.room) return
        const member = this.read<KnownMember>(memberField(change.userKey))
        if (!member) this.join(change, change.userKey, change.data)
        else if (!change.isCorrection && member.id !== change.id) this.write(memberField(change.userKey), { ...member, again: { id: change.id, at: change.at, data: change.data } })
        return
      }
      case 'left': {
        const { room } = this
        const member = this.read<KnownMember>(memberField(change.userKey))
        if (!room || !member || (change.startedAt ?? room.startedAt) !== room.startedAt) return
        if (change.joinedAt === undefined || change.joinedAt === member.joinedAt) this.leave(change, change.userKey, change.reason, change.count)
        return
      }
      case 'seats': {
        const { room } = this
        const known = this.read<KnownSeats>(seatsField) ?? { revision: -1, seats: [] }
        if (!room || (change.startedAt ?? room.startedAt) !== room.startedAt || change.revision <= known.revision) return
        this.write(seatsField, { revision: change.revision, seats: [...change.seats] } satisfies KnownSeats)
        for (const { from, to } of seatChanges(known.seats, change.seats)) this.emit(change, 'seat_changed', { ...to, previousUserId: from.userId }, String(to.seatIndex))
        return
      }
      case 'broadcast': {
        const known = this.read<KnownBroadcast>(broadcastField)
        if (!this.room || (known && known.startedAt > change.startedAt)) return
        const { startedAt, hlsUrl, onAir } = change
        if (known?.startedAt === startedAt) {
          if (!known.onAir || onAir) return
        } else {
          if (known?.onAir) this.stopBroadcast(change, known)
          this.emit(change, 'broadcast_started', { hlsUrl, startedAt }, String(startedAt))
        }
        if (!onAir) this.stopBroadcast(change, { startedAt, hlsUrl, onAir })
        this.write(broadcastField, { startedAt, hlsUrl, onAir } satisfies KnownBroadcast)
        return
      }
      case 'recorded':
        this.emit(change, 'recording_finished', change.data, change.data.recordingId)
    }
  }
}

/** @returns names of the fields that the changes read */
export function fieldsFor (changes: readonly Change[]): string[] {
  return [...new Set([roomField, seatsField, broadcastField, ...changes.flatMap((change) => 'userKey' in change ? [memberField(change.userKey)] : [])])]
}

/**
 * Applies changes to the stored fields of a room. A pure function.
 *
 * @param fields the stored fields, or at least the fields that {@link fieldsFor} returns for the changes
 * @param isComplete whether `fields` contains all stored fields of the room
 * @returns what to store and send; {@link needsAllFields} if `fields` is not sufficient
 */
export function applyChanges (roomId: string, fields: Fields, changes: readonly Change[], isComplete: boolean): Step | typeof needsAllFields {
  const draft = new RoomDraft(roomId, fields, isComplete)
  try {
    for (const change of changes) draft.apply(change)
    return draft.step
  } catch (error) {
    if (error === needsAllFields) return needsAllFields
    throw error
  }
}
