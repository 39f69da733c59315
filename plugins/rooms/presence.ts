import { userKeyOf } from '../connections/user.ts'
import type { Profile, UserId } from '../connections/user.ts'

export interface PresenceChange {
  count: number
  joined: Profile[]
  left: UserId[]
}

export interface Presence {
  /** Whether a room has something still to be told: what is told meanwhile by itself would come before it. */
  pending (roomId: string): boolean
  joined (roomId: string, user: Profile, count: number): void
  left (roomId: string, userId: UserId, count: number): void
  /** A room is closed: there is nobody to tell, and a later room of the same name has other members. */
  forget (roomId: string): void
  /** Tells at once what is still to be told. */
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
    tell(roomId, change)
  }

  function tell (roomId: string, { count, joined, left }: Pending) {
    if (joined.size + left.size > 0) send(roomId, { count, joined: [...joined.values()], left: [...left.values()] })
  }

  return {
    pending: (roomId) => pending.has(roomId),
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
    forget (roomId) {
      clearTimeout(pending.get(roomId)?.timer)
      pending.delete(roomId)
    },
    close () {
      for (const [roomId, change] of pending) {
        clearTimeout(change.timer)
        tell(roomId, change)
      }
      pending.clear()
    }
  }
}
