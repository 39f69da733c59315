import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { userKeyOf } from '../connections/session.ts'
import type { Profile, Session, UserId } from '../connections/session.ts'
import { Forbidden, isCoded } from '../errors/codes.ts'
import { userId } from '../schema/ids.ts'
import type { JoinResult, RoomRecord } from '../store/types.ts'
import { roleLimit } from './errors.ts'
import type { events } from './messages.ts'
import type { LocalRoom, NodeRooms } from './node-rooms.ts'
import type { RoomEvent, RoomStateKernel } from './room-state.ts'
import { defaultRole, hasOwner } from './rooms.ts'
import type { Role } from './rooms.ts'

// The kernel determines the owner and the roles of a room if no feature does so. The owner is the user that the room's
// record names, until another user succeeds the owner. The successor, the roles, and the time when the owner became
// absent are room state. Therefore, all servers and members receive changes in the same order, and the state, like its
// room, survives a restart.

const ownershipState = z.object({
  /** The owner. Undefined while the owner is the user that the room's record names. */
  ownerId: userId.optional(),
  /** The name of the user with the id `ownerId`, if it is known. */
  ownerName: z.string().optional(),
  /**
   * Start of the grace period, in epoch milliseconds. The grace period starts when the owner leaves while other users
   * stay, or when another user joins the empty room.
   */
  absentSince: z.number().optional(),
  /** True if the grace period has ended and the room is waiting for an eligible successor. */
  isWaiting: z.boolean().optional(),
  /** The roles that the owner has assigned. These roles override the roles in the users' tokens. */
  roles: z.array(z.object({ userId, role: z.enum(['admin', 'member']) })).optional()
})
type OwnershipState = z.output<typeof ownershipState>

/** A role that an owner can assign. */
export type GivenRole = 'admin' | 'member'

/** The fields of a room's record that contain the room's first owner. */
export type OwnedRoom = Pick<RoomRecord, 'roomId' | 'ownerId' | 'ownerName'>

/** A room's owner, and the owner's name if it is known. */
export interface Owner {
  ownerId: UserId
  ownerName: string | undefined
}

/**
 * Maximum number of admins per room. The number is limited, because each change of a role publishes all roles of the
 * room.
 */
export const maxAdmins = 100
/**
 * Maximum number of stored demotions per room. A demotion overrides the admin role in a user's token. At the limit, a
 * new demotion replaces the oldest one.
 */
const maxDemoted = 100

/**
 * Maximum delay before a server detects the end of a grace period, in milliseconds. If the delay is longer, all servers
 * were down, so the grace period starts again.
 */
const maxLateMs = 5000

declare module '../hooks.ts' {
  interface KernelHooks {
    /**
     * Returns the users who are eligible to succeed a room's absent owner, best candidate first. If several handlers
     * return users, only the first handler's users are considered. Users who are not in the room are skipped. If no
     * handler returns users, the server picks a member in order of arrival. A feature that handles this hook must call
     * `rooms.reviewOwner` whenever it would return different users.
     */
    'room:successors': (room: RoomRecord) => Promise<readonly UserId[] | undefined>
    /** The owner of a room with members on this server has changed. Called before the members receive `room:owner`. */
    'room:ownerChanged': (room: LocalRoom, ownerId: UserId, previousOwnerId: UserId) => void
    /**
     * The owner of a room with members on this server has changed a user's role. Called before the members receive
     * `room:role`.
     */
    'room:roleChanged': (room: LocalRoom, userId: UserId, role: GivenRole) => void
  }
}

