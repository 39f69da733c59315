import { userKeyOf } from '../sockets/user.ts'
import type { Profile, UserId } from '../sockets/user.ts'

export interface PresenceChange {
  count: number
  joined: Profile[]
  left: UserId[]
}

export interface Presence {
  joined (roomId: string, user: Profile, count: number): void
  left (roomId: string, userId: UserId, count: number): void
  close (): void
}

/** Shortest time between two room:presence events of a room (protocol.md, section 4). */
export const presenceIntervalMs = 1000
const retryMs = 200

/**
 * Gathers who came and went in big rooms. Somebody who comes and goes between
 * two events is in neither.
 *
 * @param claim takes the room's turn for a second, over all servers
 * @param send tells the room
 */
export function createPresence (claim: (roomId: string) => Promise<boolean>, send: (roomId: string, change: PresenceChange) => void): Presence {
  interface Pending { count: number, joined: Map<string, Profile>, left: Map<string, UserId>, timer: NodeJS.Timeout }
  const pending = new Map<string, Pending>()

  function of (roomId: string): Pending {
    const known = pending.get(roomId)
    if (known) return known
    const made = { count: 0, joined: new Map(), left: new Map(), timer: later(roomId, presenceIntervalMs) }
    pending.set(roomId, made)
    return made
  }

  function later (roomId: string, ms: number) {
    return setTimeout(() => { flush(roomId) }, ms)
  }

  async function flush (roomId: string) {
    const mine = await claim(roomId).catch(() => true)
    const change = pending.get(roomId)
    if (!change) return
    if (!mine) {
      change.timer = later(roomId, retryMs)
      return
    }
    pending.delete(roomId)
    if (change.joined.size + change.left.size === 0) return
    send(roomId, { count: change.count, joined: [...change.joined.values()], left: [...change.left.values()] })
  }

  return {
    joined (roomId, user, count) {
      const change = of(roomId)
      const key = userKeyOf(user.userId)
      change.count = count
      if (!change.left.delete(key)) change.joined.set(key, user)
    },
    left (roomId, userId, count) {
      const change = of(roomId)
      const key = userKeyOf(userId)
      change.count = count
      if (!change.joined.delete(key)) change.left.set(key, userId)
    },
    close () {
      for (const { timer } of pending.values()) clearTimeout(timer)
      pending.clear()
    }
  }
}
