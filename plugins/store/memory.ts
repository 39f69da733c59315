import { banned, PinRequired, PinWrong, RoomFull, RoomNotFound } from './errors.ts'
import { createMarks } from './marks.ts'
import { createNotes } from './notes.ts'
import { participantsTold, pinTries, pinWindowMs } from './store.ts'
import type { RoomRecord, RoomSummary, SessionRecord, Store, StoredDocument } from './store.ts'
import { rateLimited } from '../errors/codes.ts'
import type { Profile } from '../connections/user.ts'

interface Room {
  record: RoomRecord
  pinHash: string | undefined
  /** In order of arrival. */
  users: Map<string, { place: number, profile: Profile, sockets: Set<string> }>
  lastActivityAt: number
  producers: number
  documents: Map<string, StoredDocument>
  log: string[]
}

/** A job that is taken is held and not due; scheduled again, it is both, and waits. */
interface Jobs {
  due: Map<string, number>
  held: Map<string, number>
}

/**
 * The store of a single server: everything in this process, except marks and
 * notes, which are in files so that they survive a crash.
 *
 * @param dataDir folder of those files
 */
export function createMemoryStore (dataDir: string): Store {
  const rooms = new Map<string, Room>()
  // Rooms without members and when the last one left; insertion order is time order.
  const empty = new Map<string, number>()
  const sessions = new Map<string, Map<string, SessionRecord>>()
  const wrongPins = new Map<string, { count: number, since: number }>()
  const claims = new Map<string, number>()
  const jobQueues = new Map<string, Jobs>()
  let arrivals = 0
  const marks = createMarks(dataDir)
  const notes = createNotes(dataDir)
  // A room's id may have colons in it, but no space.
  const banKey = (roomId: string, userKey: string) => `ban:${roomId} ${userKey}`

  function jobsOf (queue: string): Jobs {
    const jobs = jobQueues.get(queue) ?? { due: new Map(), held: new Map() }
    jobQueues.set(queue, jobs)
    return jobs
  }

  /** Of several times the earliest counts. */
  function note (due: Map<string, number>, key: string, at: number): void {
    due.set(key, Math.min(due.get(key) ?? Infinity, at))
  }

  function checkPin (room: Room, command: { roomId: string, userKey: string, pinHash?: string | undefined, now: number }) {
    if (room.pinHash === undefined) return
    const key = `${command.roomId} ${command.userKey}`
    const tries = wrongPins.get(key)
    const current = tries !== undefined && command.now - tries.since < pinWindowMs ? tries : { count: 0, since: command.now }
    if (current.count >= pinTries) throw rateLimited(current.since + pinWindowMs - command.now)
    if (command.pinHash === undefined) throw new PinRequired()
    if (command.pinHash === room.pinHash) return
    current.count++
    wrongPins.set(key, current)
    throw new PinWrong()
  }

  function summary (room: Room): RoomSummary {
    return { ...room.record, participantCount: room.users.size, producers: room.producers, lastActivityAt: room.lastActivityAt }
  }

  const store: Store = {
    kind: 'memory',
    async ping () {},
    async close () {
      clearInterval(cleaning)
      marks.close()
      notes.close()
    },

    async join (command) {
      const { roomId, sessionId, userKey, now } = command
      const until = marks.get(banKey(roomId, userKey))
      if (until !== undefined) throw banned(until)
      const known = rooms.get(roomId)
      if (known) checkPin(known, command)
      else if (!command.create) throw new RoomNotFound(roomId)
      const room = known ?? {
        record: command.create as RoomRecord,
        pinHash: command.pinHash,
        users: new Map(),
        lastActivityAt: now,
        producers: 0,
        documents: new Map(),
        log: []
      }
      const user = room.users.get(userKey)
      if (!user && room.users.size >= command.limit) throw new RoomFull()

      rooms.set(roomId, room)
      empty.delete(roomId)
      room.lastActivityAt = now
      if (user) {
        user.profile = command.profile
        user.sockets.add(sessionId)
      } else {
        room.users.set(userKey, { place: ++arrivals, profile: command.profile, sockets: new Set([sessionId]) })
      }
      return {
        room: room.record,
        created: known === undefined,
        firstOfUser: user === undefined,
        count: room.users.size,
        participants: await store.getParticipants(roomId, participantsTold),
        documents: new Map(room.documents)
      }
    },
    async leave (roomId, sessionId, userKey, now) {
      const room = rooms.get(roomId)
      const user = room?.users.get(userKey)
      if (!room || !user?.sockets.delete(sessionId)) return
      const lastOfUser = user.sockets.size === 0
      if (lastOfUser) room.users.delete(userKey)
      room.lastActivityAt = now
      if (room.users.size === 0) empty.set(roomId, now)
      return { lastOfUser, count: room.users.size }
    },
    async removeRoom (roomId, onlyIfEmpty = false) {
      const room = rooms.get(roomId)
      if (!room || (onlyIfEmpty && room.users.size > 0)) return
      rooms.delete(roomId)
      empty.delete(roomId)
      return room.record
    },
    async getRoom (roomId) {
      const room = rooms.get(roomId)
      return room && summary(room)
    },
    async getParticipants (roomId, limit) {
      return rooms.get(roomId)?.users.values().take(limit).map((user) => user.profile).toArray() ?? []
    },
    async listParticipants (roomId, after, limit) {
      const users = rooms.get(roomId)?.users
      const arrivals = users?.values().filter(({ place }) => place > after).take(limit).map(({ place, profile }) => ({ place, profile })).toArray()
      return { arrivals: arrivals ?? [], count: users?.size ?? 0 }
    },
    async getSomeMembers (asked, limit) {
      return asked.map(({ roomId, first }) => {
        const users: Room['users'] = rooms.get(roomId)?.users ?? new Map()
        const keys = new Set(first.filter((key) => users.has(key)))
        for (const key of users.keys()) {
          if (keys.size >= limit) break
          keys.add(key)
        }
        return [...keys].slice(0, limit).map((key) => users.get(key)?.profile as Profile)
      })
    },
    async getMembers (roomId, userKeys) {
      const users = rooms.get(roomId)?.users
      return userKeys.map((key) => users?.get(key)?.profile)
    },
    async listRooms (after, limit) {
      return [...rooms.keys()].filter((id) => id > after).sort().slice(0, limit).map((id) => summary(rooms.get(id) as Room))
    },
    async listBusyRooms (after, limit) {
      const busy = [...rooms].filter(([id, { users }]) => id > after && users.size > 0).map(([id]) => id).sort()
      const ids = busy.slice(0, limit)
      return { rooms: ids.map((id) => summary(rooms.get(id) as Room)), next: busy.length > limit ? ids.at(-1) : undefined }
    },
    async listEmptyRooms (before, limit) {
      const due: string[] = []
      for (const [roomId, since] of empty) {
        if (since > before || due.length === limit) break
        due.push(roomId)
      }
      return due
    },
    async forgetEmptyRoom (roomId, before) {
      if ((empty.get(roomId) ?? Infinity) <= before) empty.delete(roomId)
    },
    async touchRoom (roomId, now, producers) {
      const room = rooms.get(roomId)
      if (!room) return
      room.lastActivityAt = now
      room.producers = producers ?? room.producers
    },

    async swapDocument ({ roomId, name, expected, next }) {
      const room = rooms.get(roomId)
      if (!room) throw new RoomNotFound(roomId)
      const document = room.documents.get(name)
      const { createdAt } = room.record
      const stale = next !== undefined && !next.version.startsWith(`${createdAt}.`)
      if (stale || (document?.version ?? '') !== expected) return { swapped: false, createdAt, document }
      if (next) room.documents.set(name, next)
      return { swapped: true }
    },
    async readDocuments (roomIds, name) {
      return roomIds.map((roomId) => rooms.get(roomId)?.documents.get(name)?.state)
    },

    async appendLog (roomId, entry, keep, now) {
      const room = rooms.get(roomId)
      if (!room) return 0
      room.log.push(entry)
      room.log.splice(0, room.log.length - keep)
      room.lastActivityAt = now
      return 0
    },
    async readLog (roomId) {
      return [...rooms.get(roomId)?.log ?? []]
    },

    async ban (roomId, userKey, until) {
      marks.set(banKey(roomId, userKey), until)
    },
    async unban (roomId, userKey) {
      return marks.delete(banKey(roomId, userKey))
    },

    async putSession (userKey, session) {
      const mine = sessions.get(userKey) ?? new Map<string, SessionRecord>()
      sessions.set(userKey, mine.set(session.sessionId, session))
    },
    async removeSession (userKey, sessionId) {
      const mine = sessions.get(userKey)
      mine?.delete(sessionId)
      if (mine?.size === 0) sessions.delete(userKey)
    },
    async getSessions (userKey) {
      return [...sessions.get(userKey)?.values() ?? []]
    },

    async setMark (key, until) {
      marks.set(key, until)
    },
    async hasMarks (keys) {
      return keys.map((key) => marks.get(key) !== undefined)
    },

    async setNote (book, key, text) {
      notes.set(book, key, text)
    },
    async swapNote (book, key, expected, text) {
      if (notes.get(book, key) !== expected) return false
      notes.set(book, key, text)
      return true
    },
    async getNote (book, key) {
      return notes.get(book, key)
    },
    async listNotes (book) {
      return notes.keys(book)
    },

    async scheduleJob (queue, key, at) {
      note(jobsOf(queue).due, key, at)
    },
    async takeDueJobs (queue, now, limit, until) {
      const { due, held } = jobsOf(queue)
      for (const [key, end] of held) {
        if (end > now) continue
        held.delete(key)
        note(due, key, now)
      }
      const keys = [...due].filter(([key, at]) => at <= now && !held.has(key)).sort(([, a], [, b]) => a - b).slice(0, limit).map(([key]) => key)
      for (const key of keys) {
        due.delete(key)
        held.set(key, until)
      }
      return keys.map((key) => ({ key, token: until }))
    },
    async settleJob (queue, { key, token }, retryAt) {
      const { due, held } = jobsOf(queue)
      if (held.get(key) !== token) return
      held.delete(key)
      if (retryAt !== undefined) note(due, key, retryAt)
    },

    async claim (key, forMs) {
      const now = Date.now()
      if ((claims.get(key) ?? 0) > now) return false
      claims.set(key, now + forMs)
      return true
    },

    // There is one server and nothing of it outlives the process.
    async heartbeat () {
      return true
    },
    async listDeadNodes () {
      return []
    },
    async listNodeRooms () {
      return []
    },
    // This process has lost nothing that it could be given back.
    async replaceShare (_nodeId, share) {
      const room = rooms.get(share.room.roomId)
      return { joined: [], left: [], count: room?.users.size ?? 0, documents: new Map(room?.documents) }
    },
    async dropShare (_nodeId, roomId) {
      return { joined: [], left: [], count: rooms.get(roomId)?.users.size ?? 0 }
    },
    async releaseRoom () {},
    async forgetNode () {}
  }
  // What is over is of no use any more.
  const cleaning = setInterval(() => {
    const now = Date.now()
    for (const [key, { since }] of wrongPins) if (now - since >= pinWindowMs) wrongPins.delete(key)
    for (const [key, until] of claims) if (until <= now) claims.delete(key)
    marks.sweep(now)
  }, pinWindowMs).unref()
  return store
}