/** Determines the owners of rooms and the roles of users, unless a feature does so. */
export interface Ownership {
  /**
   * Returns the room's owner according to this server's copy of the room state, without a round trip. Works only for
   * rooms with members on this server.
   */
  peek (room: OwnedRoom): UserId
  /**
   * Reads the owners of rooms in one round trip.
   *
   * @throws UNAVAILABLE
   */
  read (rooms: readonly OwnedRoom[]): Promise<Owner[]>
  /**
   * Returns a user's role according to this server's copy of the room state and the user's token. Works only for rooms
   * with members on this server.
   */
  peekRole (room: OwnedRoom, session: Session): Role
  /**
   * Returns a user's role according to the room state in the store and the user's token.
   *
   * @throws UNAVAILABLE
   */
  readRole (room: OwnedRoom, session: Session): Promise<Role>
  /** Returns the admins whom the owner has appointed. Works only for rooms with members on this server. */
  peekAdmins (roomId: string): UserId[]
  /**
   * Returns the roles that a room's owner has assigned.
   *
   * @throws UNAVAILABLE
   */
  readRoles (roomId: string): Promise<{ userId: UserId, role: GivenRole }[]>
  /**
   * Assigns a role to a user.
   *
   * @param options `by`: the owner who makes the change; undefined if a server admin makes it. `current`: the user's
   *   role, if the user is in the room
   * @returns the previous role
   * @throws FORBIDDEN if `by` is not the owner, or if `userId` is the owner
   * @throws ROLE_LIMIT, ROOM_NOT_FOUND, UNAVAILABLE
   */
  setRole (room: OwnedRoom, userId: UserId, role: GivenRole, options: { by?: UserId | undefined, current?: Role | undefined }): Promise<Role>
  /**
   * Makes a member the owner. The previous owner becomes a member.
   *
   * @param by the current owner who makes the change; undefined if a server admin makes it
   * @throws FORBIDDEN if `by` is not the owner
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  transfer (room: OwnedRoom, to: Profile, by?: UserId): Promise<void>
  /** Call this after a session joins and before the reply is sent. */
  joined (room: LocalRoom, session: Session, result: JoinResult): Promise<void>
  /**
   * Makes another user the owner if the owner has been absent for the whole grace period and a candidate is in the
   * room.
   */
  review (roomId: string): void
  /** Stops retrying failed changes, and waits for the changes in progress. */
  stop (): Promise<void>
}

export interface OwnershipOptions {
  nodeRooms: NodeRooms
  roomState: RoomStateKernel
}

type Data<T extends keyof typeof events> = Omit<z.input<(typeof events)[T]>, 'roomId'>
type Roles = NonNullable<OwnershipState['roles']>

const isSame = (one: UserId, other: UserId) => userKeyOf(one) === userKeyOf(other)
const ownerIn = (state: OwnershipState | undefined, { ownerId }: OwnedRoom): UserId => state?.ownerId ?? ownerId
const ownerNameIn = (state: OwnershipState | undefined, { ownerName }: OwnedRoom) => state?.ownerId === undefined ? ownerName : state.ownerName
const roleIn = (roles: Roles, userKey: string) => roles.find(({ userId }) => userKeyOf(userId) === userKey)?.role
const without = (roles: Roles, ...users: UserId[]) => roles.filter(({ userId }) => !users.some((user) => isSame(user, userId)))
const ownerEvent = (ownerId: UserId, previousOwnerId: UserId): RoomEvent =>
  ({ type: 'room:owner', data: { ownerId, previousOwnerId } satisfies Data<'room:owner'> })
const roleEvent = (userId: UserId, role: GivenRole): RoomEvent =>
  ({ type: 'room:role', data: { userId, role } satisfies Data<'room:role'> })

/** @returns the roles that differ between two states, except the owner's role */
function changedRoles (from: OwnershipState | undefined, to: OwnershipState | undefined, owner: UserId): Roles {
  const [before, after] = [from?.roles ?? [], to?.roles ?? []]
  const given = after.filter(({ userId, role }) => (roleIn(before, userKeyOf(userId)) ?? 'member') !== role)
  const withdrawn = before.filter(({ userId, role }) => role === 'admin' && roleIn(after, userKeyOf(userId)) === undefined)
  return without([...given, ...withdrawn.map(({ userId }) => ({ userId, role: 'member' as const }))], owner)
}

