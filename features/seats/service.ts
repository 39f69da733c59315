import { hasOwner, isCoded, NotInRoom, userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, LeaveReason, LocalRoom, ProducePermit, ProducerHandle, RoomRecord, Session, UserId } from 'flylive-audio-server/feature'
import { decide, needsRights } from './decide.ts'
import type { Actor, Command, Outcome } from './decide.ts'
import { NotSeated } from './errors.ts'
import type { SeatRequests } from './seat-requests.ts'
import { bySeniority, holdersOf, initialSeats, isMuted, nextExpiry, noSeats, seatOf, viewOf } from './state.ts'
import type { SeatsSnapshot, SeatState, SeatStateHandle, SeatsView } from './state.ts'

/** The seats of rooms and the commands that change them. */
export interface Seats {
  /**
   * Returns this server's copy of a room's seats; undefined before the first seat command in the room or if the room
   * has no members on this server.
   */
  peek (roomId: string): SeatState | undefined
  /**
   * Reads a room's seats from the store.
   *
   * @returns the seats; undefined before the first seat command in the room
   * @throws UNAVAILABLE
   */
  read (roomId: string): Promise<SeatState | undefined>
  /**
   * @returns a room's seats
   * @throws UNAVAILABLE
   */
  snapshotOf (room: RoomRecord): Promise<SeatsSnapshot>
  /** @returns each room's seats, in the order of `rooms`; `present` is the number of occupants who are connected */
  seatsOf (rooms: readonly RoomRecord[]): Promise<(SeatsView & { present: number })[]>
  /**
   * Executes a member's command atomically.
   *
   * @throws the same errors as {@link decide}; NOT_IN_ROOM if the user who is assigned or invited is not in the room;
   *   UNAVAILABLE
   */
  act (room: LocalRoom, session: Session, command: Command): Promise<Outcome>
  /**
   * Mutes all seated users except the room's owner, the sender, and `except`.
   *
   * @returns the users whom the command has muted
   * @throws FORBIDDEN if the sender is neither the owner nor an admin; UNAVAILABLE
   */
  muteAll (room: LocalRoom, session: Session, except: readonly UserId[]): Promise<UserId[]>
  /**
   * Changes the number of seats in a room and removes the occupants of seats that no longer exist.
   *
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  resize (roomId: string, seatCount: number): Promise<void>
  /**
   * Releases the seat of a user who has left, and removes the user's request. After a disconnect, starts the user's
   * grace period instead.
   */
  left (roomId: string, userId: UserId, reason: LeaveReason): Promise<void>
  /**
   * Ends the grace period of a user who is in the room on this server. Calls the store only if this server's copy of the
   * seats shows a grace period for the user.
   */
  returned (roomId: string, userId: UserId): Promise<void>
  /**
   * Starts the grace period of users who have a seat or a request but are not in the room. Makes sure that the grace
   * periods that have already started end.
   */
  startMissingGrace (roomId: string): Promise<void>
  /**
   * @returns the seated users: admins before other members. In both groups, users who have been seated longer come
   *   first
   * @throws UNAVAILABLE
   */
  successors (room: RoomRecord): Promise<UserId[]>
  /** Ends the expired invites and grace periods of a room. */
  tick (roomId: string): Promise<void>
}

