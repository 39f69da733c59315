import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { codeOf } from './errors.ts'
import type { JoinReply, UserId } from './protocol.ts'
import { updateSnapshot } from './snapshots.ts'

/** A seat of the room. */
export interface Seat {
  readonly seatIndex: number
  /** The occupant; undefined if the seat is free. */
  readonly userId: UserId | undefined
  /** Whether the owner or an admin of the room muted the occupant. */
  readonly isMuted: boolean
  readonly isLocked: boolean
  /** The user with a pending invite to this seat. */
  readonly invitedUserId: UserId | undefined
}

/** A raised hand: the user asks for a seat. */
export interface SeatRequest {
  readonly userId: UserId
  /** Epoch milliseconds. */
  readonly requestedAt: number
}

export interface SeatsEvents {
  /** A seat, the number of seats or a visible seat request changed. */
  change: []
}

interface Sitter {
  userId: UserId
  isMuted: boolean
}

/** The values that the getters return until the next change. The lists and seats are frozen. */
interface View {
  list: readonly Seat[]
  free: readonly Seat[]
  /** The taken seats, keyed by user id as a string. */
  byUser: ReadonlyMap<string, Seat>
  /** True if anything has changed since the view was created. */
  isStale: boolean
}

const noRequests: readonly SeatRequest[] = Object.freeze([])

/**
 * If a request to take a seat fails with one of these errors, the client tries the next free seat.
 */
const seatUnavailable = new Set(['SEAT_TAKEN', 'SEAT_LOCKED', 'SEAT_INVALID'])

