import type { Profile } from '../../connections/session.ts'
import { rateLimited } from '../../errors/codes.ts'
import type { Namespace } from '../../kv/kv.ts'
import { banned, PinRequired, PinWrong, RoomFull, RoomNotFound } from '../errors.ts'
import { PinNotCompared } from '../pin-not-compared.ts'
import { pinTries, pinWindowMs } from '../store.ts'
import type { MemberStore } from '../store.ts'
import { participantsTold } from '../types.ts'
import type { JoinCommand, RoomRecord } from '../types.ts'
import type { MemoryRoom, MemoryRooms } from './rooms.ts'
import type { SavedRooms } from './saved-rooms.ts'

// A room id may contain colons but not spaces.
const banKey = (roomId: string, userKey: string) => `${roomId} ${userKey}`

/** @param bans the end of each ban, epoch milliseconds; survives a crash */
export function createMemoryMembers (rooms: MemoryRooms, saved: Pick<SavedRooms, 'save'>, bans: Namespace): MemberStore {
  const pins = createPinCheck()
  let arrivals = 0

  function create (record: RoomRecord, pinHash: string | undefined): MemoryRoom {
    return { record, pinHash, users: new Map(), lastActivityAt: 0, producers: 0, documents: new Map(), durable: new Set(), logs: new Map() }
  }

  /** Removes the creator of a room that cannot be saved, and the room, unless other users have joined it in the meantime. */
  function undo (room: MemoryRoom, userKey: string): void {
    room.users.delete(userKey)
    if (room.users.size === 0 && rooms.all.get(room.record.roomId) === room) rooms.all.delete(room.record.roomId)
  }

  const participants = (room: MemoryRoom | undefined, limit: number) =>
    room?.users.values().take(limit).map(({ profile }) => profile).toArray() ?? []

  return {
    async join (command) {
      const { roomId, sessionId, userKey, now } = command
      const bannedUntil = await bans.get(banKey(roomId, userKey))
      if (bannedUntil !== undefined) throw banned(Number(bannedUntil))
      const known = rooms.all.get(roomId)
      if (known?.pinHash !== undefined) pins.check(known.pinHash, command)
      if (!known && !command.create) throw new RoomNotFound(roomId)
      const room = known ?? create(command.create as RoomRecord, command.pinHash)
      const user = room.users.get(userKey)
      if (!user && room.users.size >= command.limit) throw new RoomFull()

      rooms.all.set(roomId, room)
      rooms.empty.delete(roomId)
      room.lastActivityAt = now
      if (user) {
        user.profile = command.profile
        user.sockets.add(sessionId)
      } else {
        room.users.set(userKey, { place: ++arrivals, profile: command.profile, sockets: new Set([sessionId]) })
      }
      const result = {
        room: room.record,
        created: known === undefined,
        firstOfUser: user === undefined,
        count: room.users.size,
        participants: participants(room, participantsTold),
        documents: new Map(room.documents)
      }
      if (!known) await saved.save(room).catch((error: unknown) => { undo(room, userKey); throw error })
      return result
    },
    async leave (roomId, sessionId, userKey, now) {
      const room = rooms.all.get(roomId)
      const user = room?.users.get(userKey)
      if (!room || !user?.sockets.delete(sessionId)) return
      const lastOfUser = user.sockets.size === 0
      if (lastOfUser) room.users.delete(userKey)
      room.lastActivityAt = now
      if (room.users.size === 0) rooms.empty.set(roomId, now)
      return { lastOfUser, count: room.users.size }
    },
    async getParticipants (roomId, limit) {
      return participants(rooms.all.get(roomId), limit)
    },
    async listParticipants (roomId, after, limit) {
      const users = rooms.all.get(roomId)?.users
      const arrivals = users?.values().filter(({ place }) => place > after).take(limit).map(({ place, profile }) => ({ place, profile })).toArray()
      return { arrivals: arrivals ?? [], count: users?.size ?? 0 }
    },
    async getMembers (roomId, userKeys) {
      const users = rooms.all.get(roomId)?.users
      return userKeys.map((key) => users?.get(key)?.profile)
    },
    async getSomeMembers (asked, limit) {
      return asked.map(({ roomId, first }) => {
        const users: MemoryRoom['users'] = rooms.all.get(roomId)?.users ?? new Map()
        const keys = new Set(first.filter((key) => users.has(key)))
        for (const key of users.keys()) {
          if (keys.size >= limit) break
          keys.add(key)
        }
        return [...keys].slice(0, limit).map((key) => users.get(key)?.profile as Profile)
      })
    },
    ban: (roomId, userKey, until) => bans.set(banKey(roomId, userKey), String(until), { expiresAt: until }),
    unban: (roomId, userKey) => bans.delete(banKey(roomId, userKey))
  }
}

/** Checks pins and counts wrong pins per user and room. */
interface PinCheck {
  /** @throws PIN_REQUIRED, PIN_WRONG, RATE_LIMITED; {@link PinNotCompared} */
  check (pinHash: string, command: JoinCommand): void
}

function createPinCheck (): PinCheck {
  const wrong = new Map<string, { count: number, since: number }>()

  function removeExpired (now: number): void {
    // Insertion order is chronological order.
    for (const [key, { since }] of wrong) {
      if (now - since < pinWindowMs) break
      wrong.delete(key)
    }
  }

  return {
    check (pinHash, command) {
      removeExpired(command.now)
      const key = `${command.roomId} ${command.userKey}`
      const tries = wrong.get(key) ?? { count: 0, since: command.now }
      if (tries.count >= pinTries) throw rateLimited(tries.since + pinWindowMs - command.now)
      if (command.pinHash === undefined) throw new PinRequired()
      if (command.pinHash === pinHash) return
      if (command.comparedHash !== undefined && command.comparedHash !== pinHash) throw new PinNotCompared(pinHash)
      tries.count++
      wrong.set(key, tries)
      throw new PinWrong()
    }
  }
}
