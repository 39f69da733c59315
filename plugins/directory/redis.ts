import type { Redis } from 'ioredis'
import type { NodeLeases } from '../cluster/leases.ts'
import { failClosed } from '../redis/fail-closed.ts'
import type { SessionDirectory, SessionRecord } from './directory.ts'

// Readers ignore the sessions of a server whose lease has expired. The TTL only removes their records.
const ttlSeconds = 86_400

const keyOf = (userKey: string) => `msab:user:{${userKey}}:sessions`

/** A session directory for servers that share a Redis. */
export function createRedisDirectory (redis: Redis, leases: Pick<NodeLeases, 'areAlive'>): SessionDirectory {
  return failClosed<SessionDirectory>({
    async put (userKey, session) {
      const key = keyOf(userKey)
      await Promise.all([redis.hset(key, session.sessionId, JSON.stringify(session)), redis.expire(key, ttlSeconds)])
    },
    async remove (userKey, sessionId) {
      await redis.hdel(keyOf(userKey), sessionId)
    },
    async sessionsOf (userKey) {
      const all = Object.values(await redis.hgetall(keyOf(userKey))).map((text) => JSON.parse(text) as SessionRecord)
      const nodes = [...new Set(all.map(({ nodeId }) => nodeId))]
      const alive = await leases.areAlive(nodes)
      return all.filter(({ nodeId }) => alive[nodes.indexOf(nodeId)])
    }
  })
}