/**
 * A read-only view of the seats in the current room. To change seats, send requests, for example
 * `connection.request('seat:take', { seatIndex })`. The view changes when the server's event arrives.
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
  #requests = noRequests
  #view: View = { list: Object.freeze([]), free: Object.freeze([]), byUser: new Map(), isStale: false }

  /** @param connection used for requests and server events */
  constructor (connection: Connection) {
    super()
    this.#connection = connection
    const here = (roomId: string) => this.#roomId === roomId && this.#count !== undefined
    connection.on('seat:updated', ({ roomId, seatIndex, userId, isMuted }) => {
      if (!here(roomId)) return
      const known = this.#sitters.get(seatIndex)
      // If the user already has a seat in this view, this is not a new sitting: the join reply may already contain the
      // change.
      if (this.isSelf(userId) && !(known && this.isSelf(known.userId))) this.#sittings++
      for (const [index, sitter] of this.#sitters) if (same(sitter.userId, userId)) this.#sitters.delete(index)
      this.#sitters.set(seatIndex, { userId, isMuted })
      this.#changed()
    })
    connection.on('seat:cleared', ({ roomId, seatIndex, userId }) => {
      const sitter = this.#sitters.get(seatIndex)
      if (!here(roomId) || !sitter || !same(sitter.userId, userId)) return
      this.#sitters.delete(seatIndex)
      this.#changed()
    })
    connection.on('seat:userMuted', ({ roomId, userId, isMuted }) => {
      const sitter = [...this.#sitters.values()].find((sitter) => same(sitter.userId, userId))
      if (!here(roomId) || !sitter || sitter.isMuted === isMuted) return
      sitter.isMuted = isMuted
      this.#changed()
    })
    connection.on('seat:locked', ({ roomId, seatIndex, isLocked }) => {
      if (!here(roomId)) return
      if (isLocked) this.#locked.add(seatIndex)
      else this.#locked.delete(seatIndex)
      this.#changed()
    })
    connection.on('seat:invite:pending', ({ roomId, seatIndex, isPending, invitedUserId }) => {
      if (!here(roomId)) return
      if (isPending && invitedUserId !== undefined) this.#invited.set(seatIndex, invitedUserId)
      else this.#invited.delete(seatIndex)
      this.#changed()
    })
    connection.on('seat:count', ({ roomId, seatCount }) => {
      if (!here(roomId)) return
      this.#count = seatCount
      this.#changed()
    })
    connection.on('seat:requests', ({ roomId, requests }) => {
      if (!here(roomId)) return
      this.#requests = Object.freeze([...requests])
      this.#changed()
    })
    connection.on('feature:disabled', ({ name }) => {
      if (name === 'seats') this.stop()
    })
  }

  /** Whether the room has seats. In a room without seats, every user is allowed to speak. */
  get enabled (): boolean {
    return this.#count !== undefined
  }

  /** Number of seats; 0 in rooms without seats. */
  get count (): number {
    return this.#count ?? 0
  }

  /**
   * All seats, in order. Returns the same frozen array until a seat changes. The new array contains the same objects
   * for unchanged seats.
   */
  get list (): readonly Seat[] {
    return this.#current.list
  }

  /**
   * Seats that are not taken, not locked and not reserved by an invite. Returns the same frozen array until one of the
   * seats changes.
   */
  get free (): readonly Seat[] {
    return this.#current.free
  }

  /** The user's own seat; undefined if the user has no seat. */
  get own (): Seat | undefined {
    return this.#self === undefined ? undefined : this.of(this.#self)
  }

  /**
   * The seat of the user's latest pending invite; undefined if no invite is pending. Accept the invite with
   * `seat:invite:accept` or decline it with `seat:invite:decline`.
   */
  get invitation (): Seat | undefined {
    const [seatIndex] = [...this.#invited].findLast(([, userId]) => this.isSelf(userId)) ?? []
    return seatIndex === undefined ? undefined : this.#current.list[seatIndex]
  }

  /**
   * Seat requests, oldest first. Returns the same frozen array until the server sends a new list. The owner and admins
   * of the room see all requests; other users see only their own request. To answer a request, invite the user to a
   * seat, assign the user to a seat, or lower the hand with `seat:request:cancel`.
   */
  get requests (): readonly SeatRequest[] {
    return this.#requests
  }

  /** Whether the user's own hand is raised. `seat:request` raises the hand, and `seat:request:cancel` lowers it. */
  get requesting (): boolean {
    return this.#requests.some(({ userId }) => this.isSelf(userId))
  }

  /**
   * Id of the current sitting (one stay in a seat). If a user loses the seat and then takes a seat, even the same seat,
   * a new sitting starts, and the client must produce again. Undefined if the user has no seat.
   */
  get sitting (): number | undefined {
    return this.own && this.#sittings
  }

  /** @returns the seat of a user; undefined if the user has no seat */
  of (userId: UserId): Seat | undefined {
    return this.#current.byUser.get(String(userId))
  }

  /** Whether a user id, as a number or a string, is the id of the client's own user. */
  isSelf (userId: UserId): boolean {
    return this.#self !== undefined && same(userId, this.#self)
  }

  /**
   * Takes any free seat, unless the user already has a seat. Resolves when this view contains the user's seat.
   *
   * @returns the index of the user's seat; undefined if no seat is free
   * @throws RequestError
   */
  async takeFree (): Promise<number | undefined> {
    const tried = new Set<number>()
    for (;;) {
      if (this.own) return this.own.seatIndex
      const sitting = this.#sittings
      const roomId = this.#roomId
      const seat = this.free.find(({ seatIndex }) => !tried.has(seatIndex))
      if (!seat) return undefined
      tried.add(seat.seatIndex)
      try {
        const { seatIndex } = await this.#connection.request('seat:take', { seatIndex: seat.seatIndex })
        await this.#sat(sitting, roomId)
        return seatIndex
      } catch (error) {
        if (!seatUnavailable.has(codeOf(error) ?? '')) throw error
      }
    }
  }

  /** Waits for the event about the seat that the user has just taken, because the event may arrive after the reply. */
  async #sat (previous: number, roomId: string | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const check = () => { if (this.#sittings !== previous || this.#roomId !== roomId) resolve() }
    const off = this.on('change', check)
    check()
    await promise
    off()
  }

  /** Initializes the view from a join reply. The view stays empty while the `seats` feature is off. */
  start ({ roomId, self, seatCount, seats = [], lockedSeats = [], pendingInvites = [], seatRequests = [] }: JoinReply): void {
    this.#clear()
    this.#roomId = roomId
    this.#self = self.userId
    this.#count = seatCount
    this.#sittings++
    this.#requests = seatRequests.length === 0 ? noRequests : Object.freeze([...seatRequests])
    for (const { seatIndex, userId, isMuted } of seats) this.#sitters.set(seatIndex, { userId, isMuted })
    for (const seatIndex of lockedSeats) this.#locked.add(seatIndex)
    for (const { seatIndex, invitedUserId } of pendingInvites) this.#invited.set(seatIndex, invitedUserId)
    this.#changed()
  }

  /** Clears the view after the user leaves the room or the `seats` feature is turned off. Idempotent. */
  stop (): void {
    this.#clear()
    this.#changed()
  }

  #clear (): void {
    this.#roomId = undefined
    this.#self = undefined
    this.#count = undefined
    this.#sitters.clear()
    this.#locked.clear()
    this.#invited.clear()
    this.#requests = noRequests
  }

  #changed (): void {
    this.#view.isStale = true
    this.emit('change')
  }

  get #current (): View {
    if (!this.#view.isStale) return this.#view
    const list = updateSnapshot(this.#view.list, Array.from({ length: this.count }, (_, seatIndex) => this.#seat(seatIndex)), ({ seatIndex }) => seatIndex)
    const isFree = ({ userId, isLocked, invitedUserId }: Seat) => userId === undefined && !isLocked && invitedUserId === undefined
    this.#view = {
      list,
      free: updateSnapshot(this.#view.free, list.filter(isFree), ({ seatIndex }) => seatIndex),
      // While the number of seats is being reduced, a user may be in a seat that is no longer in the list.
      byUser: new Map([...this.#sitters].map(([seatIndex, { userId }]) => [String(userId), list[seatIndex] ?? Object.freeze(this.#seat(seatIndex))])),
      isStale: false
    }
    return this.#view
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
