import type { Test } from 'tap'
import { closeIdleRooms } from '../../../features/auto-close/sweep.ts'
import type { UserId } from '../../../plugins/connections/session.ts'
import type { FeatureInstance } from '../../../plugins/features/feature.ts'
import { createRedisStore } from '../../../plugins/store/redis/index.ts'
import type { RoomStore } from '../../../plugins/store/store.ts'
import type { Backend } from '../../support/backend.ts'
import type { TestServer } from '../../support/build.ts'
import { until } from '../../support/retry.ts'

export interface Removal {
  roomId: string
  reason: string
  at: number
}

/** Records the rooms that a server removes, in order. */
export function removals (server: TestServer): Removal[] {
  const found: Removal[] = []
  server.app.hooks.on('room:removed', ({ roomId }, reason) => found.push({ roomId, reason, at: Date.now() }))
  return found
}

/**
 * Starts periodic sweeps of empty rooms on a server that runs without the `auto-close` feature. The first sweep runs
 * after 1 s.
 */
export function startSweep (t: Test, server: TestServer, idleMs: number): { stop (): Promise<void> } {
  const sweep = closeIdleRooms(server.app as Pick<TestServer['app'], 'clock' | 'log' | 'metrics' | 'rooms'> & Pick<FeatureInstance, 'store'>, idleMs)
  t.teardown(() => sweep.stop())
  return sweep
}

/**
 * Returns a store in which a test can create rooms whose members have no sessions. With Redis, these members belong to
 * a server that does not exist, because a real server's first sync with Redis removes the server's members that have no
 * session.
 */
export function storeElsewhere ({ app }: TestServer): RoomStore {
  return app.store.kind === 'redis' ? createRedisStore(app.redis, 'elsewhere', app.leases) : app.store
}

/** Creates rooms that have been empty since a given time. */
export async function createEmptyRooms (store: RoomStore, roomIds: readonly string[], leftAt: number, userId: UserId = 1): Promise<void> {
  await createOccupiedRooms(store, roomIds, Math.min(leftAt, Date.now()) - 60_000, userId)
  await inBatches(roomIds, (roomId) => store.leave(roomId, `${roomId} ${userId}`, String(userId), leftAt))
}

export async function createOccupiedRooms (store: RoomStore, roomIds: readonly string[], since = Date.now(), userId: UserId = 1): Promise<void> {
  await inBatches(roomIds, (roomId) => store.join({
    roomId,
    sessionId: `${roomId} ${userId}`,
    userKey: String(userId),
    profile: { userId, id: userId },
    limit: 10,
    create: { roomId, ownerId: userId, createdAt: since, options: {}, locked: false },
    now: since
  }))
}

/** Makes calls in batches of 100, because larger batches could exceed the store's timeout. */
async function inBatches (roomIds: readonly string[], act: (roomId: string) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < roomIds.length; i += 100) await Promise.all(roomIds.slice(i, i + 100).map(act))
}

/** Creates empty rooms that the backend still considers live. */
export async function leaveRooms (servers: readonly TestServer[], backend: Backend, roomIds: readonly string[]): Promise<void> {
  const clients = await Promise.all(Array.from({ length: 6 }, (_, i) => (servers[i % servers.length] as TestServer).connect(i)))
  await Promise.all(clients.map(async (client, i) => {
    for (const roomId of roomIds.filter((_, n) => n % clients.length === i)) {
      await client.ok('room:join', { roomId })
      await client.ok('room:leave')
    }
  }))
  const live = new Set(roomIds)
  await until(() => {
    for (const { roomId } of backend.statuses) live.delete(roomId)
    return live.size === 0
  })
}

/** Waits until the backend has received all statuses, then checks that each room's end was reported exactly once. */
export async function assertEndedOnce (t: Test, server: TestServer, backend: Backend, roomIds: readonly string[]): Promise<void> {
  await until(async () => (await server.app.kv.namespace('room-status').list()).length === 0)
  const wrong = roomIds.map((roomId) => ({ roomId, statuses: backend.statuses.filter((item) => item.roomId === roomId).map(({ status }) => status) }))
    .filter(({ statuses }) => statuses.at(-1)?.is_live !== false || statuses.filter((status) => !status.is_live).length !== 1)
  t.same(wrong, [], 'the backend received the end of each room once')
}

export const names = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
