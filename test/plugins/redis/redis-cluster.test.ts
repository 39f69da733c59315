import t from 'tap'
import { build } from '../../support/build.ts'
import { redisCommand } from '../../support/redis.ts'
import { startRedisCluster } from '../../support/redis-cluster.ts'
import { until } from '../../support/retry.ts'
import { followFailover } from './failover.ts'

// redis-cluster.long.ts tests the stores in a Redis Cluster, and a failover in which the old primary hangs.

t.test('two servers follow a failover of a Redis Cluster: rooms, gifts and audio between the servers continue', async (t) => {
  const { env, primary, replica } = await startRedisCluster(t)
  await t.rejects(build(t, { env: { FEATURES: 'auth', REDIS_URL: `redis://127.0.0.1:${primary.port}` } }), /node of a Redis Cluster: set REDIS_CLUSTER_NODES/)
  await followFailover(t, env, primary)
  t.match(await redisCommand(replica.port, 'ROLE'), ['master'])

  // The old primary returns as a replica.
  await primary.start()
  await until(async () => JSON.stringify(await redisCommand(primary.port, 'ROLE')).includes('slave'), 30_000)
  t.pass()
})
