import type { FastifyInstance } from 'fastify'
import { recordOf } from './directory.ts'

/** Number of parts into which {@link createRenewal} divides the sessions. */
export const parts = 360
/** Time between the renewals of two parts, in milliseconds. Each record is therefore rewritten every six hours. */
export const renewalIntervalMs = 60_000

/**
 * Keeps the records of this server's sessions from expiring: a session may stay open for days without any change that
 * rewrites its record.
 *
 * @returns a function that rewrites the records of the next part of the open sessions. To spread the writes evenly, the
 *   random id of a session determines the session's part
 */
export function createRenewal ({ directory, nodeId, sockets }: Pick<FastifyInstance, 'directory' | 'nodeId' | 'sockets'>): () => Promise<void> {
  let next = 0
  return async () => {
    const part = next
    next = (next + 1) % parts
    const sessions = [...sockets.all()].filter(({ id, open }) => open && Number.parseInt(id.slice(0, 8), 16) % parts === part)
    // A record that cannot be written now is written in the next round, long before it expires.
    await Promise.allSettled(sessions.map((session) => directory.put(session.userKey, recordOf(session, nodeId))))
  }
}