/** @param graceMs how long disconnected users keep their seat and request, in milliseconds */
export function createSeats (app: FeatureInstance, seatState: SeatStateHandle, graceMs: number, seatRequests: SeatRequests): Seats {
  const { clock, hooks, log, rooms, sockets, store } = app

  /**
   * @param initial returns the seats of a room for which no seats are stored yet; if omitted, the command does not
   *   change such a room
   */
  async function execute (roomId: string, command: Command, actor?: Actor, initial?: () => SeatState): Promise<Outcome> {
    // The store may run this function several times, and keeps only the state from the last run.
    let change: { from: SeatState, to: SeatState } | undefined
    const outcome = await seatState.change<Outcome>(roomId, (state) => {
      change = undefined
      const current = state ?? initial?.()
      if (!current) return { result: {} }
      const decision = decide(current, command, actor, clock.now())
      if (!decision.state || decision.state === current) return decision
      const to = { ...decision.state, revision: Math.max(current.revision + 1, clock.now()) }
      change = { from: current, to }
      return { ...decision, state: to }
    })
    if (change && hooks.has('seats:updated') && !isSameView(change.from, change.to)) hooks.emit('seats:updated', roomId, snapshotOf(change.to))
    return outcome
  }

  async function actorOf (room: LocalRoom, session: Session, command: Command): Promise<Actor> {
    const { type } = command
    const userId = session.user.id
    if (!needsRights(command, userId)) return { userId, role: 'member' }
    const role = await rooms.roleOf(room.record, session)
    seatRequests.updateRole(room, session, role)
    if (role !== 'admin' || (type !== 'remove' && type !== 'lock' && type !== 'muteAll')) return { userId, role }
    return { userId, role, ownerId: await rooms.ownerOf(room.record) }
  }

  /**
   * Returns a member's id with the type (number or string) that it has in the member's token.
   *
   * @throws NOT_IN_ROOM, UNAVAILABLE
   */
  async function memberIdOf (roomId: string, userId: UserId): Promise<UserId> {
    for (const session of sockets.ofUser(userKeyOf(userId))) if (session.roomId === roomId) return session.user.id
    const [profile] = await store.getMembers(roomId, [userKeyOf(userId)])
    if (!profile) throw new NotInRoom(`User ${userId} is not in room ${roomId}`)
    return profile.userId
  }

  return {
    peek: seatState.peek,
    read: seatState.read,
    snapshotOf: async (room) => snapshotOf(await seatState.read(room.roomId) ?? initialSeats(room)),
    async seatsOf (records) {
      const states = await seatState.readMany(records.map(({ roomId }) => roomId))
      return records.map((record, i) => {
        const state = states[i] ?? initialSeats(record)
        return { ...viewOf(state), present: state.seats.filter(({ awayUntil }) => awayUntil === undefined).length }
      })
    },
    async act (room, session, command) {
      const { roomId } = room
      const actor = await actorOf(room, session, command)
      const resolved = command.type === 'assign' || command.type === 'invite' ? { ...command, userId: await memberIdOf(roomId, command.userId) } : command
      const outcome = await execute(roomId, resolved, actor, () => initialSeats(room.record))
      // The user may have left the room while the command was in flight.
      if (session.roomId !== roomId) await this.startMissingGrace(roomId)
      if (outcome.invite) {
        const { userId, seatIndex, invitedById, expiresAt } = outcome.invite
        await sockets.toUser(userId, 'seat:invite:received', { roomId, seatIndex, invitedById, expiresAt })
      }
      return outcome
    },
    async muteAll (room, session, except) {
      return (await this.act(room, session, { type: 'muteAll', except })).userIds ?? []
    },
    async resize (roomId, seatCount) {
      const room = await store.getRoom(roomId)
      await execute(roomId, { type: 'resize', seatCount }, undefined, () => room ? initialSeats(room) : noSeats(seatCount))
    },
    async left (roomId, userId, reason) {
      if (reason === 'closed') return
      // Run the command even if the local copy shows no seat, because the copy may lag behind the store. When the grace
      // period ends, one round trip checks which of the disconnected users are back.
      const command: Command = reason === 'disconnected'
        ? { type: 'away', userIds: [userId], until: clock.now() + graceMs }
        : { type: 'gone', userId, reason: reason === 'kicked' ? 'removed' : 'left' }
      await execute(roomId, command)
      // The user may have returned to this server before the grace period started.
      if (command.type === 'away') await this.returned(roomId, userId)
    },
    async returned (roomId, userId) {
      const userKey = userKeyOf(userId)
      const isAway = holdersOf(seatState.peek(roomId)).some((holding) => holding.awayUntil !== undefined && userKeyOf(holding.userId) === userKey)
      // If the user leaves again, this server runs the command for the leave after this command.
      if (isAway && [...sockets.ofUser(userKey)].some((session) => session.roomId === roomId)) await execute(roomId, { type: 'back', userId })
    },
    async startMissingGrace (roomId) {
      const state = await seatState.read(roomId)
      // A server may have started a grace period and died, or lost its connection, before it scheduled the end.
      const expiry = state && nextExpiry(state)
      if (expiry !== undefined) await seatState.wakeAt(roomId, expiry)
      const holdings = holdersOf(state).filter(({ awayUntil }) => awayUntil === undefined)
      if (holdings.length === 0) return
      const members = await store.getMembers(roomId, holdings.map(({ userId }) => userKeyOf(userId)))
      const userIds = holdings.map(({ userId }) => userId).filter((_, i) => members[i] === undefined)
      if (userIds.length > 0) await execute(roomId, { type: 'away', userIds, until: clock.now() + graceMs })
    },
    async successors (room) {
      const seated = bySeniority(await seatState.read(room.roomId)).map(({ userId }) => userId)
      const roles = await Promise.all(seated.map(async (userId) => await rooms.roleOfUser(room, userId)))
      const isAdmin = (_: UserId, i: number) => roles[i] === 'admin'
      return [...seated.filter(isAdmin), ...seated.filter((userId, i) => !isAdmin(userId, i))]
    },
    async tick (roomId) {
      try {
        const before = await seatState.read(roomId)
        if (!before) return
        const due = holdersOf(before).filter(({ awayUntil = Infinity }) => awayUntil <= clock.now()).map(({ userId }) => userKeyOf(userId))
        const members = await store.getMembers(roomId, due)
        await execute(roomId, { type: 'tick', present: new Map(due.map((key, i) => [key, members[i] !== undefined])) })
        const after = await seatState.read(roomId)
        const expiry = after && nextExpiry(after)
        if (expiry !== undefined) await seatState.wakeAt(roomId, expiry)
      } catch (error) {
        if (!isCoded(error) || error.code !== 'ROOM_NOT_FOUND') throw error
        log.debug({ roomId }, 'room closed before its seats were checked')
      }
    }
  }
}

