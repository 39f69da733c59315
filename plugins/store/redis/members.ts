import type { Redis } from 'ioredis'
import type { NodeLeases } from '../../cluster/leases.ts'
import { unavailable } from '../../errors/codes.ts'
import { banLimit, banned, markLockedByHost, pinLimited, PinRequired, PinWrong, RoomFull, RoomLocked, RoomNotFound } from '../errors.ts'
import type { PinLimitOf } from '../errors.ts'
import { PinNotCompared } from '../pin-not-compared.ts'
import { kickMemoryMs, pinWindowMs, wrongPins } from '../store.ts'
import type { MemberStore } from '../store.ts'
import type { JoinResult } from '../types.ts'
import { backKey, banKey, bansKey, emptyRoomsKey, outKey, parseBan, parseDocuments, parseListed, parseProfile, parseRecord, profilesKey, roomKeys, sessionField, usersKey, wrongPinsKey, wrongPinsOfAddressKey, wrongPinsOfRoomKey } from './layout.ts'
import type { RoomIndex } from './room-index.ts'

type Joined = [meta: string, created: number, first: number, count: number, listed: string, documents: string[], pinHash: string | null]

function joinResult ([meta, created, first, count, listed, documents, pinHash]: Joined): JoinResult {
  return {
    room: parseRecord(meta),
    created: created === 1,
    firstOfUser: first === 1,
    count,
    participants: parseListed(listed),
    documents: parseDocuments(documents),
    ...(pinHash === null ? {} : { pinHash })
  }
}

/**
 * @param leases detects data loss in Redis. For `recoveryMs` after a loss, no rooms are created, so that the servers
 *   can restore their own rooms
 */
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
          ...roomKeys(roomId), banKey(roomId, userKey), wrongPinsKey(roomId, userKey), backKey(roomId, userKey),
          wrongPinsOfAddressKey(command.address), wrongPinsOfRoomKey(roomId),
          sessionField(nodeId, sessionId), userKey, JSON.stringify(command.profile), command.limit, command.pinHash ?? '',
          create, now, wrongPins.perUser, pinWindowMs, command.comparedHash ?? '',
          command.isHost === true ? 1 : 0, command.address === undefined ? 0 : 1, wrongPins.perAddress, wrongPins.perRoom
        )
      ])
      switch (outcome) {
        case 'OK': return joinResult(values as Joined)
        case 'BANNED': throw banned(Number(values[0]))
        case 'RATE_LIMITED': {
          const [counter, msLeft, byHost] = values as [PinLimitOf, number, number]
          throw byHost === 1 ? markLockedByHost(pinLimited(counter, msLeft)) : pinLimited(counter, msLeft)
        }
        case 'ROOM_LOCKED': throw markLockedByHost(new RoomLocked())
        case 'PIN_REQUIRED': throw values[0] === 1 ? markLockedByHost(new PinRequired()) : new PinRequired()
        case 'PIN_NOT_COMPARED': throw new PinNotCompared(String(values[0]))
        case 'PIN_WRONG': throw values[0] === 1 ? markLockedByHost(new PinWrong()) : new PinWrong()
        case 'ROOM_FULL': throw new RoomFull()
        case 'DAMAGED': throw unavailable('The room is being restored')
        default:
          // Not awaited, because Redis runs these commands before the commands of later joins on this server.
          index.removeMissing(roomId).catch(() => {})
          throw command.create && create === '' ? unavailable('Rooms are being restored') : new RoomNotFound(roomId)
      }
    },
    async countPin (roomId, address, isRight) {
      const [outcome, msLeft = 0] = await redis.msabCountPin(
        wrongPinsOfRoomKey(roomId), wrongPinsOfAddressKey(address), isRight ? 1 : 0, pinWindowMs, wrongPins.perRoom, address === undefined ? 0 : 1, wrongPins.perAddress
      )
      if (outcome === 'WRONG') throw new PinWrong()
      if (outcome !== 'OK') throw pinLimited(outcome as PinLimitOf, msLeft)
    },
    async leave (roomId, sessionId, _userKey, now, mayReturn = false) {
      const answer = await redis.msabLeave(...roomKeys(roomId), sessionField(nodeId, sessionId), now, mayReturn ? 1 : 0)
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
    async forbidReturn (roomId, userKey) {
      await Promise.all([redis.set(outKey(roomId, userKey), 1, 'PX', kickMemoryMs), redis.del(backKey(roomId, userKey))])
    },
    async ban (roomId, userKey, until, { userId = userKey, by = null, limit } = {}) {
      const value = `${until} ${JSON.stringify({ userId, by })}`
      if (await redis.msabBan(banKey(roomId, userKey), bansKey(roomId), userKey, until, value, limit ?? '') === 0) throw banLimit(limit ?? 0)
    },
    unban: async (roomId, userKey) => await redis.msabUnban(banKey(roomId, userKey), bansKey(roomId), userKey) === 1,
    async listBans (roomId, after, limit) {
      const found = await redis.msabListBans(bansKey(roomId), after, limit)
      return found.flatMap((userKey, i) => i % 2 === 0 ? [parseBan(userKey, found[i + 1] as string)] : [])
    }
  }
}
