import { setTimeout as delay } from 'node:timers/promises'
import type { FeatureInstance } from 'flylive-audio-server/feature'

/** Ends memberships that the backend has ended. */
export interface Endings {
  /**
   * Ends a user's sockets in a room on this server, at once; each server does
   * so when it has passed the event on. That those of a server that did not hear
   * of it end, too, is seen to a little later.
   *
   * @param eventId the same on all servers
   */
  kick (roomId: string, userKey: string, eventId: string): void
  /** As {@link kick}, and the user can't come back. Tried again until the store has it. */
  block (roomId: string, userKey: string, eventId: string): Promise<void>
  /** The handler of {@link kickJob}. */
  make (key: string): Promise<void>
  close (): void
}

/** The job's name for making sure that a kick reached all servers. */
export const kickJob = 'backend-kick'

/** By then every server that hears has passed the event on, in milliseconds. */
const makeSureMs = 3000
/** A block of the backend has no end; this is as good as none, in milliseconds. */
const blockMs = 10 * 365 * 86_400_000
const retryMs = 1000

export function createEndings (app: Pick<FeatureInstance, 'cluster' | 'directory' | 'jobs' | 'log' | 'rooms' | 'store'>): Endings {
  const { cluster, directory, jobs, log, rooms, store } = app
  const closing = new AbortController()

  /** Over the bus at once it could overtake the event on other servers, so it waits; one server does it for all. */
  async function makeSure (roomId: string, userKey: string, eventId: string): Promise<void> {
    try {
      if (!await cluster.tryLock(`${kickJob}:${roomId}:${userKey}:${eventId}`, 60_000)) return
      const now = Date.now()
      await jobs.schedule(kickJob, JSON.stringify([roomId, userKey, now]), now + makeSureMs)
    } catch (err) {
      log.warn({ err, roomId }, 'a kick of the backend was carried out on this server only')
    }
  }

  return {
    kick (roomId, userKey, eventId) {
      rooms.kickHere(roomId, userKey)
      makeSure(roomId, userKey, eventId)
    },
    async block (roomId, userKey, eventId) {
      for (let told = false; !closing.signal.aborted;) {
        try {
          await store.ban(roomId, userKey, Date.now() + blockMs)
          break
        } catch (err) {
          if (!told) {
            told = true
            log.warn({ err, roomId }, 'a block of the backend is noted later')
            rooms.kickHere(roomId, userKey)
          }
          await delay(retryMs, undefined, { ref: false, signal: closing.signal }).catch(() => { /* Closed. */ })
        }
      }
      // Who was coming in before the ban was there.
      rooms.kickHere(roomId, userKey)
      makeSure(roomId, userKey, eventId)
    },
    async make (key) {
      const [roomId, userKey, at] = JSON.parse(key) as [string, string, number]
      const there = (await directory.sessionsOf(userKey)).filter((session) => session.roomId === roomId)
      // Who has come back since was let in again. Who is not there may still be waited for, on a seat say.
      if (there.length === 0 || there.some(({ connectedAt }) => connectedAt < at)) await rooms.kick(roomId, userKey)
    },
    close () {
      closing.abort()
    }
  }
}
