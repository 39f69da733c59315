import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { codeOf } from './errors.ts'
import type { JoinReply, UserId } from './protocol.ts'

/** A seat of the room, taken or not. */
export interface Seat {
  readonly seatIndex: number
  /** Who sits there; undefined when it is free. */
  readonly userId: UserId | undefined
  /** Whether the owner or an admin of the room has silenced who sits there. */
  readonly isMuted: boolean
  readonly isLocked: boolean
  /** Who is invited to sit there. */
  readonly invitedUserId: UserId | undefined
}

/** A hand that is up: somebody asks for a seat. */
export interface SeatRequest {
  readonly userId: UserId
  /** Epoch milliseconds. */
  readonly requestedAt: number
}

export interface SeatsEvents {
  /** Something about one of the seats, or their number, or about the requests one hears of, has changed. */
  change: []
}

interface Sitter {
  userId: UserId
  isMuted: boolean
}

/** A seat that somebody else got first, or that is not there any more. */
const elsewhere = new Set(['SEAT_TAKEN', 'SEAT_LOCKED', 'SEAT_INVALID'])

/**
 * The seats of the room a connection is in, as the server tells of them. It
 * only watches: what is to change is asked of the server, with
 * `connection.request('seat:take', { seatIndex })` and the others of its kind,
 * and shows here once the server has told everybody.
 */
export class RoomSeats extends Emitter<SeatsEvents> {
  readonly #connection: Connection
  readonly #sitters = new Map<number, Sitter>()
  readonly #locked = new Set<number>()
  readonly #invited = new Map<number, UserId>()
  #roomId: string | undefined
  #self: UserId | undefined
  #count: number | undefined
  #sittings = 0
  #requests: readonly SeatRequest[] = []

