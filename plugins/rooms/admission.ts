import type { FastifyInstance } from 'fastify'
import { addressKey } from '../connections/addresses.ts'
import { userKeyOf } from '../connections/session.ts'
import type { Session, UserId } from '../connections/session.ts'
import { isCoded, unavailable } from '../errors/codes.ts'
import type { JoinCommand, JoinResult, RoomRecord } from '../store/types.ts'
import { createLimiter } from '../redis/limiter.ts'
import type { Closing } from './closing.ts'
import type { Details } from './details.ts'
import { isLockedByHost, PinRequired, PinWrong } from '../store/errors.ts'
import { pinWindowMs, wrongPins } from '../store/store.ts'
import { PinNotCompared } from '../store/pin-not-compared.ts'
import { RoomNotFound } from './errors.ts'
import type { LocalRoom } from './node-rooms.ts'
import type { Ownership } from './ownership.ts'
import type { PinLimits } from './pin-limits.ts'
import { hashPin, isEqual } from './pins.ts'
import type { PinCheck } from './pins.ts'
import type { Roles } from './roles.ts'
import { noOwner } from './rooms.ts'
import type { RoomRequest } from './rooms.ts'
import type { RoomSync } from './sync.ts'

/** Maximum number of attempts per join. A join is retried if the PIN was compared with an outdated hash. */
const maxComparisons = 3

/** Adds sockets to the member lists of rooms in the store, and creates rooms that do not exist. */
export interface Admission {
  /**
   * Adds a socket to a room. Creates the room if it does not exist and the `room:create` hook allows it.
   *
   * @throws the errors of the store's `join` and of the handlers of `room:create`
   */
  admit (room: LocalRoom, session: Session, request: RoomRequest, pin: string | undefined): Promise<JoinResult>
  /** @returns true if the store may have added the socket to the room although `admit` threw this error */
  isUncertain (error: unknown): boolean
}

export interface AdmissionOptions {
  sync: RoomSync
  closing: Closing
  details: Pick<Details, 'peekPinHash'>
  isHost: Roles['isHost']
  ownership: Pick<Ownership, 'readRole'>
  pins: PinCheck
  pinLimits: PinLimits
}

