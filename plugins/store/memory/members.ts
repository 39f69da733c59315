import type { Clock } from '../../clock.ts'
import type { Profile } from '../../connections/session.ts'
import { markLockedByHost, pinLimited, pinLimitOf, PinRequired, PinWrong, RoomFull, RoomLocked, RoomNotFound } from '../errors.ts'
import type { PinLimitOf } from '../errors.ts'
import { PinNotCompared } from '../pin-not-compared.ts'
import { pinWindowMs, wrongPins } from '../store.ts'
import type { MemberStore } from '../store.ts'
import { maxListedParticipants, returnMs } from '../types.ts'
import type { JoinCommand, RoomRecord } from '../types.ts'
import type { MemoryBans } from './bans.ts'
import { accessOf, createMemoryRoom, isHostLocked } from './rooms.ts'
import type { MemoryRoom, MemoryRooms } from './rooms.ts'
import type { SavedRooms } from './saved-rooms.ts'

export function createMemoryMembers (rooms: MemoryRooms, saved: Pick<SavedRooms, 'save'>, bans: MemoryBans, clock: Clock): MemberStore {
  const pins = createPinCheck()
  /** The rooms for which `endReturnsLater` has set a timer. */
  const ending = new WeakSet<MemoryRoom>()
  let arrivals = 0

  /** Removes the creator from a room that cannot be saved, and deletes the room unless other users have joined it. */
  function undo (room: MemoryRoom, userKey: string): void {
    room.users.delete(userKey)
    if (room.users.size === 0 && rooms.all.get(room.record.roomId) === room) rooms.all.delete(room.record.roomId)
  }

  /**
   * Schedules the deletion of expired rights to return to a room, in memory and on disk. The data on disk does not
   * contain when a right expires: after a restart, each listed user can return for `returnMs`.
   */
  function endReturnsLater (room: MemoryRoom): void {
    if (ending.has(room)) return
    ending.add(room)
    setTimeout(() => {
      ending.delete(room)
      for (const [userKey, until] of room.returning) if (until <= clock.now()) room.returning.delete(userKey)
      if (room.returning.size > 0) endReturnsLater(room)
      if (rooms.all.get(room.record.roomId) === room && isHostLocked(room)) saved.save(room).catch(() => { /* The next change of the room saves it again. */ })
    }, returnMs).unref()
  }
  for (const room of rooms.all.values()) if (room.returning.size > 0) endReturnsLater(room)

  /** @throws ROOM_LOCKED, PIN_REQUIRED, PIN_WRONG, RATE_LIMITED; {@link PinNotCompared} */
  function assertAdmits (room: MemoryRoom, command: JoinCommand): void {
    const { userKey, now } = command
    const isMember = room.users.has(userKey) && !room.kicked.has(userKey)
    const access = accessOf(room)
    if (!access) {
      if (room.pinHash !== undefined && command.isHost !== true && !(isMember && command.pinHash === undefined)) pins.check(room.pinHash, command, isMember)
      return
    }
    if (command.isHost === true || isMember || (room.returning.get(userKey) ?? 0) > now) return
    if (access.admits === 'nobody') throw markLockedByHost(new RoomLocked())
    if (access.admits !== 'pin' || access.pinHash === undefined) return
    try {
      pins.check(access.pinHash, command, false)
    } catch (error) {
      throw error instanceof PinRequired || error instanceof PinWrong || (error instanceof Error && pinLimitOf(error)) ? markLockedByHost(error) : error
    }
  }

  const participants = (room: MemoryRoom | undefined, limit: number) =>
    room?.users.values().take(limit).map(({ profile }) => profile).toArray() ?? []

  return {
    async join (command) {
      const { roomId, sessionId, userKey, now } = command
      bans.assertNone(roomId, userKey)
      const known = rooms.all.get(roomId)
      if (known) assertAdmits(known, command)
      if (!known && !command.create) throw new RoomNotFound(roomId)
      const room = known ?? createMemoryRoom(command.create as RoomRecord, command.pinHash)
      const user = room.users.get(userKey)
      if (!user && room.users.size >= command.limit) throw new RoomFull()

      rooms.all.set(roomId, room)
      rooms.empty.delete(roomId)
      room.lastActivityAt = now
      room.returning.delete(userKey)
      room.kicked.delete(userKey)
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
        participants: participants(room, maxListedParticipants),
        documents: new Map(room.documents),
        ...(room.pinHash === undefined ? {} : { pinHash: room.pinHash })
      }
      if (!known) await saved.save(room).catch((error: unknown) => { undo(room, userKey); throw error })
      return result
    },
    async countPin (roomId, address, isRight) {
      pins.count(roomId, address, isRight)
    },
    async leave (roomId, sessionId, userKey, now, mayReturn = false) {
      const room = rooms.all.get(roomId)
      const user = room?.users.get(userKey)
      if (!room || !user?.sockets.delete(sessionId)) return
      const lastOfUser = user.sockets.size === 0
      if (lastOfUser) room.users.delete(userKey)
      room.lastActivityAt = now
      if (room.users.size === 0) rooms.empty.set(roomId, now)
      const isReturning = lastOfUser && mayReturn && !room.kicked.has(userKey) && accessOf(room) !== undefined
      if (isReturning) {
        room.returning.set(userKey, now + returnMs)
        endReturnsLater(room)
      }
      if (lastOfUser) room.kicked.delete(userKey)
      // If the save fails, the data on disk still allows the user to return, until the next save.
      if (lastOfUser && isHostLocked(room) && !isReturning) saved.save(room).catch(() => { /* The next change of the room saves it again. */ })
      return { lastOfUser, count: room.users.size }
    },
    async forbidReturn (roomId, userKey) {
      const room = rooms.all.get(roomId)
      if (!room) return
      const isMember = room.users.has(userKey)
      if (isMember) room.kicked.add(userKey)
      if ((room.returning.delete(userKey) || isMember) && isHostLocked(room)) await saved.save(room)
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
    ban: bans.ban,
    unban: bans.unban,
    listBans: bans.list
  }
}