  /** @param connection whose events it follows from now on */
  constructor (connection: Connection) {
    super()
    this.#connection = connection
    const here = (roomId: string) => this.#roomId === roomId && this.#count !== undefined
    connection.on('seat:updated', ({ roomId, seatIndex, userId, isMuted }) => {
      if (!here(roomId)) return
      const known = this.#sitters.get(seatIndex)
      // What came with the reply to the join may come once more as an event.
      if (this.isSelf(userId) && !(known && this.isSelf(known.userId))) this.#sittings++
      for (const [index, sitter] of this.#sitters) if (same(sitter.userId, userId)) this.#sitters.delete(index)
      this.#sitters.set(seatIndex, { userId, isMuted })
      this.emit('change')
    })
    connection.on('seat:cleared', ({ roomId, seatIndex, userId }) => {
      const sitter = this.#sitters.get(seatIndex)
      if (!here(roomId) || !sitter || !same(sitter.userId, userId)) return
      this.#sitters.delete(seatIndex)
      this.emit('change')
    })
    connection.on('seat:userMuted', ({ roomId, userId, isMuted }) => {
      const sitter = [...this.#sitters.values()].find((sitter) => same(sitter.userId, userId))
      if (!here(roomId) || !sitter || sitter.isMuted === isMuted) return
      sitter.isMuted = isMuted
      this.emit('change')
    })
    connection.on('seat:locked', ({ roomId, seatIndex, isLocked }) => {
      if (!here(roomId)) return
      if (isLocked) this.#locked.add(seatIndex)
      else this.#locked.delete(seatIndex)
      this.emit('change')
    })
    connection.on('seat:invite:pending', ({ roomId, seatIndex, isPending, invitedUserId }) => {
      if (!here(roomId)) return
      if (isPending && invitedUserId !== undefined) this.#invited.set(seatIndex, invitedUserId)
      else this.#invited.delete(seatIndex)
      this.emit('change')
    })
    connection.on('seat:count', ({ roomId, seatCount }) => {
      if (!here(roomId)) return
      this.#count = seatCount
      this.emit('change')
    })
    connection.on('seat:requests', ({ roomId, requests }) => {
      if (!here(roomId)) return
      this.#requests = requests
      this.emit('change')
    })
    connection.on('feature:disabled', ({ name }) => {
      if (name === 'seats') this.stop()
    })
  }

  /** Whether the room has seats; where the server has that feature off, everybody may speak. */
  get enabled (): boolean {
    return this.#count !== undefined
  }

  /** How many seats the room has; 0 where it has none. */
  get count (): number {
    return this.#count ?? 0
  }

  /** All seats, in order. */
  get list (): Seat[] {
    return Array.from({ length: this.count }, (_, seatIndex) => this.#seat(seatIndex))
  }

  /** Seats that anybody may take and nobody is invited to. */
  get free (): Seat[] {
    return this.list.filter(({ userId, isLocked, invitedUserId }) => userId === undefined && !isLocked && invitedUserId === undefined)
  }

  /** The own seat; undefined when one has none. */
  get own (): Seat | undefined {
    return this.#self === undefined ? undefined : this.of(this.#self)
  }

  /** The newest seat one is invited to. Accept with `seat:invite:accept`, or decline with `seat:invite:decline`. */
  get invitation (): Seat | undefined {
    const [seatIndex] = [...this.#invited].findLast(([, userId]) => this.isSelf(userId)) ?? []
    return seatIndex === undefined ? undefined : this.#seat(seatIndex)
  }

  /**
   * Who asks for a seat, in the order asked: all of them for the owner and admins of the room,
   * only one's own for everybody else. Invite or assign those who ask, or lower
   * their hand with `seat:request:cancel`.
   */
  get requests (): readonly SeatRequest[] {
    return this.#requests
  }

  /** Whether one asks for a seat. Raise the hand with `seat:request`, and lower it with `seat:request:cancel`. */
  get requesting (): boolean {
    return this.#requests.some(({ userId }) => this.isSelf(userId))
  }

  /**
   * Tells this time on a seat from every other one: who was taken off a seat
   * and put on one again, though it be the same, may speak anew. Undefined when
   * one has no seat.
   */
  get sitting (): number | undefined {
    return this.own && this.#sittings
  }

  /** @returns the seat of a user; undefined when they have none */
  of (userId: UserId): Seat | undefined {
    for (const [seatIndex, sitter] of this.#sitters) if (same(sitter.userId, userId)) return this.#seat(seatIndex)
    return undefined
  }

  /** Whether an id is one's own, in whatever form. */
  isSelf (userId: UserId): boolean {
    return this.#self !== undefined && same(userId, this.#self)
  }

  /**
   * Takes a seat that is free. Who has one keeps it.
   *
   * @returns its index; undefined when none was to be had
   * @throws RequestError
   */
  async takeFree (): Promise<number | undefined> {
    const tried = new Set<number>()
    for (;;) {
      if (this.own) return this.own.seatIndex
      const seat = this.free.find(({ seatIndex }) => !tried.has(seatIndex))
      if (!seat) return undefined
      tried.add(seat.seatIndex)
      try {
        return (await this.#connection.request('seat:take', { seatIndex: seat.seatIndex })).seatIndex
      } catch (error) {
        if (!elsewhere.has(codeOf(error) ?? '')) throw error
      }
    }
  }

  /** Begins with a room that has just been joined. Stays empty when the server does no seats. */
  start ({ roomId, self, seatCount, seats = [], lockedSeats = [], pendingInvites = [], seatRequests = [] }: JoinReply): void {
    this.#clear()
    this.#roomId = roomId
    this.#self = self.userId
    this.#count = seatCount
    this.#sittings++
    this.#requests = seatRequests
    for (const { seatIndex, userId, isMuted } of seats) this.#sitters.set(seatIndex, { userId, isMuted })
    for (const seatIndex of lockedSeats) this.#locked.add(seatIndex)
    for (const { seatIndex, invitedUserId } of pendingInvites) this.#invited.set(seatIndex, invitedUserId)
    this.emit('change')
  }

  /** Ends with the room. Idempotent. */
  stop (): void {
    this.#clear()
    this.emit('change')
  }

  #clear (): void {
    this.#roomId = undefined
    this.#self = undefined
    this.#count = undefined
    this.#sitters.clear()
    this.#locked.clear()
    this.#invited.clear()
    this.#requests = []
  }

  #seat (seatIndex: number): Seat {
    const sitter = this.#sitters.get(seatIndex)
    return {
      seatIndex,
      userId: sitter?.userId,
      isMuted: sitter?.isMuted ?? false,
      isLocked: this.#locked.has(seatIndex),
      invitedUserId: this.#invited.get(seatIndex)
    }
  }
}

function same (userId: UserId, other: UserId): boolean {
  return String(userId) === String(other)
}
