import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { userKeyOf } from '../connections/session.ts'
import type { Session, UserId } from '../connections/session.ts'
import { isCoded } from '../errors/codes.ts'
import { userId } from '../schema/ids.ts'
import type { JoinResult, RoomRecord } from '../store/types.ts'
import type { events } from './messages.ts'
import type { LocalRoom, NodeRooms } from './node-rooms.ts'
import type { RoomEvent, RoomStateKernel } from './room-state.ts'

// The owner of a room without a backend: the user in the room's record until another user succeeds them. A
// successor, and the time since which the owner is absent, are room state. All servers and members therefore
// receive changes of the owner in the same order, and the state survives a restart with its room.

const ownershipState = z.object({
  /** The owner; undefined while it is the user in the room's record. */
  ownerId: userId.optional(),
  /** When the owner left and other users stayed, or when the first user joined without the owner, epoch milliseconds. */
  absentSince: z.number().optional()
})
type OwnershipState = z.output<typeof ownershipState>

/** Room records contain the first owner. */
export type OwnedRoom = Pick<RoomRecord, 'roomId' | 'ownerId'>

declare module '../hooks.ts' {
  interface KernelHooks {
    /**
     * Returns the users who may succeed the absent owner of a room, best first. The first result is used, and
     * users who are not in the room are skipped. If there is no result, members succeed in order of
     * arrival. A feature that returns candidates calls `rooms.reviewOwner` when they change.
     */
    'room:successors': (room: RoomRecord) => Promise<readonly UserId[] | undefined>
    /** A room with members on this server has another owner. Called before the members receive `room:owner`. */
    'room:ownerChanged': (room: LocalRoom, ownerId: UserId, previousOwnerId: UserId) => void
  }
}

/** Determines the owners of rooms if no feature does. */
export interface Ownership {
  /** The owner that this server knows, without a round trip. Only for rooms with members on this server. */
  peek (room: OwnedRoom): UserId
  /**
   * Reads the owners of rooms in one round trip.
   *
   * @throws UNAVAILABLE
   */
  read (rooms: readonly OwnedRoom[]): Promise<UserId[]>
  /** Must be called when a session has joined, before the reply. */
  joined (room: LocalRoom, session: Session, result: JoinResult): Promise<void>
  /** Names a successor if the owner has been absent for the grace period and there is a new candidate. */
  review (roomId: string): void
  /** Waits for the changes in progress, and stops retries. */
  stop (): Promise<void>
}

export interface OwnershipOptions {
  nodeRooms: NodeRooms
  roomState: RoomStateKernel
}

const ownerIn = (state: OwnershipState | undefined, { ownerId }: OwnedRoom): UserId => state?.ownerId ?? ownerId
const isSame = (one: UserId, other: UserId) => userKeyOf(one) === userKeyOf(other)

const ownerEvent = (ownerId: UserId, previousOwnerId: UserId): RoomEvent =>
  ({ type: 'room:owner', data: { ownerId, previousOwnerId } satisfies Omit<z.input<(typeof events)['room:owner']>, 'roomId'> })

