import type { Session, UserId } from '../connections/session.ts'

/** One of a user's connected sessions. */
export interface SessionRecord {
  sessionId: string
  /** The user's id, with the type that it has in the token. Missing if an earlier version wrote the record. */
  userId?: UserId
  nodeId: string
  /** The room that the session is in. */
  roomId: string | null
  /** Epoch milliseconds. */
  connectedAt: number
  /** Whether the session sends or receives audio. */
  hasAudio?: boolean
}

/** @returns the record of an open session */
export const recordOf = ({ id, user, roomId, connectedAt, hasAudio }: Pick<Session, 'id' | 'user' | 'roomId' | 'connectedAt' | 'hasAudio'>, nodeId: string): SessionRecord =>
  ({ sessionId: id, userId: user.id, nodeId, roomId, connectedAt, ...(hasAudio ? { hasAudio } : {}) })

/** The sessions of all users, on all servers. All methods throw UNAVAILABLE while the store cannot be reached. */
export interface SessionDirectory {
  /** Records a user's session, replacing any earlier record of the session. */
  put (userKey: string, session: SessionRecord): Promise<void>
  remove (userKey: string, sessionId: string): Promise<void>
  /** Removes all sessions of a dead server. Does nothing if the server is alive. */
  removeNode (nodeId: string): Promise<void>
  /** @returns the user's sessions on servers that are alive */
  sessionsOf (userKey: string): Promise<SessionRecord[]>
}