/** @returns the roles with the given role in place of the user's earlier role, if any */
function withRole (roles: Roles, userId: UserId, role: GivenRole): Roles {
  const rest = without(roles, userId)
  const admins = rest.filter((one) => one.role === 'admin')
  if (role === 'admin' && admins.length >= maxAdmins) throw roleLimit(maxAdmins)
  const demoted = rest.filter((one) => one.role === 'member')
  const all = [...admins, ...demoted.slice(-maxDemoted + 1)]
  return [...all, { userId, role }]
}

/** Creates the {@link Ownership}. An owner who is absent for `OWNER_GRACE_SECONDS` is replaced. */
export function createOwnership (app: FastifyInstance, { nodeRooms, roomState }: OwnershipOptions): Ownership {
  const { clock, config, directory, hooks, log, store, timings } = app
  const graceMs = config.OWNER_GRACE_SECONDS * 1000
  const state = roomState.define('ownership', ownershipState, { durable: true })
  const inProgress = new Set<Promise<void>>()
  const retries = new Map<string, NodeJS.Timeout>()
  const announced = new WeakMap<LocalRoom, OwnershipState>()
  let stopped = false

  const isDue = ({ absentSince = Infinity }: OwnershipState = {}) => absentSince + graceMs <= clock.now()
  const isPresent = async (roomId: string, user: UserId) => (await store.getMembers(roomId, [userKeyOf(user)]))[0] !== undefined
  /**
   * True if the kernel names successors of absent owners. If a feature handles `room:owner`, that feature determines
   * the owner instead.
   */
  const isActive = () => graceMs > 0 && !hooks.has('room:owner')

  /** Starts or restarts the grace period, unless the owner has changed. */
  async function startGrace (room: OwnedRoom, owner: UserId): Promise<void> {
    await state.change(room.roomId, (current) => {
      if (!isSame(ownerIn(current, room), owner)) return { result: undefined }
      const absentSince = clock.now()
      const { isWaiting, ...rest } = current ?? {}
      return { state: { ...rest, absentSince }, wakeAt: absentSince + graceMs, result: undefined }
    })
  }

  /** Records that the room has no eligible successor yet. */
  async function wait (room: OwnedRoom, owner: UserId): Promise<void> {
    await state.change(room.roomId, (current) => {
      if (!isDue(current) || current?.isWaiting === true || !isSame(ownerIn(current, room), owner)) return { result: undefined }
      return { state: { ...current, isWaiting: true }, result: undefined }
    })
  }

  async function endGrace (room: OwnedRoom, owner: UserId): Promise<void> {
    await state.change(room.roomId, (current) => {
      if (current?.absentSince === undefined || !isSame(ownerIn(current, room), owner)) return { result: undefined }
      const { absentSince, isWaiting, ...rest } = current
      return { state: rest, result: undefined }
    })
  }

  /** @returns the first candidate who is in the room */
  async function findSuccessor (room: RoomRecord, owner: UserId): Promise<Profile | undefined> {
    const { roomId } = room
    const candidates = (await hooks.ask('room:successors', room)).find((users) => users !== undefined)
    const members = candidates ? await store.getMembers(roomId, candidates.map(userKeyOf)) : await store.getParticipants(roomId, 2)
    for (const profile of members) {
      // Check the candidate's sessions, because the store may still list members of a server that has died.
      if (profile && !isSame(profile.userId, owner) && (await directory.sessionsOf(userKeyOf(profile.userId))).length > 0) return profile
    }
    return undefined
  }

  /** @returns true if the owner was replaced; false if the owner has returned or another user has become the owner */
  async function succeed (room: RoomRecord, previousOwnerId: UserId, to: Profile): Promise<boolean> {
    return await state.change<boolean>(room.roomId, (current) => {
      if (!isDue(current) || !isSame(ownerIn(current, room), previousOwnerId)) return { result: false }
      return { ...ownedBy(current, to, previousOwnerId), result: true }
    })
  }

  /** @returns the new state, and the event that announces the new owner */
  function ownedBy (current: OwnershipState | undefined, { userId: ownerId, name }: Profile, previousOwnerId: UserId) {
    const roles = without(current?.roles ?? [], ownerId, previousOwnerId)
    const next: OwnershipState = { ownerId, ...(typeof name === 'string' ? { ownerName: name } : {}), ...(roles.length > 0 ? { roles } : {}) }
    return { state: next, events: [ownerEvent(ownerId, previousOwnerId)] }
  }

  /** @throws FORBIDDEN */
  function assertOwner (current: OwnershipState | undefined, room: OwnedRoom, by: UserId | undefined): void {
    if (by !== undefined && !isSame(ownerIn(current, room), by)) throw new Forbidden('Only the owner of the room may do this')
  }

  /**
   * Checks whether a room's owner is absent. Starts or ends the grace period, or names a successor.
   *
   * @throws UNAVAILABLE
   */
  async function check (roomId: string): Promise<void> {
    const [room, current] = await Promise.all([store.getRoom(roomId), state.read(roomId)])
    if (!room || !hasOwner(room)) return
    const owner = ownerIn(current, room)
    if (await isPresent(roomId, owner)) return await endGrace(room, owner)
    // In an empty room, the grace period starts again with the next join.
    if (room.participantCount === 0 || !isActive()) return
    if (current?.absentSince === undefined) return await startGrace(room, owner)
    if (!isDue(current)) return await state.wakeAt(roomId, current.absentSince + graceMs)
    if (current.isWaiting !== true && current.absentSince + graceMs + maxLateMs < clock.now()) return await startGrace(room, owner)
    const successor = await findSuccessor(room, owner)
    if (successor === undefined) return await wait(room, owner)
    if (!await succeed(room, owner, successor)) return
    log.info({ roomId, ownerId: successor.userId, previousOwnerId: owner }, 'another user became the owner of a room, because the owner was absent')
    // The new owner may have left in the meantime.
    await check(roomId)
  }

  /** Makes a change in the background. If the change fails, the owner of the room is checked later. */
  async function run (roomId: string, change: () => Promise<void>): Promise<void> {
    const done = change().catch((err: unknown) => {
      const code = isCoded(err) ? err.code : undefined
      if (code === 'ROOM_NOT_FOUND') return
      if (code === 'UNAVAILABLE') log.debug({ err, roomId }, 'store unavailable, will check the owner of a room later')
      else log.error({ err, roomId }, 'failed to check the owner of a room')
      if (!stopped && !retries.has(roomId)) retries.set(roomId, setTimeout(() => { retries.delete(roomId); run(roomId, () => check(roomId)) }, timings.jobRetryMs).unref())
    }).finally(() => inProgress.delete(done))
    inProgress.add(done)
    await done
  }

  function roleOf (current: OwnershipState | undefined, room: OwnedRoom, session: Session): Role {
    const role = defaultRole(ownerIn(current, room), session)
    return role === 'owner' ? role : roleIn(current?.roles ?? [], session.userKey) ?? role
  }

  const peek = (room: OwnedRoom) => ownerIn(state.peek(room.roomId), room)

  function review (roomId: string): void {
    if (isActive() && isDue(state.peek(roomId))) run(roomId, () => check(roomId))
  }

  state.onChange((room, current) => {
    const before = announced.get(room)
    const [owner, previous] = [ownerIn(current, room.record), ownerIn(before, room.record)]
    announced.set(room, current ?? {})
    if (!isSame(owner, previous)) hooks.emit('room:ownerChanged', room, owner, previous)
    for (const { userId, role } of changedRoles(before, current, owner)) hooks.emit('room:roleChanged', room, userId, role)
  })
  state.onMissed(({ record }, from, to) => {
    const [previous, owner] = [ownerIn(from, record), ownerIn(to, record)]
    const roles = changedRoles(from, to, owner).filter(({ userId }) => !isSame(userId, previous)).map(({ userId, role }) => roleEvent(userId, role))
    return isSame(previous, owner) ? roles : [ownerEvent(owner, previous), ...roles]
  })
  state.onWake(check)

  hooks.on('room:userLeft', (roomId, { userKey }, _reason, count) => {
    const room = nodeRooms.get(roomId)
    // After a server dies, the server that removes the dead server's members may have no members in the room. In that
    // case, the handler of `room:resynced` checks the owner.
    if (!isActive() || count === 0 || !room || !hasOwner(room.record)) return
    const owner = peek(room.record)
    if (userKeyOf(owner) === userKey) run(roomId, () => startGrace(room.record, owner))
  })
  hooks.on('room:resynced', (roomId) => {
    const room = nodeRooms.get(roomId)
    const isHere = room && [...room.members].some(({ userKey }) => userKey === userKeyOf(peek(room.record)))
    if (isActive() && (isHere !== true || state.peek(roomId)?.absentSince !== undefined)) run(roomId, () => check(roomId))
  })
  const reviewAll = () => { for (const { roomId } of nodeRooms.all()) review(roomId) }
  // The feature may change who is eligible to succeed the owner.
  hooks.on('feature:enabled', reviewAll)
  hooks.on('feature:disabled', reviewAll)

  return {
    peek,
    read: async (rooms) => {
      const states = await state.readMany(rooms.map(({ roomId }) => roomId))
      return rooms.map((room, i) => ({ ownerId: ownerIn(states[i], room), ownerName: ownerNameIn(states[i], room) }))
    },
    peekRole: (room, session) => roleOf(state.peek(room.roomId), room, session),
    readRole: async (room, session) => roleOf(await state.read(room.roomId), room, session),
    peekAdmins: (roomId) => (state.peek(roomId)?.roles ?? []).filter(({ role }) => role === 'admin').map(({ userId }) => userId),
    readRoles: async (roomId) => (await state.read(roomId))?.roles ?? [],
    setRole: async (room, userId, role, { by, current: known }) => await state.change<Role>(room.roomId, (current) => {
      assertOwner(current, room, by)
      if (isSame(ownerIn(current, room), userId)) throw new Forbidden("The owner's role cannot be changed. Make another user the owner first")
      const roles = current?.roles ?? []
      const before = roleIn(roles, userKeyOf(userId)) ?? known
      if (before === role) return { result: before }
      // The token of an absent user may contain the admin role. The members do not see that role, so they need no event.
      const events = before === undefined && role === 'member' ? [] : [roleEvent(userId, role)]
      return { state: { ...current, roles: withRole(roles, userId, role) }, events, result: before ?? 'member' }
    }),
    async transfer (room, to, by) {
      const changed = await state.change<boolean>(room.roomId, (current) => {
        assertOwner(current, room, by)
        const previousOwnerId = ownerIn(current, room)
        if (isSame(previousOwnerId, to.userId)) return { result: false }
        return { ...ownedBy(current, to, previousOwnerId), result: true }
      })
      // The new owner may have left in the meantime.
      if (changed) run(room.roomId, () => check(room.roomId))
    },
    async joined ({ roomId, record }, { userKey }, { firstOfUser, count }) {
      if (!isActive() || !firstOfUser || !hasOwner(record)) return
      const owner = peek(record)
      if (userKeyOf(owner) === userKey) {
        if (state.peek(roomId)?.absentSince !== undefined) run(roomId, () => endGrace(record, owner))
      } else if (count === 1) {
        // The room was empty before this join, so the grace period starts again. The join waits for this change, so
        // that no review finds an earlier grace period that has expired.
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
