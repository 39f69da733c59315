import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { Session } from '../connections/session.ts'
import { isCoded } from '../errors/codes.ts'
import type { JoinCommand, JoinResult } from '../store/types.ts'
import { createLimiter, MinuteCounter } from '../redis/limiter.ts'
import type { Closing } from './closing.ts'
import { PinWrong } from '../store/errors.ts'
import { RoomNotFound } from './errors.ts'
import type { LocalRoom } from './node-rooms.ts'
import type { RoomRequest } from './rooms.ts'
import type { RoomSync } from './sync.ts'

export function hashPin (roomId: string, pin: string): string {
  return createHash('sha256').update(`${roomId}:${pin}`).digest('hex')
}

/** Maximum number of wrong pins per minute on this server. */
const wrongPins = { perAddress: 20, perRoom: 200 }

/** Adds sockets to rooms in the store, and creates rooms that do not exist. */
export interface Admission {
  /**
   * Adds a socket to the room. Creates the room if it does not exist and `room:create` allows it.
   *
   * @throws the errors of the store's join and of the hook
   */
  admit (room: LocalRoom, session: Session, request: RoomRequest, pinHash: string | undefined): Promise<JoinResult>
  /** @returns whether the store may have admitted the socket even though `admit` threw this error */
  isUncertain (error: unknown): boolean
}

export function createAdmission (app: FastifyInstance, sync: RoomSync, closing: Closing): Admission {
  const { bus, clock, config, drain, hooks, store } = app
  const redis = app.hasDecorator('redis') ? app.redis : undefined
  const creations = createLimiter(redis, { name: 'ratelimit:room-created', max: config.ROOMS_CREATED_PER_MINUTE, windowSeconds: 60 })
  // Errors that were thrown before the store could create the room.
  const beforeStore = new WeakSet<Error>()

  // These apply in addition to the limit per user and room, which the store enforces (protocol.md,
  // section 7, "Quotas").
  const wrongPinsOfAddress = new MinuteCounter()
  const wrongPinsOfRoom = new MinuteCounter()

  /**
   * Limits wrong pins; members of the room are not affected.
   *
   * @throws RATE_LIMITED without calling `join`, if the address or the room has had too many wrong pins
   */
  async function limitPins (session: Session, roomId: string, join: () => Promise<JoinResult>): Promise<JoinResult> {
    if (session.roomId === roomId) return await join()
    const { address } = session.identity
    if (address !== undefined) wrongPinsOfAddress.check(address, wrongPins.perAddress)
    wrongPinsOfRoom.check(roomId, wrongPins.perRoom)
    try {
      return await join()
    } catch (error) {
      if (error instanceof PinWrong) {
        if (address !== undefined) wrongPinsOfAddress.add(address)
        wrongPinsOfRoom.add(roomId)
      }
      throw error
    }
  }

  async function mayCreate (roomId: string, session: Session, request: RoomRequest) {
    await creations.consume(session.userKey)
    return await hooks.ask('room:create', roomId, session, request)
  }

  /** Tries to join first, because the creation limit and `room:create` apply only if the room does not exist. */
  async function enter (room: LocalRoom, session: Session, request: RoomRequest, command: Omit<JoinCommand, 'create'>): Promise<JoinResult> {
    try {
      return await store.join(command)
    } catch (error) {
      if (!(error instanceof RoomNotFound)) throw error
      if (await sync.restore(room)) return await store.join(command)
      if (drain.draining) throw error
    }
    const { roomId, options } = request
    const answers = await mayCreate(roomId, session, request).catch((error: unknown) => {
      if (isCoded(error)) beforeStore.add(error)
      throw error
    })
    const ownerId = answers.find((answer) => answer !== undefined)?.ownerId ?? session.user.id
    return await store.join({ ...command, create: { roomId, ownerId, createdAt: command.now, options, locked: command.pinHash !== undefined } })
  }

  /**
   * Removes this server's members of an earlier room with the same name. That room was closed before the
   * new one was created.
   */
  async function closeEarlier (room: LocalRoom): Promise<void> {
    const { createdAt } = room.record
    await bus.check().catch(() => { /* The bus is down, so the message that closes the earlier room will not arrive. */ })
    if (room.closedUpTo < createdAt) closing.closeHere(room, createdAt, 'closed_by_admin')
  }

  return {
    async admit (room, session, request, pinHash) {
      const command = {
        roomId: request.roomId,
        sessionId: session.id,
        userKey: session.userKey,
        profile: session.user.profile,
        limit: config.MAX_CLIENTS_PER_ROOM,
        pinHash,
        now: clock.now()
      }
      const join = async () => await enter(room, session, request, command)
      const result = pinHash === undefined ? await join() : await limitPins(session, request.roomId, join)
      if (room.members.size > 0 && result.room.createdAt > room.record.createdAt) await closeEarlier(room)
      return result
    },
    isUncertain: (error) => isCoded(error) && error.code === 'UNAVAILABLE' && !beforeStore.has(error)
  }
}
