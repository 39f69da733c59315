import type { FastifyInstance } from 'fastify'
import type { JoinResult, RoomRecord } from '../store/types.ts'
import { maxListedParticipants } from '../store/types.ts'
import type { Profile, Session, UserId } from '../connections/session.ts'
import { userKeyOf } from '../connections/session.ts'
import { estimateBytes, fitting, maxEventBytes } from '../schema/sizes.ts'
import { withTimeout } from '../errors/timeout.ts'
import type { LocalRoom } from './node-rooms.ts'
import { noOwner } from './rooms.ts'
import type { Joined, Role } from './rooms.ts'

/** How long a join reply waits for the `room:role`, `room:owner` and `room:featured` hooks, in milliseconds. */
const timeoutMs = 2000

/** @returns the reply to `room:join`. Does not fail if the lookup of the role or the owner fails */
export async function joinReply (app: FastifyInstance, session: Session, { room, result, extra }: Joined) {
  const [standing, participants] = await Promise.all([standingOf(app, result.room, session), featuredFirst(app, room, result)])
  const reply = {
    // The fields in `extra` come first, so that no feature overwrites the server's own fields.
    ...extra,
    roomId: room.roomId,
    self: { userId: session.user.id, role: standing.role },
    ownerId: standing.ownerId === noOwner ? null : standing.ownerId,
    ...app.rooms.detailsOf(result.room),
    admins: app.rooms.adminsOf(result.room),
    participantCount: result.count
  }
  const described = describeParticipants(app, room, participants)
  // Most replies are far below the maximum size. Measuring each reply would double the cost of its serialisation. If the
  // estimate is wrong, `shortenJoinReply` shortens the reply.
  if (estimateBytes(described) < maxEventBytes / 2) return { ...reply, participants: described }
  // Reserves 1 KiB for the envelope, which contains the request id.
  const left = maxEventBytes - 1024 - Buffer.byteLength(JSON.stringify(reply))
  return { ...reply, participants: fitting(described, left) }
}

/**
 * Shortens a join reply by removing participants from the end of the list.
 *
 * @param excess how many bytes the reply is too large
 */
export function shortenJoinReply<T extends { participants: readonly unknown[] }> (reply: T, excess: number): T {
  const { participants } = reply
  const bytes = Buffer.byteLength(JSON.stringify(participants)) - 2
  return { ...reply, participants: fitting(participants, bytes - excess) }
}

/** @returns copies of the profiles, with the fields that features add */
export function describeParticipants (app: Pick<FastifyInstance, 'hooks'>, room: LocalRoom, profiles: readonly Readonly<Profile>[]): Profile[] {
  const described = profiles.map((profile) => ({ ...profile }))
  app.hooks.emit('room:participants', room, described)
  return described
}

/**
 * Returns the member's role and the room's owner for the join reply. If a hook fails or times out, the server uses its
 * own data. The result is only for display, because requests that require a role look up the role again.
 */
async function standingOf (app: FastifyInstance, room: RoomRecord, session: Session): Promise<{ role: Role, ownerId: UserId }> {
  const byDefault = { role: app.rooms.defaultRoleOf(room, session), ownerId: app.rooms.defaultOwnerOf(room) }
  const asked = Promise.all([app.rooms.roleOf(room, session), app.rooms.ownerOf(room)])
    .then(([role, ownerId]) => ({ role, ownerId }))
    .catch((err: unknown) => {
      app.log.debug({ err, roomId: room.roomId }, 'join reply uses the role and owner stored on this server, because the lookup failed')
      return byDefault
    })
  if (!app.hooks.has('room:role') && !app.hooks.has('room:owner')) return await asked
  return await withTimeout(asked, timeoutMs, () => byDefault)
}

/**
 * Returns at most {@link maxListedParticipants} members: first the members that features return (seated users, for
 * example), then other members in order of arrival.
 */
async function featuredFirst (app: FastifyInstance, room: LocalRoom, { participants, count }: JoinResult): Promise<readonly Readonly<Profile>[]> {
  const first = (await app.hooks.settle('room:featured', timeoutMs, room)).flat().map(userKeyOf)
  if (first.length === 0) return participants
  const known = new Map(participants.map((profile) => [userKeyOf(profile.userId), profile]))
  const missing = count > participants.length ? first.filter((key) => !known.has(key)) : []
  const found = missing.length > 0
    ? await app.store.getMembers(room.roomId, missing).catch((err: unknown) => {
      // The session has already joined, so an error here must not fail the request.
      app.log.debug({ err, roomId: room.roomId }, 'join reply lists members only in order of arrival: lookup failed')
      return []
    })
    : []
  for (const profile of found) if (profile) known.set(userKeyOf(profile.userId), profile)
  const featured = new Set(first)
  const order = [...first.filter((key) => known.has(key)), ...[...known.keys()].filter((key) => !featured.has(key))]
  return order.slice(0, maxListedParticipants).map((key) => known.get(key) as Profile)
}