export function createAdmission (app: FastifyInstance, { sync, closing, details, isHost, ownership, pins, pinLimits }: AdmissionOptions): Admission {
  const { bus, clock, config, drain, hooks, store } = app
  const redis = app.hasDecorator('redis') ? app.redis : undefined
  const creations = createLimiter(redis, { name: 'ratelimit:room-created', max: config.ROOMS_CREATED_PER_MINUTE, windowSeconds: 60 })
  /** Counts PIN attempts per user for rooms that do not exist yet. For existing rooms, the store counts wrong PINs. */
  const reservedTries = createLimiter(redis, { name: 'ratelimit:reserved-pin', max: wrongPins.perUser, windowSeconds: pinWindowMs / 1000 })
  // Errors that were thrown before the join was sent to the store.
  const beforeStore = new WeakSet<Error>()

  /**
   * Sends the join to the store. Features can send their reads in the same round trip. If the room is locked, the
   * features read only after the join succeeds, because attempts to join a locked room often fail.
   */
  async function sendJoin (room: LocalRoom, session: Session, command: JoinCommand): Promise<JoinResult> {
    const joined = store.join(command)
    hooks.emit('room:joining', room, session, !command.create && room.members.size > 0 && !room.record.locked)
    return await joined
  }

  /** Joins a room. If the room has a PIN, compares `pin` with the hash of that PIN. */
  async function joinWithPin (room: LocalRoom, session: Session, command: Omit<JoinCommand, 'pinHash' | 'comparedHash'>, pin: string | undefined): Promise<JoinResult> {
    if (pin === undefined) return await sendJoin(room, session, command)
    // This server usually has the PIN's hash in memory. Otherwise, the store returns the hash, which costs another
    // round trip.
    let comparedHash = details.peekPinHash(room.roomId) ?? room.pinHash ?? 'none'
    for (let i = 0; i < maxComparisons; i++) {
      const isRight = comparedHash !== 'none' && await pins.matches(command.roomId, pin, comparedHash)
      const pinHash = isRight ? comparedHash : command.create ? await hashPin(pin) : 'wrong'
      try {
        return await sendJoin(room, session, { ...command, pinHash, comparedHash })
      } catch (error) {
        if (!(error instanceof PinNotCompared)) throw error
        comparedHash = error.pinHash
      }
    }
    throw unavailable("The room's PIN changed during the join. Try again")
  }

  /** Whether a user is the owner of a room whose PIN was chosen before the first member joined. */
  async function isOwnerOfReserved (record: RoomRecord, session: Session): Promise<boolean> {
    return record.reserved === true && await ownership.readRole(record, session) === 'owner'
  }

  /**
   * Joins a room. If a host has locked the room, its owner and admins can still join. If the room was reserved with a
   * PIN, its owner can join without the PIN.
   */
  async function joinAsHost (room: LocalRoom, session: Session, command: Parameters<typeof joinWithPin>[2], pin: string | undefined): Promise<JoinResult> {
    try {
      return await joinWithPin(room, session, command, pin)
    } catch (error) {
      const isExempt = isLockedByHost(error) ? isHost : error instanceof PinRequired || error instanceof PinWrong ? isOwnerOfReserved : undefined
      const record = isExempt && await store.getRoom(command.roomId)
      if (!record || !await isExempt(record, session)) throw error
      return await joinWithPin(room, session, { ...command, isHost: true }, pin)
    }
  }

  /**
   * Joins a room after too many wrong PINs from the user's address or for the room. Succeeds only if the user is
   * already in the room or needs no PIN.
   *
   * @param limited the error to throw if the user needs the PIN
   */
  async function joinBeyondLimit (room: LocalRoom, session: Session, request: RoomRequest, command: Omit<JoinCommand, 'create'>, pin: string, limited: unknown): Promise<JoinResult> {
    // In a room that a feature manages, users need no PIN.
    if (await isManaged(request.roomId, session)) return await enterManaged(room, session, request, command)
    const [member] = await store.getMembers(command.roomId, [session.userKey])
    try {
      return await joinAsHost(room, session, command, member ? pin : undefined)
    } catch (error) {
      throw error instanceof PinRequired || error instanceof RoomNotFound ? limited : error
    }
  }

  /**
   * Determines the owner and PIN of a room that a join is about to create.
   *
   * @throws RATE_LIMITED, PIN_REQUIRED, PIN_WRONG, and the error with which a feature rejects the join
   */
  async function plan (session: Session, request: RoomRequest, pin: string | undefined): Promise<{ ownerId: UserId, pin: string | undefined, reserved?: boolean }> {
    const { user, userKey } = session
    const { roomId } = request
    await creations.consume(userKey)
    const decided = (await hooks.ask('room:create', roomId, session, request)).find((answer) => answer !== undefined)
    if (decided) return { ownerId: decided.ownerId, pin }
    const reserved = (await hooks.ask('room:reserved', roomId)).find((answer) => answer !== undefined)
    const ownerId = reserved?.ownerId ?? user.id
    if (reserved?.pin === undefined) return { ownerId, pin }
    if (reserved.ownerId === undefined || userKeyOf(ownerId) !== userKey) {
      if (pin === undefined) throw new PinRequired()
      await reservedTries.consume(`${roomId} ${userKey}`)
      const { address } = session.identity
      await store.countPin(roomId, address === undefined ? undefined : addressKey(address), isEqual(pin, reserved.pin))
    }
    return { ownerId, pin: reserved.pin, reserved: true }
  }

  /** @throws the error with which a feature rejects the join */
  async function isManaged (roomId: string, session: Session): Promise<boolean> {
    if (!hooks.has('room:admit')) return false
    const answers = await hooks.ask('room:admit', roomId, session).catch((error: unknown) => {
      if (isCoded(error)) beforeStore.add(error)
      throw error
    })
    return answers.includes('managed')
  }

  /** Joins a room that a feature manages. Restores or creates the room if the store does not have it. */
  async function enterManaged (room: LocalRoom, session: Session, { roomId, options }: RoomRequest, command: Omit<JoinCommand, 'create'>): Promise<JoinResult> {
    try {
      return await joinWithPin(room, session, command, undefined)
    } catch (error) {
      if (!(error instanceof RoomNotFound)) throw error
      if (await sync.restore(room)) return await joinWithPin(room, session, command, undefined)
      if (drain.draining) throw error
    }
    const create = { roomId, ownerId: noOwner, createdAt: command.now, options, locked: false }
    return await joinWithPin(room, session, { ...command, create }, undefined)
  }

  /**
   * Joins or creates a room. First tries to join, because the creation limit and the `room:create` hook apply only to
   * new rooms.
   */
  async function enter (room: LocalRoom, session: Session, request: RoomRequest, command: Omit<JoinCommand, 'create'>, pin: string | undefined): Promise<JoinResult> {
    if (await isManaged(request.roomId, session)) return await enterManaged(room, session, request, command)
    try {
      return await joinAsHost(room, session, command, pin)
    } catch (error) {
      if (!(error instanceof RoomNotFound)) throw error
      if (await sync.restore(room)) return await joinAsHost(room, session, command, pin)
      if (drain.draining) throw error
      if (app.nodes.isCordoned) throw app.nodes.refusal('OVERLOADED')
    }
    const { roomId, options, title, topic } = request
    const planned = await plan(session, request, pin).catch((error: unknown) => {
      if (isCoded(error)) beforeStore.add(error)
      throw error
    })
    const { user, userKey } = session
    const { ownerId } = planned
    const ownerName = userKeyOf(ownerId) === userKey ? user.name : undefined
    const create = { roomId, ownerId, ownerName, title, topic, createdAt: command.now, options, locked: planned.pin !== undefined, reserved: planned.reserved }
    return await joinAsHost(room, session, { ...command, create }, planned.pin)
  }

  /**
   * Removes this server's members of an earlier room with the same name. The earlier room was closed before the new
   * room was created.
   */
  async function closeEarlier (room: LocalRoom): Promise<void> {
    const { createdAt } = room.record
    await bus.check().catch(() => { /* If the bus is down, the message that closes the earlier room does not arrive. */ })
    if (room.closedUpTo < createdAt) closing.closeHere(room, createdAt, 'closed_by_admin')
  }

  return {
    async admit (room, session, request, pin) {
      const { address } = session.identity
      const command = {
        roomId: request.roomId,
        sessionId: session.id,
        userKey: session.userKey,
        profile: session.user.profile,
        limit: config.MAX_CLIENTS_PER_ROOM,
        now: clock.now(),
        address: address === undefined ? undefined : addressKey(address)
      }
      const join = async () => await enter(room, session, request, command, pin)
      const result = pin === undefined || session.roomId === request.roomId
        ? await join()
        : await pinLimits.limit(address, request.roomId, join, async (limited) => await joinBeyondLimit(room, session, request, command, pin, limited))
      if (room.members.size > 0 && result.room.createdAt > room.record.createdAt) await closeEarlier(room)
      return result
    },
    isUncertain: (error) => isCoded(error) && error.code === 'UNAVAILABLE' && !beforeStore.has(error)
  }
}
