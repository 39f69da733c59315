import { randomUUID } from 'node:crypto'
import fp from 'fastify-plugin'
import { databaseOf } from '../redis/database.ts'
import type { Bus } from './bus.ts'
import { createLocalBus } from './bus.local.ts'
import { createRedisBus } from './bus.redis.ts'
import { createCluster } from './cluster.ts'
import { createMemoryLeases } from './leases.ts'
import type { NodeLeases } from './leases.ts'
import { createRedisLeases } from './leases.redis.ts'
import { createMemoryLocks, createRedisLocks } from './locks.ts'
import type { Cluster } from './messages.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Unique id of this process: NODE_ID plus a suffix that differs on each start. */
    nodeId: string
    bus: Bus
    leases: NodeLeases
    cluster: Cluster
  }
}

/**
 * Connects the servers of one deployment with a message bus, leases, requests and locks. If Redis is not configured,
 * this process is the only server.
 */
export default fp(async function cluster (app) {
  const nodeId = `${app.config.NODE_ID}-${randomUUID().slice(0, 8)}`
  const redis = app.hasDecorator('redis') ? app.redis : undefined
  const bus = redis ? await createRedisBus(redis, databaseOf(app.config, redis), nodeId, app.log) : createLocalBus()
  app.decorate('nodeId', nodeId)
  app.log.info({ nodeId }, 'server starting')
  app.decorate('bus', bus)
  const leases = redis ? createRedisLeases(redis, nodeId, app.timings.leaseMs) : createMemoryLeases(nodeId)
  const locks = redis ? createRedisLocks(redis, nodeId) : createMemoryLocks()
  app.decorate('leases', leases)
  app.decorate('cluster', await createCluster({ bus, leases, locks, nodeId, registrations: app.registrations }))
  app.addHook('onClose', async () => bus.close())
}, { name: 'cluster', dependencies: ['config', 'registrations', 'timings', 'redis'] })
