import type { Test } from 'tap'
import { clusterKeyPrefix } from '../../plugins/redis/redis-cluster.ts'
import { freePort, redisCommand, startRedis } from './redis.ts'
import type { TestRedis } from './redis.ts'
import { until } from './retry.ts'

/** The number of hash slots of a Redis Cluster. */
const slots = 16_384

/** A Redis Cluster of several processes. */
export interface TestRedisCluster {
  /** The environment of a server that uses the cluster. */
  env: { REDIS_CLUSTER_NODES: string, REDIS_DB: string }
  /** The primary that stores all keys of `REDIS_DB`; `replica` is the replica of this primary. */
  primary: TestRedis
  replica: TestRedis
  /** The other primaries. */
  others: readonly TestRedis[]
}

/**
 * Starts three primaries, and a replica of the primary that stores the keys. If that primary does not respond for a
 * second, the replica replaces it. All processes are stopped after the test.
 */
export async function startRedisCluster (t: Test): Promise<TestRedisCluster> {
  const db = '2'
  const start = async () => {
    const busPort = await freePort()
    return { busPort, redis: await startRedis(t, '127.0.0.1', ['--cluster-enabled', 'yes', '--cluster-port', String(busPort), '--cluster-node-timeout', '1000']) }
  }
  const nodes = [await start(), await start(), await start(), await start()] as const
  const [first, ...rest] = nodes
  for (const [i, { redis }] of nodes.entries()) {
    await redisCommand(redis.port, 'CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
    if (i < 3) await redisCommand(redis.port, 'CLUSTER', 'ADDSLOTSRANGE', Math.floor(i * slots / 3), Math.floor((i + 1) * slots / 3) - 1)
  }
  for (const { redis, busPort } of rest) await redisCommand(first.redis.port, 'CLUSTER', 'MEET', '127.0.0.1', redis.port, busPort)
  const infoOf = async ({ redis }: typeof first) => String(await redisCommand(redis.port, 'CLUSTER', 'INFO'))
  await until(async () => (await Promise.all(nodes.map(infoOf))).every((info) => /cluster_state:ok/.test(info) && /cluster_known_nodes:4/.test(info)), 30_000)

  const slot = Number(await redisCommand(first.redis.port, 'CLUSTER', 'KEYSLOT', clusterKeyPrefix(Number(db))))
  const primaries = nodes.slice(0, 3).map(({ redis }) => redis)
  const primary = primaries[Math.min(2, Math.floor(slot * 3 / slots))] as TestRedis
  const replica = nodes[3].redis
  await redisCommand(replica.port, 'CLUSTER', 'REPLICATE', String(await redisCommand(primary.port, 'CLUSTER', 'MYID')))
  // Wait until all nodes list the replica, because the other primaries elect it.
  for (const { redis } of nodes) await until(async () => JSON.stringify(await redisCommand(redis.port, 'CLUSTER', 'SLOTS')).includes(String(replica.port)), 30_000)
  await until(async () => /master_link_status:up/.test(String(await redisCommand(replica.port, 'INFO', 'replication'))), 30_000)
  return {
    env: { REDIS_CLUSTER_NODES: primaries.map(({ port }) => `127.0.0.1:${port}`).join(','), REDIS_DB: db },
    primary,
    replica,
    others: primaries.filter((one) => one !== primary)
  }
}
