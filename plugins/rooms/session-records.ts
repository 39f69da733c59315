import type { FastifyInstance } from 'fastify'
import type { Session } from '../connections/session.ts'
import { recordOf } from '../directory/directory.ts'
import type { Unsynced } from './sync.ts'

/** Records each session's room, so that any server can look it up for `user:getRoom` and for admins. */
export interface SessionRecords {
  /** Writes the record of an open session. If that fails, the reconciler writes the record later. */
  update (session: Session): void
  /** @throws UNAVAILABLE */
  write (session: Session): Promise<void>
  /** Removes a closed session's record. If that fails, the reconciler removes the record later. */
  remove (session: Session): void
  /**
   * Retries the removals that failed.
   *
   * @throws UNAVAILABLE
   */
  removeRest (): Promise<void>
}

export function createSessionRecords ({ directory, nodeId }: Pick<FastifyInstance, 'directory' | 'nodeId'>, unsynced: Unsynced): SessionRecords {
  // The user keys of closed sessions whose records may not have been removed yet, by session id.
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
