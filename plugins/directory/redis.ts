import type { Redis, Result } from 'ioredis'
import { nodeKey } from '../cluster/leases.redis.ts'
import type { NodeLeases } from '../cluster/leases.ts'
import { failClosed } from '../errors/fail-closed.ts'
import type { SessionDirectory, SessionRecord } from './directory.ts'

// Lifetime of session records. A server rewrites the records of its open sessions before they expire. Readers ignore
// the sessions of a server whose lease has expired, and another server removes them. If no other server is running, the
// records expire.
const ttlSeconds = 86_400

const keyOf = (userKey: string) => `msab:user:{${userKey}}:sessions`
/** The key of the set that contains a server's sessions; each entry is `<session> <user>`. */
const sessionsKey = (nodeId: string) => `${nodeKey(nodeId)}:sessions`
const entryOf = (userKey: string, sessionId: string) => `${sessionId} ${userKey}`

/**
 * KEYS sessions of the user, sessions of the server — ARGV session, record, entry, seconds to keep
 *
 * Adds or replaces a session's record.
 */
const putSession = `
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[4])
`

/** Maximum number of sessions that one call of the script removes. */
const batch = 500

/**
 * KEYS lease sessions key … — ARGV entry field …
 *
 * Removes a server's sessions. Does nothing if the server holds a lease again, because that server then restores its
 * own sessions.
 */
const removeSessions = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for i = 1, #KEYS - 2 do
  redis.call('HDEL', KEYS[i + 2], ARGV[2 * i])
  redis.call('SREM', KEYS[2], ARGV[2 * i - 1])
end
return 1
`

declare module 'ioredis' {
  interface RedisCommander<Context> {
    msabPutSession (user: string, node: string, sessionId: string, record: string, entry: string, ttlSeconds: number): Result<null, Context>
    msabRemoveSessions (numberOfKeys: number, ...keysAndEntries: string[]): Result<number, Context>
  }
}

/** A session directory for servers that share a Redis. */
export function createRedisDirectory (redis: Redis, leases: Pick<NodeLeases, 'areAlive'>): SessionDirectory {
  redis.defineCommand('msabPutSession', { numberOfKeys: 2, lua: putSession })
  redis.defineCommand('msabRemoveSessions', { lua: removeSessions })
  // The ids of the servers in this process. Only tests run several servers in one process.
  const nodes = new Set<string>()

  return failClosed<SessionDirectory>({
    async put (userKey, session) {
      const { nodeId, sessionId } = session
      nodes.add(nodeId)
      await redis.msabPutSession(keyOf(userKey), sessionsKey(nodeId), sessionId, JSON.stringify(session), entryOf(userKey, sessionId), ttlSeconds)
    },
    async remove (userKey, sessionId) {
      await Promise.all([
        redis.hdel(keyOf(userKey), sessionId),
        ...[...nodes].map((nodeId) => redis.srem(sessionsKey(nodeId), entryOf(userKey, sessionId)))
      ])
    },
    async removeNode (nodeId) {
      for (;;) {
        const entries = await redis.srandmember(sessionsKey(nodeId), batch)
        if (entries.length === 0) return
        const keys = entries.map((entry) => keyOf(entry.slice(entry.indexOf(' ') + 1)))
        const args = entries.flatMap((entry) => [entry, entry.slice(0, entry.indexOf(' '))])
        if (await redis.msabRemoveSessions(keys.length + 2, nodeKey(nodeId), sessionsKey(nodeId), ...keys, ...args) === 0) return
      }
    },
    async sessionsOf (userKey) {
      const all = Object.values(await redis.hgetall(keyOf(userKey))).map((text) => JSON.parse(text) as SessionRecord)
      const nodes = [...new Set(all.map(({ nodeId }) => nodeId))]
      const alive = await leases.areAlive(nodes)
      return all.filter(({ nodeId }) => alive[nodes.indexOf(nodeId)])
    }
  })
}
