import type { Redis } from 'ioredis'
import type { NodeLeases } from '../cluster/leases.ts'
import { failClosed } from '../redis/fail-closed.ts'
import type { SessionDirectory, SessionRecord } from './directory.ts'

// Sessions of a server that died are left out by its lease; this only removes
// records that are no longer read.
const ttlSeconds = 86_400

const keyOf = (userKey: string) => `msab:user:{${userKey}}:sessions`

/** The session directory of servers that share a Redis. */
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
