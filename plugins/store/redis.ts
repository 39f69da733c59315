import type { Redis, Result } from 'ioredis'
import { isCoded, rateLimited, unavailable } from '../errors/codes.ts'
import type { Profile } from '../connections/user.ts'
import { banned, PinRequired, PinWrong, RoomFull, RoomNotFound } from './errors.ts'
import * as scripts from './scripts.ts'
import { closedMemoryMs, leaseMs, participantsTold, pinTries, pinWindowMs, recoveryMs } from './store.ts'
import type { Envelope, RoomRecord, RoomSummary, SessionRecord, Store, StoredDocument, WrittenShare } from './store.ts'

declare module 'ioredis' {
  interface RedisCommander<Context> {
    msabJoin (...args: (string | number)[]): Result<unknown[], Context>
    msabLeave (...args: (string | number)[]): Result<[number, number] | null, Context>
    msabRemoveRoom (...args: (string | number)[]): Result<string | null, Context>
    msabParticipants (...args: (string | number)[]): Result<[places: string[], profiles: (string | null)[], count: number], Context>
    msabSomeMembers (...args: (string | number)[]): Result<string[], Context>
    msabForgetEmpty (...args: (string | number)[]): Result<number, Context>
    msabTouch (...args: (string | number)[]): Result<number, Context>
    msabAppendLog (...args: (string | number)[]): Result<number, Context>
    msabSwapDocument (...args: (string | number)[]): Result<string[] | null, Context>
    msabTakeDueJobs (...args: (string | number)[]): Result<string[], Context>
    msabSwapNote (...args: (string | number)[]): Result<number, Context>
    msabSettleJob (...args: (string | number)[]): Result<number, Context>
    msabReplaceShare (...args: (string | number)[]): Result<[joined: string[], left: (string | null)[], count: number, closed: number, documents: string[]], Context>
  }
}

const prefix = 'msab'
const roomsKey = `${prefix}:rooms`
const emptyRoomsKey = `${prefix}:rooms:empty`
const nodesKey = `${prefix}:nodes`

// Sessions of a server that died without a word are told apart by its lease;
// this only ends what nobody looks at any more.
const sessionsTtlSeconds = 86_400

// How many rooms are looked at, and in how many round trips, to find some with
// somebody in them: the page that was asked for, and then so many at a time.
const busyStride = 500
const busyTurns = 4

const roomKey = (roomId: string) => `${prefix}:room:{${roomId}}`
const roomKeys = (roomId: string) => {
  const key = roomKey(roomId)
  return [key, `${key}:users`, `${key}:profiles`, `${key}:refs`, `${key}:sessions`, `${key}:docs`, `${key}:log`]
}
const memberKeys = (roomId: string) => [`${roomKey(roomId)}:users`, `${roomKey(roomId)}:profiles`]
const documentKeys = (roomId: string) => [roomKey(roomId), `${roomKey(roomId)}:docs`]
const jobKeys = (queue: string) => [`${prefix}:jobs:{${queue}}`, `${prefix}:jobs:{${queue}}:held`]
const notesKey = (book: string) => `${prefix}:notes:{${book}}`
const closedKey = (roomId: string) => `${roomKey(roomId)}:closed`
const userSessionsKey = (userKey: string) => `${prefix}:user:{${userKey}}:sessions`
const nodeKey = (nodeId: string) => `${prefix}:node:{${nodeId}}`

const parse = <T>(text: string) => JSON.parse(text) as T

/** @param text "<version> <JSON>" */
function documentIn (text: string): StoredDocument {
  const space = text.indexOf(' ')
  return { version: text.slice(0, space), state: text.slice(space + 1) }
}

/** @returns name, version and state by turns, as a script takes them */
const fieldsOf = (documents: ReadonlyMap<string, StoredDocument>) => [...documents].flatMap(([name, { version, state }]) => [name, version, state])

/** @param fields name and document by turns, as HGETALL in a script gives them */
function documentsIn (fields: readonly string[]): Map<string, StoredDocument> {
  const documents = new Map<string, StoredDocument>()
  for (let i = 0; i < fields.length; i += 2) documents.set(fields[i] as string, documentIn(fields[i + 1] as string))
  return documents
}

