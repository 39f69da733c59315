import type { Clock } from '../../clock.ts'
import type { Namespace } from '../../kv/kv.ts'
import { banLimit, banned } from '../errors.ts'
import type { MemberStore } from '../store.ts'
import type { Ban } from '../types.ts'

/** The bans of all rooms. */
export interface MemoryBans extends Pick<MemberStore, 'ban' | 'unban'> {
  list: MemberStore['listBans']
  /** @throws BANNED (details `{until}`) if the user is banned */
  assertNone (roomId: string, userKey: string): void
}

// A room id may contain colons but not spaces.
const keyOf = (roomId: string, userKey: string) => `${roomId} ${userKey}`

/** @param text a ban as JSON; older servers stored only the time when the ban ends */
function parseBan (userKey: string, text: string): Ban {
  const value = JSON.parse(text) as Ban | number
  return typeof value === 'number' ? { userId: userKey, until: value, by: null } : value
}

/** @param saved stores the bans on disk, by room and user */
export async function createMemoryBans (saved: Namespace, clock: Clock): Promise<MemoryBans> {
  const byRoom = new Map<string, Map<string, Ban>>()
  const add = (roomId: string, userKey: string, ban: Ban) => {
    const bans = byRoom.get(roomId) ?? new Map<string, Ban>()
    byRoom.set(roomId, bans.set(userKey, ban))
  }
  const remove = (roomId: string, userKey: string) => {
    const bans = byRoom.get(roomId)
    bans?.delete(userKey)
    if (bans?.size === 0) byRoom.delete(roomId)
  }
  const isOver = ({ until }: Ban) => until <= clock.now()
  function current (roomId: string, userKey: string): Ban | undefined {
    const ban = byRoom.get(roomId)?.get(userKey)
    if (!ban || !isOver(ban)) return ban
    remove(roomId, userKey)
    return undefined
  }

  const keys = await saved.list()
  for (const [i, text] of (await saved.getMany(keys)).entries()) {
    const [roomId = '', ...userKey] = (keys[i] as string).split(' ')
    if (text !== undefined) add(roomId, userKey.join(' '), parseBan(userKey.join(' '), text))
  }

  return {
    assertNone (roomId, userKey) {
      const ban = current(roomId, userKey)
      if (ban) throw banned(ban.until)
    },
    async ban (roomId, userKey, until, { userId = userKey, by = null, limit = Infinity } = {}) {
      for (const [key, ban] of byRoom.get(roomId) ?? []) if (isOver(ban)) remove(roomId, key)
      const bans = byRoom.get(roomId)
      if (bans?.has(userKey) !== true && (bans?.size ?? 0) >= limit) throw banLimit(limit)
      const ban = { userId, until, by }
      const previous = bans?.get(userKey)
      // Add the ban to memory before saving it to disk, so that concurrent requests cannot exceed the limit of bans.
      add(roomId, userKey, ban)
      await saved.set(keyOf(roomId, userKey), JSON.stringify(ban), { expiresAt: until }).catch((error: unknown) => {
        if (previous) add(roomId, userKey, previous)
        else remove(roomId, userKey)
        throw error
      })
    },
    async unban (roomId, userKey) {
      const isBanned = current(roomId, userKey) !== undefined
      await saved.delete(keyOf(roomId, userKey))
      remove(roomId, userKey)
      return isBanned
    },
    async list (roomId, after, limit) {
      const bans = [...byRoom.get(roomId) ?? []].filter(([key, ban]) => key > after && !isOver(ban))
      return bans.sort(([a], [b]) => a < b ? -1 : 1).slice(0, limit).map(([, ban]) => ban)
    }
  }
}
