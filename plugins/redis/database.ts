import type { Redis } from 'ioredis'
import type { Config } from '../../config/load.ts'

/** @returns the number of the database that the client uses. In a Redis Cluster, the number is part of every key */
export const databaseOf = ({ REDIS_CLUSTER_NODES, REDIS_DB }: Pick<Config, 'REDIS_CLUSTER_NODES' | 'REDIS_DB'>, { options }: Redis): number =>
  REDIS_CLUSTER_NODES.length > 0 ? REDIS_DB : options.db ?? 0
