import type { Redis } from 'ioredis'
import type { NodeLeases } from '../../cluster/leases.ts'
import { rateLimited, unavailable } from '../../errors/codes.ts'
import { banned, PinRequired, PinWrong, RoomFull, RoomNotFound } from '../errors.ts'
import { PinNotCompared } from '../pin-not-compared.ts'
import { pinTries, pinWindowMs } from '../store.ts'
import type { MemberStore } from '../store.ts'
import { participantsTold } from '../types.ts'
import type { JoinResult } from '../types.ts'
import { banKey, emptyRoomsKey, parseDocuments, parseProfile, parseRecord, profilesKey, roomKeys, sessionField, usersKey, wrongPinsKey } from './layout.ts'
import type { RoomIndex } from './room-index.ts'

type Joined = [meta: string, created: number, first: number, count: number, profiles: string[], documents: string[]]

function joinResult ([meta, created, first, count, profiles, documents]: Joined): JoinResult {
  return {
    room: parseRecord(meta),
    created: created === 1,
    firstOfUser: first === 1,
    count,
    participants: profiles.map(parseProfile),
    documents: parseDocuments(documents)
  }
}

/** @param leases delays new rooms for `recoveryMs` after Redis has lost all data, while servers restore their rooms */
export function createRedisMembers (redis: Redis, nodeId: string, index: RoomIndex, leases: Pick<NodeLeases, 'msSinceLoss'>, recoveryMs: number): MemberStore {
  async function listParticipants (roomId: string, after: number, limit: number) {
    const [places, profiles, count] = await redis.msabParticipants(usersKey(roomId), profilesKey(roomId), after, limit)
    const arrivals = places.flatMap((place, i) => {
      const text = profiles[i]
      return text ? [{ place: Number(place), profile: parseProfile(text) }] : []
    })
    return { arrivals, count }
  }

  return {
    async join (command) {
      const { roomId, sessionId, userKey, now } = command
      const create = command.create && await leases.msSinceLoss() >= recoveryMs ? JSON.stringify(command.create) : ''
      const [, [outcome, ...values]] = await Promise.all([
        index.add(roomId),
        redis.msabJoin(
          ...roomKeys(roomId), banKey(roomId, userKey), wrongPinsKey(roomId, userKey),
          sessionField(nodeId, sessionId), userKey, JSON.stringify(command.profile), command.limit, command.pinHash ?? '',
          create, now, participantsTold, pinTries, pinWindowMs, command.comparedHash ?? ''
        )
      ])
      switch (outcome) {
        case 'OK': return joinResult(values as Joined)
        case 'BANNED': throw banned(Number(values[0]))
        case 'RATE_LIMITED': throw rateLimited(Number(values[0]))
        case 'PIN_REQUIRED': throw new PinRequired()
        case 'PIN_NOT_COMPARED': throw new PinNotCompared(String(values[0]))
        case 'PIN_WRONG': throw new PinWrong()
        case 'ROOM_FULL': throw new RoomFull()
        case 'DAMAGED': throw unavailable('The room is being restored')
        default:
          // Not awaited: Redis runs these commands before the commands of a join that creates the room.
          index.removeMissing(roomId).catch(() => {})
          throw command.create && create === '' ? unavailable('Rooms are being restored') : new RoomNotFound(roomId)
      }
    },
    async leave (roomId, sessionId, _userKey, now) {
      const answer = await redis.msabLeave(...roomKeys(roomId), sessionField(nodeId, sessionId), now)
      if (answer === null) return
      const [last, count] = answer
      if (count === 0) await redis.zadd(emptyRoomsKey, now, roomId)
      return { lastOfUser: last === 1, count }
    },
    async getParticipants (roomId, limit) {
      return (await listParticipants(roomId, 0, limit)).arrivals.map(({ profile }) => profile)
    },
    listParticipants,
    async getMembers (roomId, userKeys) {
      if (userKeys.length === 0) return []
      const profiles = await redis.hmget(profilesKey(roomId), ...userKeys)
      return profiles.map((text) => text === null ? undefined : parseProfile(text))
    },
    async getSomeMembers (rooms, limit) {
      const found = await Promise.all(rooms.map(({ roomId, first }) => redis.msabSomeMembers(usersKey(roomId), profilesKey(roomId), limit, ...first)))
      return found.map((profiles) => profiles.map(parseProfile))
    },
    async ban (roomId, userKey, until) {
      await redis.set(banKey(roomId, userKey), String(until), 'PXAT', until)
    },
    unban: async (roomId, userKey) => await redis.del(banKey(roomId, userKey)) === 1
  }
}
