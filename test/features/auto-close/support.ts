import type { Test } from 'tap'
import { closeIdleRooms } from '../../../features/auto-close/sweep.ts'
import type { UserId } from '../../../plugins/connections/user.ts'
import type { RoomStore } from '../../../plugins/store/store.ts'
import type { Backend } from '../../support/backend.ts'
import type { TestServer } from '../../support/build.ts'
import { until } from '../../support/retry.ts'

export interface Removal {
  roomId: string
  reason: string
  at: number
}

/** The rooms that a server removes from now on, in order. */
export function removals (server: TestServer): Removal[] {
  const found: Removal[] = []
  server.app.hooks.on('room:removed', ({ roomId }, reason) => found.push({ roomId, reason, at: Date.now() }))
  return found
}

/** Sweeps on a server that was built without the feature; its first look is a second from now. */
export function sweeping (t: Test, server: TestServer, idleMs: number): { stop (): Promise<void> } {
  const sweep = closeIdleRooms(server.app, idleMs)
  t.teardown(() => sweep.stop())
  return sweep
}

/** Makes rooms that somebody came to and left, at a time. */
export async function abandon (store: RoomStore, roomIds: readonly string[], leftAt: number, userId: UserId = 1): Promise<void> {
  await occupy(store, roomIds, Math.min(leftAt, Date.now()) - 60_000, userId)
  await inTurn(roomIds, (roomId) => store.leave(roomId, `${roomId} ${userId}`, String(userId), leftAt))
}

/** Makes rooms that somebody is in. */
export async function occupy (store: RoomStore, roomIds: readonly string[], since = Date.now(), userId: UserId = 1): Promise<void> {
  await inTurn(roomIds, (roomId) => store.join({
    roomId,
    sessionId: `${roomId} ${userId}`,
    userKey: String(userId),
    profile: { userId, id: userId },
    limit: 10,
    create: { roomId, ownerId: userId, createdAt: since, seatCount: 8, locked: false },
    now: since
  }))
}

/** A hundred at a time: a store that is asked a thousand things at once may not answer the last in time. */
async function inTurn (roomIds: readonly string[], act: (roomId: string) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < roomIds.length; i += 100) await Promise.all(roomIds.slice(i, i + 100).map(act))
}

/** Makes rooms that a backend knows to be live, and that everybody has left. */
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

/** Waits until all that is to be said of rooms has been said, and checks that it was said once that they ended. */
export async function toldOnce (t: Test, server: TestServer, backend: Backend, roomIds: readonly string[]): Promise<void> {
  await until(async () => (await server.app.kv.namespace('room-status').list()).length === 0)
  const wrong = roomIds.map((roomId) => ({ roomId, told: backend.statuses.filter((item) => item.roomId === roomId).map(({ status }) => status) }))
    .filter(({ told }) => told.at(-1)?.is_live !== false || told.filter((status) => !status.is_live).length !== 1)
  t.same(wrong, [], 'the backend has heard once of each room that it ended')
}

export const names = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
