import type { FastifyInstance } from 'fastify'
import type { Session } from '../connections/session.ts'
import { recordOf } from '../directory/directory.ts'
import type { Unsynced } from './sync.ts'

/** Records the room of each session, so that `user:getRoom` and admins on any server can look it up. */
export interface SessionRecords {
  /** Writes the record of an open session. If that fails, the reconciler writes it later. */
  update (session: Session): void
  /** @throws UNAVAILABLE */
  write (session: Session): Promise<void>
  remove (session: Session): void
}

export function createSessionRecords ({ directory, nodeId }: Pick<FastifyInstance, 'directory' | 'nodeId'>, unsynced: Unsynced): SessionRecords {
  const write = (session: Session) => directory.put(session.userKey, recordOf(session, nodeId))
  return {
    write,
    update (session) {
      if (session.open) write(session).catch(() => unsynced.add())
    },
    remove ({ id, userKey }) {
      directory.remove(userKey, id).catch(() => { /* The record expires. Readers ignore it once this server's lease has ended. */ })
    }
  }
}
