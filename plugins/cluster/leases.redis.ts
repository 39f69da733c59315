import type { Redis } from 'ioredis'
import { failClosed } from '../errors/fail-closed.ts'
import { defaultTimings } from '../timings.ts'
import type { NodeLeases } from './leases.ts'

const nodesKey = 'msab:nodes'

/** The Redis key of a server's lease, and the prefix of the server's other keys. */
export const nodeKey = (nodeId: string) => `msab:node:{${nodeId}}`

/**
 * Leases stored in the Redis instance that the servers share.
 *
 * @param nodeId unique id of this process, never reused
 * @param leaseMs lifetime of a lease
 */
export function createRedisLeases (redis: Redis, nodeId: string, leaseMs = defaultTimings.leaseMs): NodeLeases {
  let started = false
  // False from a disconnect until the next renewal of the lease. That renewal detects whether Redis has lost its data.
  let verified = true
  let lapsed = false
  let lostAt = -Infinity
  redis.on('close', () => { verified = false })
  // Renew the lease now: requests from other servers fail while this server has no lease.
  redis.on('ready', () => { if (started) renew().catch(() => { /* The next heartbeat tries again. */ }) })

  async function renew (): Promise<void> {
    const [before] = await Promise.all([redis.set(nodeKey(nodeId), 1, 'PX', leaseMs, 'GET'), redis.sadd(nodesKey, nodeId)])
    if (before === null) {
      lapsed = true
      if (started) lostAt = performance.now()
    }
    started = true
    verified = true
  }

  const areAlive = async (nodeIds: readonly string[]) =>
    (await Promise.all(nodeIds.map((id) => redis.exists(nodeKey(id))))).map((count) => count === 1)

  return failClosed<NodeLeases>({
    async heartbeat () {
      await renew()
      const kept = !lapsed
      lapsed = false
      return kept
    },
    areAlive,
    async listDead () {
      const nodes = await redis.smembers(nodesKey)
      const alive = await areAlive(nodes)
      return nodes.filter((id, i) => !alive[i] && id !== nodeId)
    },
    async remove (id) {
      await Promise.all([redis.del(nodeKey(id)), redis.srem(nodesKey, id)])
    },
    async msSinceLoss () {
      if (started && !verified) await renew()
      return performance.now() - lostAt
    }
  })
}