/** Checks PINs and counts wrong PINs. */
interface PinCheck {
  /**
   * @param isMember whether the user is already in the room; wrong PINs of such users are not counted
   * @throws PIN_REQUIRED, PIN_WRONG, RATE_LIMITED; {@link PinNotCompared}
   */
  check (pinHash: string, command: JoinCommand, isMember: boolean): void
  /** @throws PIN_WRONG, RATE_LIMITED */
  count (roomId: string, address: string | undefined, isRight: boolean): void
}

/** The name, the key and the limit of a counter of wrong PINs. */
type Counter = [name: PinLimitOf, key: string, max: number]

function createPinCheck (): PinCheck {
  // Each entry's key consists of the counter's name and the counter's key. The times are from a monotonic clock,
  // because the wall clock may be set back.
  const wrong = new Map<string, { count: number, since: number }>()

  function removeExpired (now: number): void {
    // The insertion order is chronological.
    for (const [key, { since }] of wrong) {
      if (now - since < pinWindowMs) break
      wrong.delete(key)
    }
  }

  const ofRoom = (roomId: string): Counter => ['room', roomId, wrongPins.perRoom]
  const ofAddress = (address: string | undefined): Counter[] => address === undefined ? [] : [['address', address, wrongPins.perAddress]]

  /** @throws RATE_LIMITED */
  function assertBelow (counters: readonly Counter[], now: number): void {
    removeExpired(now)
    for (const [name, key, max] of counters) {
      const counted = wrong.get(`${name} ${key}`)
      if (counted && counted.count >= max) throw pinLimited(name, Math.ceil(counted.since + pinWindowMs - now))
    }
  }

  function add (counters: readonly Counter[], now: number): void {
    for (const [name, key] of counters) {
      const counted = wrong.get(`${name} ${key}`)
      if (counted) counted.count++
      else wrong.set(`${name} ${key}`, { count: 1, since: now })
    }
  }

  return {
    check (pinHash, { roomId, userKey, address, ...command }, isMember) {
      const now = performance.now()
      const ofUser: Counter = ['user', `${roomId} ${userKey}`, wrongPins.perUser]
      const counters = isMember ? [] : command.pinHash === undefined ? [ofUser] : [ofUser, ...ofAddress(address), ofRoom(roomId)]
      assertBelow(counters, now)
      if (command.pinHash === undefined) throw new PinRequired()
      if (command.pinHash === pinHash) return
      if (command.comparedHash !== undefined && command.comparedHash !== pinHash) throw new PinNotCompared(pinHash)
      add(counters, now)
      throw new PinWrong()
    },
    count (roomId, address, isRight) {
      const now = performance.now()
      const counters = [...ofAddress(address), ofRoom(roomId)]
      assertBelow(counters, now)
      if (isRight) return
      add(counters, now)
      throw new PinWrong()
    }
  }
}
