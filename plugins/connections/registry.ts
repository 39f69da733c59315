import type { Session } from './session.ts'

/** The sessions of this server, by id and by user. */
export interface SessionRegistry {
  readonly size: number
  add (session: Session): void
  remove (session: Session): void
  get (sessionId: string): Session | undefined
  all (): IterableIterator<Session>
  ofUser (userKey: string): Iterable<Session>
}

export function createSessionRegistry (): SessionRegistry {
  const sessions = new Map<string, Session>()
  const byUser = new Map<string, Set<Session>>()

  return {
    get size () {
      return sessions.size
    },
    add (session) {
      sessions.set(session.id, session)
      const ofUser = byUser.get(session.userKey)
      if (ofUser) ofUser.add(session)
      else byUser.set(session.userKey, new Set([session]))
    },
    remove (session) {
      sessions.delete(session.id)
      const ofUser = byUser.get(session.userKey)
      ofUser?.delete(session)
      if (ofUser?.size === 0) byUser.delete(session.userKey)
    },
    get: (sessionId) => sessions.get(sessionId),
    all: () => sessions.values(),
    ofUser: (userKey) => byUser.get(userKey) ?? []
  }
}
