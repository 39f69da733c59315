import type { FastifyInstance } from 'fastify'
import { userKeyOf } from '../connections/session.ts'
import type { Session, UserId } from '../connections/session.ts'
import type { RoomRecord } from '../store/types.ts'
import type { NodeRooms } from './node-rooms.ts'
import type { Ownership } from './ownership.ts'
import { Forbidden } from '../errors/codes.ts'
import { NotInRoom } from './errors.ts'
import { assertHasOwner, hasOwner } from './rooms.ts'
import type { Role, Rooms } from './rooms.ts'

/** How long to wait for another server to return a session's role, in milliseconds. */
const timeoutMs = 2000
const rank: readonly Role[] = ['owner', 'admin', 'member']

/** The methods of {@link Rooms} that concern roles. */
export interface Roles extends Pick<Rooms, 'roleOf' | 'roleOfUser' | 'defaultRoleOf' | 'ownerOf' | 'adminsOf' | 'setRole' | 'rolesOf' | 'transfer'> {
  /**
   * Whether a user is the room's owner or an admin. The user does not have to be in the room.
   *
   * @throws UNAVAILABLE
   */
  isHost (room: RoomRecord, session: Session): Promise<boolean>
}

/**
 * Determines the roles of users and the owners of rooms. Features decide first; if none decides, the kernel's own data
 * applies.
 */
export function createRoles (
  { cluster, directory, hooks, nodeId, sockets, store }: Pick<FastifyInstance, 'cluster' | 'directory' | 'hooks' | 'nodeId' | 'sockets' | 'store'>,
  nodeRooms: Pick<NodeRooms, 'get'>,
  ownership: Ownership
): Roles {
  const defaultRoleOf: Rooms['defaultRoleOf'] = (room, session) => ownership.peekRole(room, session)

  /** @returns the role that a feature has determined, if any */
  async function decidedRole (room: RoomRecord, session: Session): Promise<Role | undefined> {
    if (!hasOwner(room)) return undefined
    return (await hooks.ask('room:role', room, session)).find((role) => role !== undefined)
  }

  const roleOf: Rooms['roleOf'] = async (room, session) => await decidedRole(room, session) ?? defaultRoleOf(room, session)

  async function roleHere (roomId: string, sessionId: string): Promise<Role | null> {
    const session = sockets.get(sessionId)
    const room = nodeRooms.get(roomId)
    return room && session?.roomId === roomId ? await roleOf(room.record, session) : null
  }
  cluster.answer('room:role', ({ roomId, sessionId }) => roleHere(roomId, sessionId))

  /** @throws FORBIDDEN if the room has no owner, or a feature determines roles */
  function assertDecided (room: RoomRecord): void {
    assertHasOwner(room)
    if (hooks.has('room:role') || hooks.has('room:owner')) throw new Forbidden('A feature, such as the bridge to the backend, determines the roles in this room')
  }

  const roleOfUser: Rooms['roleOfUser'] = async ({ roomId }, userId) => {
    const sessions = (await directory.sessionsOf(userKeyOf(userId))).filter((session) => session.roomId === roomId)
    const roles = await Promise.all(sessions.map(async (session) => session.nodeId === nodeId
      ? await roleHere(roomId, session.sessionId)
      : await cluster.ask(session.nodeId, 'room:role', { roomId, sessionId: session.sessionId }, timeoutMs)))
    // If a user has several sessions, the highest role among these sessions applies.
    return rank.find((role) => roles.includes(role))
  }

  /** @returns an absent user's id, with the type (number or string) that it had when the owner last assigned a role */
  async function knownIdOf (roomId: string, userId: UserId): Promise<UserId> {
    const assigned = (await ownership.readRoles(roomId)).find((one) => userKeyOf(one.userId) === userKeyOf(userId))
    return assigned?.userId ?? userId
  }

  return {
    defaultRoleOf,
    roleOf,
    roleOfUser,
    isHost: async (room, session) => (await decidedRole(room, session) ?? await ownership.readRole(room, session)) !== 'member',
    adminsOf: ({ roomId }) => hooks.has('room:role') ? [] : ownership.peekAdmins(roomId),
    async setRole (room, userId, role, by) {
      assertDecided(room)
      const [member] = await store.getMembers(room.roomId, [userKeyOf(userId)])
      // A user who is not in the room can lose the admin role, but cannot receive that role.
      if (!member && role === 'admin') throw new NotInRoom(`User ${userId} is not in room ${room.roomId}`)
      const current = member && await roleOfUser(room, userId)
      const id = member?.userId ?? await knownIdOf(room.roomId, userId)
      return { userId: id, previous: await ownership.setRole(room, id, role, { by, current }) }
    },
    rolesOf: async ({ roomId }) => hooks.has('room:role') ? [] : await ownership.readRoles(roomId),
    async transfer (room, userId, by) {
      assertDecided(room)
      const [member] = await store.getMembers(room.roomId, [userKeyOf(userId)])
      if (!member) throw new NotInRoom(`User ${userId} is not in room ${room.roomId}`)
      await ownership.transfer(room, member, by)
      return member.userId
    },
    async ownerOf (room) {
      if (!hasOwner(room)) return room.ownerId
      const decided = (await hooks.ask('room:owner', room)).find((owner) => owner !== undefined)
      if (decided !== undefined) return decided
      if (nodeRooms.get(room.roomId)) return ownership.peek(room)
      return (await ownership.read([room]))[0]?.ownerId ?? room.ownerId
    }
  }
}