const snapshotOf = (state: SeatState): SeatsSnapshot => ({ ...viewOf(state), revision: state.revision })

const isSameView = (a: SeatState, b: SeatState): boolean => JSON.stringify(viewOf(a)) === JSON.stringify(viewOf(b))

/** Enforces seats and mutes on the producers of this server (docs/protocol.md, "Audio"). */
export interface SpeakPermissions {
  /**
   * Decides whether a member is allowed to send audio, and whether the server pauses the new producer.
   *
   * @throws NOT_SEATED
   */
  permit (roomId: string, session: Session): Promise<ProducePermit>
  /** Closes the producers of users without a seat. Pauses the producers of muted users and resumes all others. */
  enforce (roomId: string, state: SeatState | undefined): void
  /**
   * Links the running producers of seated users to their seats, then calls {@link enforce}. Called when the feature is
   * turned on.
   */
  hydrate (roomId: string, state: SeatState | undefined): void
  /** Resumes the producers of muted users. Called when the feature is turned off. */
  release (roomId: string): void
}

export function createSpeakPermissions ({ log, rooms, sfu }: FeatureInstance, seats: Seats): SpeakPermissions {
  /**
   * Returns the producers whose users need a seat. Producers of services need no seat. Relayed producers are checked on
   * the speaker's server.
   */
  function producersIn (roomId: string): ProducerHandle[] {
    const room = rooms.get(roomId)
    // In a room without an owner, every member is allowed to send audio.
    if (room && !hasOwner(room.record)) return []
    return sfu.producerHandles(roomId).filter(({ owner }) => owner.kind === 'session')
  }

  function logFailure (change: Promise<void>, roomId: string, { producerId }: ProducerHandle): void {
    change.catch((err: unknown) => log.debug({ err, roomId, producerId }, 'producer closed before it was paused or resumed'))
  }

  function enforce (roomId: string, state: SeatState | undefined): void {
    for (const producer of producersIn(roomId)) {
      const seat = seatOf(state, producer.owner.userKey)
      // A user who moves to another seat loses the permission (grant) for the previous seat.
      if (!state || !seat || String(seat.sitting) !== producer.grant) producer.close()
      else logFailure(isMuted(state, seat.userId) ? producer.pause('server') : producer.resume('server'), roomId, producer)
    }
  }

  return {
    async permit (roomId, session) {
      // The local copy may not yet contain a seat that another server has just assigned.
      const state = seatOf(seats.peek(roomId), session.userKey) ? seats.peek(roomId) : await seats.read(roomId)
      const seat = seatOf(state, session.userKey)
      if (!state || !seat) throw new NotSeated('Sending audio requires a seat')
      return { paused: isMuted(state, seat.userId), grant: String(seat.sitting) }
    },
    enforce,
    hydrate (roomId, state) {
      for (const producer of producersIn(roomId)) {
        const seat = seatOf(state, producer.owner.userKey)
        if (producer.grant === undefined && seat) producer.grant = String(seat.sitting)
      }
      enforce(roomId, state)
    },
    release (roomId) {
      for (const producer of producersIn(roomId)) logFailure(producer.resume('server'), roomId, producer)
    }
  }
}
