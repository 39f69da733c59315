import type { FastifyInstance } from 'fastify'
import type { Session } from '../connections/session.ts'
import { recordOf } from '../directory/directory.ts'
import { withDetails } from '../errors/codes.ts'
import { MediaLimit } from './errors.ts'

/** Limits the number of rooms in which a user has audio. */
export interface AudioQuota {
  /**
   * Counts the room towards the user's limit, which applies to all servers together, until {@link release} is called.
   *
   * @throws MEDIA_LIMIT (details `{limit}`) if the user has audio in too many other rooms
   */
  claim (session: Session, roomId: string): Promise<void>
  release (session: Session): void
}

export function createAudioQuota ({ config, directory, nodeId, sockets }: Pick<FastifyInstance, 'config' | 'directory' | 'nodeId' | 'sockets'>): AudioQuota {
  const limit = config.MEDIA_ROOMS_PER_USER
  /** Writes the session's record, unless the session has ended: its record is then removed and must not be restored. */
  const record = async (session: Session) => { if (session.open) await directory.put(session.userKey, recordOf(session, nodeId)) }

  return {
    async claim (session, roomId) {
      // Count this session before the lookup, so that concurrent lookups include this session. If the lookup fails,
      // only the sessions on this server are counted.
      session.hasAudio = true
      const [, found] = await Promise.all([record(session), directory.sessionsOf(session.userKey)]).catch(() => [undefined, []] as const)
      const here = [...sockets.ofUser(session.userKey)]
      const rooms = [...here, ...found.filter((other) => other.nodeId !== nodeId)].filter(({ hasAudio }) => hasAudio === true).map((other) => other.roomId)
      if (new Set(rooms.filter((id) => id !== null && id !== roomId)).size < limit) return
      this.release(session)
      throw withDetails(new MediaLimit(limit), { limit })
    },
    release (session) {
      session.hasAudio = false
      record(session).catch(() => { /* The room counts towards the limit until the session leaves it or ends. */ })
    }
  }
}
