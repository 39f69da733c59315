import { CannotTargetSelf, FeatureDisabled, Forbidden, NotInRoom, userKeyOf } from 'flylive-audio-server/feature'
import type { Ban, FeatureInstance, GivenRole, LocalRoom, Role, Session, UserId, z } from 'flylive-audio-server/feature'
import type { config } from './config.ts'

/**
 * The commands of a room's hosts (the owner and admins). Each command checks the sender's role when it runs. All
 * commands except `bans` write an audit line when they are done.
 *
 * All methods throw FORBIDDEN if the sender's role does not allow the command, and UNAVAILABLE if the store cannot be
 * reached.
 */
export interface Moderation {
  /**
   * Removes a user from the room and, if `banSeconds` is given, bans the user.
   *
   * @returns the user's id with the type (number or string) that it has in the user's token; `userId` if the user is
   *   not in the room
   * @throws CANNOT_TARGET_SELF, BAN_LIMIT; FORBIDDEN if an admin targets the owner; NOT_IN_ROOM if the user is not in
   *   the room, has no seat, and `banSeconds` is omitted or 0
   */
  kick (room: LocalRoom, session: Session, userId: UserId, banSeconds?: number): Promise<UserId>
  unban (room: LocalRoom, session: Session, userId: UserId): Promise<void>
  /**
   * @param after the user key to start after; empty for the first page
   * @returns at most `limit` bans, ordered by user
   */
  bans (room: LocalRoom, session: Session, after: string, limit: number): Promise<Ban[]>
  /**
   * @returns the users whom the command has muted
   * @throws FEATURE_DISABLED if the `seats` feature is off
   */
  muteAll (room: LocalRoom, session: Session, except: readonly UserId[]): Promise<UserId[]>
  lock (room: LocalRoom, session: Session, pin?: string): Promise<void>
  unlock (room: LocalRoom, session: Session): Promise<void>
  /** @throws CANNOT_TARGET_SELF, NOT_IN_ROOM, ROLE_LIMIT; FORBIDDEN if another feature determines the roles */
  setRole (room: LocalRoom, session: Session, userId: UserId, role: GivenRole): Promise<UserId>
  /** @throws CANNOT_TARGET_SELF, NOT_IN_ROOM; FORBIDDEN if another feature determines the owner */
  transfer (room: LocalRoom, session: Session, userId: UserId): Promise<UserId>
  end (room: LocalRoom, session: Session): Promise<void>
  /**
   * @throws MESSAGE_NOT_FOUND; FORBIDDEN if an admin targets the owner's message; FEATURE_DISABLED if the `chat`
   *   feature is off
   */
  deleteMessage (room: LocalRoom, session: Session, id: string): Promise<void>
  /** @throws FEATURE_DISABLED if the `chat` feature is off */
  slowMode (room: LocalRoom, session: Session, seconds: number): Promise<void>
}

const isSame = (one: UserId, other: UserId) => userKeyOf(one) === userKeyOf(other)

