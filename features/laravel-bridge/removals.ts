import { setTimeout as delay } from 'node:timers/promises'
import { userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'

/** Removes members from rooms when the backend kicks or blocks them. */
export interface Removals {
  /**
   * Immediately closes the user's sessions on this server that are in the room. Every server does this when it receives
   * the backend's event. Later, a job closes the sessions on servers that have missed the event.
   *
   * @param eventId the id of the event, which is the same on all servers
   */
  kick (roomId: string, userKey: string, eventId: string): void
  /**
   * Kicks the user like {@link kick} and also bans them. Retries until the ban is stored.
   *
   * @param userId the user's id as lists of bans show it
   */
  block (roomId: string, userId: UserId, eventId: string): Promise<void>
  /** The handler of {@link kickJob}. */
  verifyKick (key: string): Promise<void>
  close (): void
}

/** Job that verifies that a kick reached all servers. */
export const kickJob = 'backend-kick'

/**
 * Delay before the verification, in milliseconds. After this delay, every subscribed server should have handled the
 * event.
 */
const verifyDelayMs = 3000
/**
 * Duration of a ban, in milliseconds: ten years. The backend's blocks never expire, but a ban needs an expiry time.
 */
const blockMs = 10 * 365 * 86_400_000
const retryMs = 1000

export function createRemovals (app: Pick<FeatureInstance, 'clock' | 'cluster' | 'directory' | 'jobs' | 'log' | 'rooms' | 'store'>): Removals {
  const { clock, cluster, directory, jobs, log, rooms, store } = app
  const closing = new AbortController()

  /**
   * Schedules {@link kickJob} once for all servers. The job is delayed, because otherwise its cluster message could
   * reach a server before the backend's event.
   */
  async function scheduleVerification (roomId: string, userKey: string, eventId: string): Promise<void> {
    try {
      if (!await cluster.tryLock(`${kickJob}:${roomId}:${userKey}:${eventId}`, 60_000)) return
      const now = clock.now()
      await jobs.schedule(kickJob, JSON.stringify([roomId, userKey, now]), now + verifyDelayMs)
    } catch (err) {
      log.warn({ err, roomId }, 'failed to schedule the check that a kick by the backend reached all servers')
    }
  }

  return {
    kick (roomId, userKey, eventId) {
      rooms.kickHere(roomId, userKey)
      scheduleVerification(roomId, userKey, eventId)
    },
    async block (roomId, userId, eventId) {
      const userKey = userKeyOf(userId)
      for (let warned = false; !closing.signal.aborted;) {
        try {
          await store.ban(roomId, userKey, clock.now() + blockMs, { userId })
          break
        } catch (err) {
          if (!warned) {
            warned = true
            log.warn({ err, roomId }, 'failed to store a ban by the backend, retrying')
            rooms.kickHere(roomId, userKey)
          }
          await delay(retryMs, undefined, { ref: false, signal: closing.signal }).catch(() => { /* The feature is closing. */ })
        }
      }
      // Removes the user's sessions that joined the room before the ban was stored.
      rooms.kickHere(roomId, userKey)
      scheduleVerification(roomId, userKey, eventId)
    },
    async verifyKick (key) {
      const [roomId, userKey, at] = JSON.parse(key) as [string, string, number]
      const sessions = (await directory.sessionsOf(userKey)).filter((session) => session.roomId === roomId)
      // A user whose sessions all connected after the kick is allowed to stay. A user without a session may still have
      // a seat, so the kick is repeated.
      if (sessions.length === 0 || sessions.some(({ connectedAt }) => connectedAt < at)) await rooms.kick(roomId, userKey)
    },
    close () {
      closing.abort()
    }
  }
}
