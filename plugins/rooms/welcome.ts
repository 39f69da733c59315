import type { FastifyInstance } from 'fastify'
import type { JoinResult, RoomRecord } from '../store/store.ts'
import { participantsTold } from '../store/store.ts'
import type { Session } from '../connections/session.ts'
import { userKeyOf } from '../connections/user.ts'
import type { Profile, UserId } from '../connections/user.ts'
import type { LocalRoom } from './local-room.ts'
import { roleByRecord } from './rooms.ts'
import type { Role } from './rooms.ts'

// What somebody who comes in is told of the room.

/** How long a welcome waits for whoever knows more of the room than its record, in milliseconds. */
const patienceMs = 2000

/**
 * A user's rights, and whose the room is, to be shown. Nobody is kept out because
 * that can't be told just now: then it is what the record says. Rights
 * are asked for again whenever they are used.
 */
export async function standingOf (app: FastifyInstance, room: RoomRecord, session: Session): Promise<{ role: Role, ownerId: UserId }> {
  const byRecord = { role: roleByRecord(room, session), ownerId: room.ownerId }
  const asked = Promise.all([app.rooms.roleOf(room, session), app.rooms.ownerOf(room)])
    .then(([role, ownerId]) => ({ role, ownerId }))
    .catch((err: unknown) => {
      app.log.debug({ err, roomId: room.roomId }, 'a member is welcomed by the record of the room')
      return byRecord
    })
  if (!app.hooks.has('room:role') && !app.hooks.has('room:owner')) return await asked
  const { promise: over, resolve } = Promise.withResolvers<typeof byRecord>()
  const timer = setTimeout(() => resolve(byRecord), patienceMs)
  return await Promise.race([asked, over]).finally(() => clearTimeout(timer))
}

/** The members a join tells: those who stand out, on seats say, and then in order of arrival, a hundred in all. */
export async function prominentFirst (app: FastifyInstance, room: LocalRoom, { participants, count }: JoinResult): Promise<Profile[]> {
  const first = (await app.hooks.ask('room:featured', room)).flat().map(userKeyOf)
  if (first.length === 0) return participants
  const known = new Map(participants.map((profile) => [userKeyOf(profile.userId), profile]))
  const missing = count > participants.length ? first.filter((key) => !known.has(key)) : []
  const found = missing.length > 0
    ? await app.store.getMembers(room.roomId, missing).catch((err: unknown) => {
      // Who comes in is in the room already.
      app.log.debug({ err, roomId: room.roomId }, 'a member is told of the first to arrive only')
      return []
    })
    : []
  for (const profile of found) if (profile) known.set(userKeyOf(profile.userId), profile)
  const prominent = new Set(first)
  const order = [...first.filter((key) => known.has(key)), ...[...known.keys()].filter((key) => !prominent.has(key))]
  return order.slice(0, participantsTold).map((key) => known.get(key) as Profile)
}
