import type { FastifyInstance } from 'fastify'
import type { Session } from '../connections/session.ts'
import { recordOf } from '../directory/directory.ts'
import type { Unsynced } from './sync.ts'

/** Stores which room each session is in, so that every server can answer `user:getRoom` and admin requests. */
export interface SessionRecords {
  /** Writes the record of an open session. If the write fails, the reconciler writes the record later. */
  update (session: Session): void
  /** @throws UNAVAILABLE */
  write (session: Session): Promise<void>
  /** Removes a closed session's record. If the removal fails, the reconciler removes the record later. */
  remove (session: Session): void
  /**
   * Retries the removals that failed.
   *
   * @throws UNAVAILABLE
   */
  removeRest (): Promise<void>
}

export function createSessionRecords ({ directory, nodeId }: Pick<FastifyInstance, 'directory' | 'nodeId'>, unsynced: Unsynced): SessionRecords {
  // User keys by session id, for closed sessions whose records may still exist.
  const left = new Map<string, string>()
  const write = (session: Session) => directory.put(session.userKey, recordOf(session, nodeId))
  return {
    write,
    update (session) {
      if (session.open) write(session).catch(() => unsynced.add())
    },
    remove ({ id, userKey }) {
      left.set(id, userKey)
      directory.remove(userKey, id).then(() => left.delete(id), () => unsynced.add())
    },
    async removeRest () {
      for (const [id, userKey] of left) {
        await directory.remove(userKey, id)
        left.delete(id)
      }
    }
  }
}