/**
 * The store of servers that share a Redis. One round trip a method: what a
 * method needs from several keys is asked for in the same turn, and the client
 * sends that together.
 *
 * @param redis a client that fails at once while it is not connected
 * @param nodeId this process, different from every other one and every earlier one
 */
export function createRedisStore (redis: Redis, nodeId: string): Store {
  redis.defineCommand('msabJoin', { numberOfKeys: 9, lua: scripts.join })
  redis.defineCommand('msabLeave', { numberOfKeys: 7, lua: scripts.leave })
  redis.defineCommand('msabRemoveRoom', { numberOfKeys: 8, lua: scripts.removeRoom })
  redis.defineCommand('msabParticipants', { numberOfKeys: 2, lua: scripts.participants })
  redis.defineCommand('msabSomeMembers', { numberOfKeys: 2, lua: scripts.someMembers })
  redis.defineCommand('msabForgetEmpty', { numberOfKeys: 1, lua: scripts.forgetEmpty })
  redis.defineCommand('msabTouch', { numberOfKeys: 1, lua: scripts.touch })
  redis.defineCommand('msabReplaceShare', { numberOfKeys: 8, lua: scripts.replaceShare })
  redis.defineCommand('msabAppendLog', { numberOfKeys: 2, lua: scripts.appendLog })
  redis.defineCommand('msabSwapDocument', { numberOfKeys: 2, lua: scripts.swapDocument })
  redis.defineCommand('msabSwapNote', { numberOfKeys: 1, lua: scripts.swapNote })
  redis.defineCommand('msabTakeDueJobs', { numberOfKeys: 2, lua: scripts.takeDueJobs })
  redis.defineCommand('msabSettleJob', { numberOfKeys: 2, lua: scripts.settleJob })

  const field = (node: string, sessionId: string) => `${node} ${sessionId}`
  // Who connects again may find a Redis that has lost everything. Servers with members then write
  // their rooms back; who made a new one of such a name meanwhile would take it from them.
  let beaten = false
  let familiar = true
  let lapsed = false
  let lostAt = -Infinity
  redis.on('close', () => { familiar = false })

  async function beat (): Promise<void> {
    const [before] = await Promise.all([redis.set(nodeKey(nodeId), 1, 'PX', leaseMs, 'GET'), redis.sadd(nodesKey, nodeId)])
    if (before === null) {
      lapsed = true
      if (beaten) lostAt = performance.now()
    }
    beaten = true
    familiar = true
  }

  async function mayMakeRooms (): Promise<boolean> {
    if (beaten && !familiar) await beat()
    return performance.now() - lostAt >= recoveryMs
  }

  // Rooms that the index of this server's rooms names already.
  const indexed = new Set<string>()

  async function summary (roomId: string): Promise<RoomSummary | undefined> {
    const [hash, participantCount] = await Promise.all([redis.hgetall(roomKey(roomId)), redis.zcard(`${roomKey(roomId)}:users`)])
    if (hash.meta === undefined) return
    const producers = Object.entries(hash).reduce((sum, [name, value]) => name.startsWith('producers:') ? sum + Number(value) : sum, 0)
    return { ...parse<RoomRecord>(hash.meta), participantCount, producers, lastActivityAt: Number(hash.activity) }
  }

  /** Of so many that the index names behind an id, those that are there. */
  async function roomsBehind (after: string, limit: number): Promise<{ ids: string[], rooms: RoomSummary[] }> {
    const ids = await redis.zrangebylex(roomsKey, after === '' ? '-' : `(${after}`, '+', 'LIMIT', 0, limit)
    const rooms = await Promise.all(ids.map(summary))
    return { ids, rooms: rooms.filter((room) => room !== undefined) }
  }

  /** Indexes name a room before it has members, so that a crash in between loses nothing. */
  async function index (roomId: string): Promise<void> {
    if (indexed.has(roomId)) return
    await Promise.all([redis.zadd(roomsKey, 0, roomId), redis.sadd(`${nodeKey(nodeId)}:rooms`, roomId)])
    indexed.add(roomId)
  }

  async function changeShare (node: string, roomId: string, meta: string, pin: string, members: string, envelope?: Envelope, documents: readonly string[] = []): Promise<WrittenShare> {
    const now = Date.now()
    const [joined, left, count, closed, stored] = await redis.msabReplaceShare(
      ...roomKeys(roomId), closedKey(roomId), node, meta, pin, now, members, envelope?.channel ?? '', envelope?.text ?? '', ...documents
    )
    if (count === 0) await redis.zadd(emptyRoomsKey, now, roomId)
    return {
      joined: joined.map((text) => parse<Profile>(text)),
      left: left.filter((text) => text !== null).map((text) => parse<Profile>(text)),
      count,
      documents: documentsIn(stored),
      ...(closed === 1 ? { closed: true } : {})
    }
  }

  const store: Store = {
    kind: 'redis',
    async ping () {
      await redis.ping()
    },
    async close () {},

    async join (command) {
      const { roomId, sessionId, userKey, now } = command
      const key = roomKey(roomId)
      const create = command.create && await mayMakeRooms() ? JSON.stringify(command.create) : ''
      const [, answer] = await Promise.all([
        index(roomId),
        redis.msabJoin(
          ...roomKeys(roomId), `${key}:ban:${userKey}`, `${key}:pin:${userKey}`,
          field(nodeId, sessionId), userKey, JSON.stringify(command.profile), command.limit, command.pinHash ?? '',
          create, now, participantsTold, pinTries, pinWindowMs
        )
      ])
      const [outcome, ...values] = answer
      switch (outcome) {
        case 'OK': {
          const [meta, created, first, count, profiles, documents] = values as [string, number, number, number, string[], string[]]
          return {
            room: parse<RoomRecord>(meta),
            created: created === 1,
            firstOfUser: first === 1,
            count,
            participants: profiles.map((text) => parse<Profile>(text)),
            documents: documentsIn(documents)
          }
        }
        case 'BANNED': throw banned(Number(values[0]))
        case 'RATE_LIMITED': throw rateLimited(Number(values[0]))
        case 'PIN_REQUIRED': throw new PinRequired()
        case 'PIN_WRONG': throw new PinWrong()
        case 'ROOM_FULL': throw new RoomFull()
        default: throw command.create && create === '' ? unavailable('What the servers know of rooms is being written back') : new RoomNotFound(roomId)
      }
    },
    async leave (roomId, sessionId, _userKey, now) {
      const answer = await redis.msabLeave(...roomKeys(roomId), field(nodeId, sessionId), now)
      if (answer === null) return
      const [last, count] = answer
      if (count === 0) await redis.zadd(emptyRoomsKey, now, roomId)
      return { lastOfUser: last === 1, count }
    },
    async removeRoom (roomId, onlyIfEmpty = false, envelope = undefined) {
      const meta = await redis.msabRemoveRoom(...roomKeys(roomId), closedKey(roomId), onlyIfEmpty ? 1 : 0, closedMemoryMs, envelope?.channel ?? '', envelope?.text ?? '')
      // Who removed it may have died before it was taken from the indexes.
      if (meta === null && await redis.exists(roomKey(roomId)) === 1) return
      await Promise.all([redis.zrem(roomsKey, roomId), redis.zrem(emptyRoomsKey, roomId), store.releaseRoom(roomId)])
      // Somebody may have made it again meanwhile; then the indexes must have it.
      if (await redis.exists(roomKey(roomId)) === 1) await index(roomId)
      return meta === null ? undefined : parse<RoomRecord>(meta)
    },
    getRoom: summary,
    async getParticipants (roomId, limit) {
      return (await store.listParticipants(roomId, 0, limit)).arrivals.map(({ profile }) => profile)
    },
    async listParticipants (roomId, after, limit) {
      const [places, profiles, count] = await redis.msabParticipants(...memberKeys(roomId), after, limit)
      const arrivals = places.flatMap((place, i) => {
        const text = profiles[i]
        return text ? [{ place: Number(place), profile: parse<Profile>(text) }] : []
      })
      return { arrivals, count }
    },
    async getSomeMembers (rooms, limit) {
      const found = await Promise.all(rooms.map(({ roomId, first }) => redis.msabSomeMembers(...memberKeys(roomId), limit, ...first)))
      return found.map((profiles) => profiles.map((text) => parse<Profile>(text)))
    },
    async getMembers (roomId, userKeys) {
      if (userKeys.length === 0) return []
      const profiles = await redis.hmget(`${roomKey(roomId)}:profiles`, ...userKeys)
      return profiles.map((text) => text === null ? undefined : parse<Profile>(text))
    },
    async listRooms (after, limit) {
      // A name in the index whose room is gone leaves a gap in a page, so pages
      // are filled up until the index ends.
      const found: RoomSummary[] = []
      let from = after
      while (found.length < limit) {
        const { ids, rooms } = await roomsBehind(from, limit)
        found.push(...rooms)
        if (ids.length < limit) break
        from = ids.at(-1) as string
      }
      return found.slice(0, limit)
    },
    async listBusyRooms (after, limit) {
      const found: RoomSummary[] = []
      let [from, asked] = [after, limit + 1]
      for (let turn = 0; turn < busyTurns; turn++) {
        const { ids, rooms } = await roomsBehind(from, asked)
        found.push(...rooms.filter(({ participantCount }) => participantCount > 0))
        if (found.length > limit) return { rooms: found.slice(0, limit), next: found[limit - 1]?.roomId }
        if (ids.length < asked) return { rooms: found, next: undefined }
        from = ids.at(-1) as string
        asked = busyStride
      }
      return { rooms: found, next: from }
    },
    async listEmptyRooms (before, limit) {
      return await redis.zrangebyscore(emptyRoomsKey, '-inf', before, 'LIMIT', 0, limit)
    },
    async forgetEmptyRoom (roomId, before) {
      await redis.msabForgetEmpty(emptyRoomsKey, roomId, before)
    },
    async touchRoom (roomId, now, producers) {
      await redis.msabTouch(roomKey(roomId), now, `producers:${nodeId}`, producers ?? '')
    },

    async swapDocument ({ roomId, name, expected, next, envelope }) {
      const answer = await redis.msabSwapDocument(...documentKeys(roomId), name, expected, next?.version ?? '', next?.state ?? '', envelope?.channel ?? '', envelope?.text ?? '', recoveryMs)
      if (answer === null) throw new RoomNotFound(roomId)
      if (answer[0] === 'RESTORING') throw unavailable('What the servers know of this room is being written back')
      if (answer[0] === 'DONE') return { swapped: true }
      const [, createdAt, current, least] = answer as [string, string, string, string]
      return { swapped: false, createdAt: Number(createdAt), document: current === '' ? undefined : documentIn(current), ...(least === '0' ? {} : { least: Number(least) }) }
    },
    async readDocuments (roomIds, name) {
      const texts = await Promise.all(roomIds.map((roomId) => redis.hget(`${roomKey(roomId)}:docs`, name)))
      return texts.map((text) => text === null ? undefined : documentIn(text).state)
    },

    async appendLog (roomId, entry, keep, now, envelope) {
      return await redis.msabAppendLog(roomKey(roomId), `${roomKey(roomId)}:log`, entry, keep, now, envelope?.channel ?? '', envelope?.text ?? '')
    },
    async readLog (roomId) {
      return await redis.lrange(`${roomKey(roomId)}:log`, 0, -1)
    },

    async ban (roomId, userKey, until) {
      await redis.set(`${roomKey(roomId)}:ban:${userKey}`, String(until), 'PXAT', until)
    },
    async unban (roomId, userKey) {
      return await redis.del(`${roomKey(roomId)}:ban:${userKey}`) === 1
    },

    async putSession (userKey, session) {
      const key = userSessionsKey(userKey)
      await Promise.all([redis.hset(key, session.sessionId, JSON.stringify(session)), redis.expire(key, sessionsTtlSeconds)])
    },
    async removeSession (userKey, sessionId) {
      await redis.hdel(userSessionsKey(userKey), sessionId)
    },
    async getSessions (userKey) {
      const all = Object.values(await redis.hgetall(userSessionsKey(userKey))).map((text) => parse<SessionRecord>(text))
      const nodes = [...new Set(all.map((session) => session.nodeId))]
      const alive = await Promise.all(nodes.map((node) => redis.exists(nodeKey(node))))
      return all.filter((session) => alive[nodes.indexOf(session.nodeId)] === 1)
    },

    async setMark (key, until) {
      await redis.set(key, 1, 'PXAT', until)
    },
    async hasMarks (keys) {
      // One command a key: in a cluster each lives where it lives.
      return (await Promise.all(keys.map((key) => redis.exists(key)))).map((count) => count === 1)
    },

    async setNote (book, key, text) {
      if (text === undefined) await redis.hdel(notesKey(book), key)
      else await redis.hset(notesKey(book), key, text)
    },
    async swapNote (book, key, expected, text) {
      return await redis.msabSwapNote(notesKey(book), key, text, ...(expected === undefined ? [] : [expected])) === 1
    },
    async getNote (book, key) {
      return await redis.hget(notesKey(book), key) ?? undefined
    },
    async listNotes (book) {
      return await redis.hkeys(notesKey(book))
    },

    async scheduleJob (queue, key, at) {
      await redis.zadd(jobKeys(queue)[0] as string, 'LT', at, key)
    },
    async takeDueJobs (queue, now, limit, until) {
      const keys = await redis.msabTakeDueJobs(...jobKeys(queue), now, limit, until)
      return keys.map((key) => ({ key, token: until }))
    },
    async settleJob (queue, { key, token }, retryAt) {
      await redis.msabSettleJob(...jobKeys(queue), key, token, retryAt ?? '')
    },

    async claim (key, forMs) {
      return await redis.set(`${prefix}:claim:${key}`, nodeId, 'PX', forMs, 'NX') === 'OK'
    },

    async heartbeat () {
      await beat()
      const kept = !lapsed
      lapsed = false
      return kept
    },
    async listDeadNodes () {
      const nodes = await redis.smembers(nodesKey)
      const alive = await Promise.all(nodes.map((node) => redis.exists(nodeKey(node))))
      return nodes.filter((node, i) => alive[i] === 0 && node !== nodeId)
    },
    async listNodeRooms (node) {
      return await redis.smembers(`${nodeKey(node)}:rooms`)
    },
    async replaceShare (node, { room, pinHash, members, documents, envelope }) {
      const list = members.map((member) => [field(node, member.sessionId), member.userKey, JSON.stringify(member.profile)])
      if (node === nodeId) indexed.delete(room.roomId)
      // In one turn: what is given must not be old when the script runs.
      const [change] = await Promise.all([
        changeShare(node, room.roomId, JSON.stringify(room), pinHash ?? '', JSON.stringify(list), envelope, fieldsOf(documents)),
        node === nodeId ? index(room.roomId) : undefined
      ])
      return change
    },
    async releaseRoom (roomId) {
      // Forgotten before the command is sent: a join that comes now indexes the
      // room again, behind it.
      indexed.delete(roomId)
      await redis.srem(`${nodeKey(nodeId)}:rooms`, roomId)
    },
    async dropShare (node, roomId) {
      const { joined, left, count } = await changeShare(node, roomId, '', '', '[]')
      await (node === nodeId ? store.releaseRoom(roomId) : redis.srem(`${nodeKey(node)}:rooms`, roomId))
      return { joined, left, count }
    },
    async forgetNode (node) {
      await Promise.all([redis.del(nodeKey(node), `${nodeKey(node)}:rooms`), redis.srem(nodesKey, node)])
    }
  }
  return failingClosed(store)
}

/** Turns what the client throws (connection gone, time-out, server error) into UNAVAILABLE. */
function failingClosed (store: Store): Store {
  return new Proxy(store, {
    get (target, name: keyof Store) {
      const member = target[name]
      if (typeof member !== 'function') return member
      return async (...args: unknown[]) => {
        try {
          return await (member as (...args: unknown[]) => Promise<unknown>).apply(target, args)
        } catch (error) {
          throw isCoded(error) ? error : unavailable('The store cannot be reached', error)
        }
      }
    }
  })
}
