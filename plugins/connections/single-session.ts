import type { Cluster } from '../cluster/messages.ts'
import type { SessionRegistry } from './registry.ts'
import type { Session } from './session.ts'

declare module '../cluster/messages.ts' {
  interface ClusterMessages {
    /** Closes all connections of a user but one. */
    'user:replaced': { userKey: string, keep: string }
  }
}

/**
 * Closes a user's older connections on all servers when a new one opens.
 *
 * @returns called with each new connection
 */
export function replaceOlderSessions (cluster: Cluster, sessions: Pick<SessionRegistry, 'ofUser'>): (session: Session) => void {
  // All servers receive logins in one order. A session whose own login has not
  // arrived yet is newer than the login that just arrived.
  const announced = new WeakSet<Session>()
  cluster.on('user:replaced', ({ userKey, keep }) => {
    for (const session of sessions.ofUser(userKey)) {
      if (session.id === keep) announced.add(session)
      else if (announced.has(session)) session.close('REPLACED')
    }
  })
  return ({ userKey, id }) => { cluster.send('user:replaced', { userKey, keep: id }) }
}
