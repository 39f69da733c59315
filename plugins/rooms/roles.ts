import type { FastifyInstance } from 'fastify'
import { userKeyOf } from '../connections/session.ts'
import type { NodeRooms } from './node-rooms.ts'
import type { Ownership } from './ownership.ts'
import { defaultRole } from './rooms.ts'
import type { Role, Rooms } from './rooms.ts'

/** How long another server may take to return the role of a session, in milliseconds. */
const timeoutMs = 2000
const rank: readonly Role[] = ['owner', 'admin', 'member']

/** Determines the roles of users and the owners of rooms: features decide first, then the kernel. */
export function createRoles (
  { cluster, directory, hooks, nodeId, sockets }: Pick<FastifyInstance, 'cluster' | 'directory' | 'hooks' | 'nodeId' | 'sockets'>,
  nodeRooms: Pick<NodeRooms, 'get'>,
  ownership: Pick<Ownership, 'peek' | 'read'>
): Pick<Rooms, 'roleOf' | 'roleOfUser' | 'defaultRoleOf' | 'ownerOf'> {
  const defaultRoleOf: Rooms['defaultRoleOf'] = (room, session) => defaultRole(ownership.peek(room), session)

  const roleOf: Rooms['roleOf'] = async (room, session) => {
    const known = (await hooks.ask('room:role', room, session)).find((role) => role !== undefined)
    return known ?? defaultRoleOf(room, session)
  }

  async function roleHere (roomId: string, sessionId: string): Promise<Role | null> {
    const session = sockets.get(sessionId)
    const room = nodeRooms.get(roomId)
    return room && session?.roomId === roomId ? await roleOf(room.record, session) : null
  }
  cluster.answer('room:role', ({ roomId, sessionId }) => roleHere(roomId, sessionId))

  return {
    defaultRoleOf,
    roleOf,
    async roleOfUser ({ roomId }, userId) {
      const sessions = (await directory.sessionsOf(userKeyOf(userId))).filter((session) => session.roomId === roomId)
      const roles = await Promise.all(sessions.map(async (session) => session.nodeId === nodeId
        ? await roleHere(roomId, session.sessionId)
        : await cluster.ask(session.nodeId, 'room:role', { roomId, sessionId: session.sessionId }, timeoutMs)))
      // A user with several sessions has the highest of their roles.
      return rank.find((role) => roles.includes(role))
    },
    async ownerOf (room) {
      const decided = (await hooks.ask('room:owner', room)).find((owner) => owner !== undefined)
      if (decided !== undefined) return decided
      if (nodeRooms.get(room.roomId)) return ownership.peek(room)
      const [owner = room.ownerId] = await ownership.read([room])
      return owner
    }
  }
}
