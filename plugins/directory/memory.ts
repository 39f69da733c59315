import type { SessionDirectory, SessionRecord } from './directory.ts'

/** A session directory for a single server, kept in this process's memory. */
export function createMemoryDirectory (): SessionDirectory {
  const users = new Map<string, Map<string, SessionRecord>>()
  return {
    async put (userKey, session) {
      const sessions = users.get(userKey) ?? new Map<string, SessionRecord>()
      users.set(userKey, sessions.set(session.sessionId, session))
    },
    async remove (userKey, sessionId) {
      const sessions = users.get(userKey)
      sessions?.delete(sessionId)
      if (sessions?.size === 0) users.delete(userKey)
    },
    async removeNode () { /* This server is the only server, so no dead server exists. */ },
    async sessionsOf (userKey) {
      return [...users.get(userKey)?.values() ?? []]
    }
  }
}