/** @param options `OWNER_GRACE_SECONDS` is how long an owner may be absent */
export function createOwnership (app: FastifyInstance, { nodeRooms, roomState }: OwnershipOptions): Ownership {
  const { clock, config, hooks, log, store, timings } = app
  const graceMs = config.OWNER_GRACE_SECONDS * 1000
  const state = roomState.define('ownership', ownershipState, { durable: true })
  const inProgress = new Set<Promise<void>>()
  const retries = new Map<string, NodeJS.Timeout>()
  const announced = new WeakMap<LocalRoom, UserId>()
  let stopped = false

  const isDue = ({ absentSince = Infinity }: OwnershipState = {}) => absentSince + graceMs <= clock.now()
  const isPresent = async (roomId: string, user: UserId) => (await store.getMembers(roomId, [userKeyOf(user)]))[0] !== undefined
  /** Whether the kernel names successors. A feature that handles `room:owner` determines the owner itself. */
  const isActive = () => graceMs > 0 && !hooks.has('room:owner')

  /** Starts the grace period, or restarts it, unless the owner has changed. */
  async function startGrace (room: OwnedRoom, owner: UserId): Promise<void> {
    await state.change(room.roomId, (current) => {
      if (!isSame(ownerIn(current, room), owner)) return { result: undefined }
      const absentSince = clock.now()
      return { state: { ...current, absentSince }, wakeAt: absentSince + graceMs, result: undefined }
    })
  }

  async function endGrace (room: OwnedRoom, owner: UserId): Promise<void> {
    await state.change(room.roomId, (current) => {
      if (current?.absentSince === undefined || !isSame(ownerIn(current, room), owner)) return { result: undefined }
      const { absentSince, ...rest } = current
      return { state: rest, result: undefined }
    })
  }

  /** @returns the first candidate who is in the room */
  async function findSuccessor (room: RoomRecord, owner: UserId): Promise<UserId | undefined> {
    const { roomId } = room
    const candidates = (await hooks.ask('room:successors', room)).find((users) => users !== undefined)?.filter((user) => !isSame(user, owner))
    if (!candidates) return (await store.getParticipants(roomId, 2)).find((profile) => !isSame(profile.userId, owner))?.userId
    return (await store.getMembers(roomId, candidates.map(userKeyOf))).find((profile) => profile !== undefined)?.userId
  }

  /** @returns whether the owner was replaced; false if the owner has returned or has changed in the meantime */
  async function succeed (room: RoomRecord, previousOwnerId: UserId, ownerId: UserId): Promise<boolean> {
    return await state.change<boolean>(room.roomId, (current) => {
      if (!isDue(current) || !isSame(ownerIn(current, room), previousOwnerId)) return { result: false }
      return { state: { ownerId }, events: [ownerEvent(ownerId, previousOwnerId)], result: true }
    })
  }

  /**
   * Checks whether the owner of a room is absent. Starts or ends the grace period, or names a successor.
   *
   * @throws UNAVAILABLE
   */
  async function check (roomId: string): Promise<void> {
    const [room, current] = await Promise.all([store.getRoom(roomId), state.read(roomId)])
    if (!room) return
    const owner = ownerIn(current, room)
    if (await isPresent(roomId, owner)) return await endGrace(room, owner)
    // The grace period starts again with the next join.
    if (room.participantCount === 0 || !isActive()) return
    if (current?.absentSince === undefined) return await startGrace(room, owner)
    if (!isDue(current)) return await state.wakeAt(roomId, current.absentSince + graceMs)
    const successor = await findSuccessor(room, owner)
    if (successor === undefined || !await succeed(room, owner, successor)) return
    log.info({ roomId, ownerId: successor, previousOwnerId: owner }, 'the owner of a room was absent, and another user succeeded')
    // The new owner may have left in the meantime.
    await check(roomId)
  }

  /** Runs a change in the background. If the change fails, the room is checked later. */
  async function run (roomId: string, change: () => Promise<void>): Promise<void> {
    const done = change().catch((err: unknown) => {
      const code = isCoded(err) ? err.code : undefined
      if (code === 'ROOM_NOT_FOUND') return
      if (code === 'UNAVAILABLE') log.debug({ err, roomId }, 'the owner of a room is checked later')
      else log.error({ err, roomId }, 'failed to check the owner of a room')
      if (!stopped && !retries.has(roomId)) retries.set(roomId, setTimeout(() => { retries.delete(roomId); run(roomId, () => check(roomId)) }, timings.jobRetryMs).unref())
    }).finally(() => inProgress.delete(done))
    inProgress.add(done)
    await done
  }

  const peek = (room: OwnedRoom) => ownerIn(state.peek(room.roomId), room)

  function review (roomId: string): void {
    if (isActive() && isDue(state.peek(roomId))) run(roomId, () => check(roomId))
  }

  state.onChange((room, current) => {
    const owner = ownerIn(current, room.record)
    const previous = announced.get(room) ?? room.record.ownerId
    announced.set(room, owner)
    if (!isSame(owner, previous)) hooks.emit('room:ownerChanged', room, owner, previous)
  })
  state.onMissed(({ record }, from, to) => {
    const [previous, owner] = [ownerIn(from, record), ownerIn(to, record)]
    return isSame(previous, owner) ? [] : [ownerEvent(owner, previous)]
  })
  state.onWake(check)

  hooks.on('room:userLeft', (roomId, { userKey }, _reason, count) => {
    const room = nodeRooms.get(roomId)
    // If a server removes the members of a dead server, `room:resynced` is called instead.
    if (!isActive() || count === 0 || !room) return
    const owner = peek(room.record)
    if (userKeyOf(owner) === userKey) run(roomId, () => startGrace(room.record, owner))
  })
  hooks.on('room:resynced', (roomId) => {
    const room = nodeRooms.get(roomId)
    const isHere = room && [...room.members].some(({ userKey }) => userKey === userKeyOf(peek(room.record)))
    if (isActive() && (isHere !== true || state.peek(roomId)?.absentSince !== undefined)) run(roomId, () => check(roomId))
  })
  const reviewAll = () => { for (const { roomId } of nodeRooms.all()) review(roomId) }
  // The rules for successors may have changed.
  hooks.on('feature:enabled', reviewAll)
  hooks.on('feature:disabled', reviewAll)

  return {
    peek,
    read: async (rooms) => {
      const states = await state.readMany(rooms.map(({ roomId }) => roomId))
      return rooms.map((room, i) => ownerIn(states[i], room))
    },
    async joined ({ roomId, record }, { userKey }, { firstOfUser, count }) {
      if (!isActive() || !firstOfUser) return
      const owner = peek(record)
      if (userKeyOf(owner) === userKey) {
        if (state.peek(roomId)?.absentSince !== undefined) run(roomId, () => endGrace(record, owner))
      } else if (count === 1) {
        // An absence from an empty room does not count. The join waits for the change, so that no review sees an earlier, expired grace period.
        await run(roomId, () => startGrace(record, owner))
      } else {
        review(roomId)
      }
    },
    review,
    async stop () {
      stopped = true
      for (const timer of retries.values()) clearTimeout(timer)
      await Promise.all(inProgress)
    }
  }
}