export function createModeration (app: FeatureInstance, { maxBans }: z.output<typeof config>): Moderation {
  const { admin, clock, features, metrics, rooms, store } = app
  const commands = metrics.counter('flylive_moderation_commands_total', 'Moderation commands by owners and admins of rooms', ['command'])

  /** @throws FORBIDDEN, UNAVAILABLE */
  async function assertHost ({ record }: LocalRoom, session: Session): Promise<Role> {
    const role = await rooms.roleOf(record, session)
    if (role === 'member') throw new Forbidden('Only the owner and admins of the room may do this')
    return role
  }

  /** @throws FORBIDDEN, UNAVAILABLE */
  async function assertOwner ({ record }: LocalRoom, session: Session): Promise<void> {
    if (await rooms.roleOf(record, session) !== 'owner') throw new Forbidden('Only the owner of the room may do this')
  }

  /** @throws FORBIDDEN if an admin targets the owner; UNAVAILABLE */
  async function assertNotAgainstOwner ({ record }: LocalRoom, role: Role, target: UserId): Promise<void> {
    if (role !== 'owner' && isSame(await rooms.ownerOf(record), target)) throw new Forbidden('Admins cannot do this to the owner of the room')
  }

  function assertOther (session: Session, target: UserId): void {
    if (userKeyOf(target) === session.userKey) throw new CannotTargetSelf()
  }

  /** Counts a command and writes its audit line. */
  function done ({ roomId }: LocalRoom, session: Session, command: string, change: { before: unknown, after: unknown, [target: string]: unknown }): void {
    commands.inc({ command })
    admin.audit(session, command, { roomId, ...change })
  }

  /** @throws FEATURE_DISABLED */
  function requireFeature<K extends 'chat' | 'seats'> (name: K) {
    const feature = features.getFeature(name)
    if (!feature) throw new FeatureDisabled(name)
    return feature
  }

  return {
    async kick (room, session, userId, banSeconds = 0) {
      const { roomId } = room
      const role = await assertHost(room, session)
      assertOther(session, userId)
      const [[member]] = await Promise.all([store.getMembers(roomId, [userKeyOf(userId)]), assertNotAgainstOwner(room, role, userId)])
      // A disconnected user may still have a seat.
      const hasSeat = features.getFeature('seats')?.peek(roomId)?.seats.some((seat) => isSame(seat.userId, userId)) === true
      if (!member && !hasSeat && banSeconds === 0) throw new NotInRoom(`User ${userId} is not in room ${roomId}`)
      const target = member?.userId ?? userId
      const bannedUntil = banSeconds > 0 ? clock.now() + Math.ceil(banSeconds * 1000) : undefined
      await rooms.kick(roomId, target, bannedUntil, { by: session.user.id, limit: maxBans })
      done(room, session, 'room.kick', { userId: target, before: { inRoom: member !== undefined }, after: { inRoom: false, bannedUntil: bannedUntil ?? null } })
      return target
    },
    async unban (room, session, userId) {
      await assertHost(room, session)
      const banned = await store.unban(room.roomId, userKeyOf(userId))
      done(room, session, 'room.unban', { userId, before: { banned }, after: { banned: false } })
    },
    async bans (room, session, after, limit) {
      await assertHost(room, session)
      return await store.listBans(room.roomId, after, limit)
    },
    async muteAll (room, session, except) {
      await assertHost(room, session)
      const userIds = await requireFeature('seats').muteAll(room, session, except)
      done(room, session, 'room.muteAll', { before: null, after: { muted: userIds } })
      return userIds
    },
    async lock (room, session, pin) {
      await assertHost(room, session)
      const before = rooms.detailsOf(room.record)
      await rooms.lock(room.record, pin)
      done(room, session, 'room.lock', { before: { isLocked: before.isLocked }, after: { isLocked: true, admits: pin === undefined ? 'nobody' : 'users with the PIN' } })
    },
    async unlock (room, session) {
      await assertHost(room, session)
      const before = rooms.detailsOf(room.record)
      await rooms.unlock(room.record)
      done(room, session, 'room.unlock', { before: { isLocked: before.isLocked }, after: { isLocked: false } })
    },
    async setRole (room, session, userId, role) {
      await assertOwner(room, session)
      assertOther(session, userId)
      const given = await rooms.setRole(room.record, userId, role, session.user.id)
      done(room, session, 'room.setRole', { userId: given.userId, before: { role: given.previous }, after: { role } })
      return given.userId
    },
    async transfer (room, session, userId) {
      await assertOwner(room, session)
      assertOther(session, userId)
      const ownerId = await rooms.transfer(room.record, userId, session.user.id)
      done(room, session, 'room.transfer', { before: { ownerId: session.user.id }, after: { ownerId } })
      return ownerId
    },
    async end (room, session) {
      await assertOwner(room, session)
      await rooms.close(room.roomId, 'host_left')
      done(room, session, 'room.end', { before: { open: true }, after: null })
    },
    async deleteMessage (room, session, id) {
      const role = await assertHost(room, session)
      const chat = requireFeature('chat')
      const ownerId = role === 'owner' ? undefined : await rooms.ownerOf(room.record)
      let author: UserId | undefined
      await chat.deleteMessage(room.roomId, id, session.user.id, (authorId) => {
        if (ownerId !== undefined && isSame(authorId, ownerId)) throw new Forbidden('Admins cannot delete messages from the owner')
        author = authorId
      })
      done(room, session, 'chat.delete', { messageId: id, userId: author, before: { deleted: false }, after: { deleted: true } })
    },
    async slowMode (room, session, seconds) {
      await assertHost(room, session)
      const before = await requireFeature('chat').setSlowMode(room.roomId, seconds)
      done(room, session, 'chat.slowMode', { before: { seconds: before }, after: { seconds } })
    }
  }
}
