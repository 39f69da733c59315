import type { Redis } from 'ioredis'
import type { NodeLeases } from '../../cluster/leases.ts'
import { nodeKey } from '../../cluster/leases.redis.ts'
import { createClock } from '../../clock.ts'
import type { Clock } from '../../clock.ts'
import { failClosed } from '../../errors/fail-closed.ts'
import { defaultTimings } from '../../timings.ts'
import type { RoomStore } from '../store.ts'
import { defineCommands } from './commands.ts'
import { createRedisMembers } from './members.ts'
import { createRedisNodeMembers } from './node-members.ts'
import { createRedisRecords } from './records.ts'
import { createRoomIndex } from './room-index.ts'
import { createRedisState } from './state.ts'

/** Lifetime of the test value that a check of Redis writes, in milliseconds. */
const checkTtlMs = 60_000

/**
 * The room store in the Redis instance that the servers share. Most methods take one round trip: a Lua script, or
 * commands that the client pipelines.
 *
 * @param redis a client whose commands fail immediately while the client is disconnected
 * @param nodeId unique id of this process, never reused
 * @param recoveryMs see plugins/timings.ts
 */
export function createRedisStore (redis: Redis, nodeId: string, leases: Pick<NodeLeases, 'msSinceLoss'>, recoveryMs = defaultTimings.recoveryMs, clock: Clock = createClock()): RoomStore {
  defineCommands(redis)
  const index = createRoomIndex(redis, nodeId)
  return failClosed<RoomStore>({
    kind: 'redis',
    async check () {
      await redis.set(`${nodeKey(nodeId)}:check`, 1, 'PX', checkTtlMs)
    },
    ...createRedisMembers(redis, nodeId, index, leases, recoveryMs),
    ...createRedisRecords(redis, nodeId, index),
    ...createRedisState(redis, recoveryMs),
    ...createRedisNodeMembers(redis, nodeId, index, clock)
  })
}
