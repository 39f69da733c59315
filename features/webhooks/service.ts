import { createHash, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, z } from 'flylive-audio-server/feature'
import type { config } from './config.ts'
import { adminRoutes } from './admin.ts'
import { createDeliverer } from './deliverer.ts'
import { createIntake, createKeptChanges } from './intake.ts'
import { createReports } from './known-room.ts'
import type { Change } from './known-room.ts'
import { createWebhookMetrics } from './metrics.ts'
import { createRedisStorage } from './queue.redis.ts'
import { createSqliteStorage } from './queue.sqlite.ts'
import type { Target } from './queue.ts'
import { createReconciler, seatEntries, startOf } from './reconciler.ts'
import { createSender } from './sender.ts'

/** The queue of an address. The queue's id contains a hash of the URL, so that each address has its own queue. */
export function targetOf (url: string): Target {
  const { hostname, origin, pathname } = new URL(url)
  return { id: `${hostname.replace(/[^A-Za-z0-9.-]/g, '')}-${createHash('sha256').update(url).digest('hex').slice(0, 8)}`, shownUrl: origin + pathname }
}

/** Starts the webhook feature on this server: observes rooms, adds events to the queues, and delivers the events. */
export async function startWebhooks (app: FeatureInstance, settings: z.output<typeof config> & { secret: string }): Promise<void> {
  const { clock, hooks, keep, log, rooms } = app
  const { urls, secret, timeoutMs, concurrency, retryMs, retryHours, queueLimit, deadLetterLimit } = settings
  const metrics = createWebhookMetrics(app.metrics)
  const limits = { queueLimit, deadLetterLimit }
  const storage = app.redis
    ? createRedisStorage(app.redis, limits)
    : createSqliteStorage(join(app.config.DATA_DIR, 'webhooks.sqlite'), { now: clock.now, process: keep('process', randomUUID), ...limits })
  const targets = urls.map((url) => ({ url, ...targetOf(url) }))

  const deliverers = targets.map(({ url, ...target }) => createDeliverer({
    storage,
    target,
    sender: createSender({ url, secret, timeoutMs, concurrency, clock }),
    timeoutMs,
    concurrency,
    retryMs,
    retryForMs: retryHours * 3_600_000,
    clock,
    metrics,
    log
  }))
  const wake = () => { for (const deliverer of deliverers) deliverer.wake() }
  const intake = createIntake({ storage, targets: targets.map(({ id }) => id), kept: keep('changes', createKeptChanges), onQueued: wake, metrics, log })
  const reconciler = createReconciler(app, storage, intake, metrics)
  app.addHook('onClose', async () => {
    reconciler.close()
    await intake.close()
    await Promise.all(deliverers.map(async (deliverer) => await deliverer.close()))
    await storage.close()
  })

  const report = createReports(clock)
  const add = (roomId: string, change: Change extends infer C ? C extends Change ? Omit<C, 'id' | 'at' | 'order'> : never : never) => intake.add(roomId, { ...report(), ...change } as Change)
  const startedAt = (roomId: string) => rooms.get(roomId)?.record.createdAt

  // Each change triggers one of these hooks once, on only one server.
  hooks.on('room:created', (record) => add(record.roomId, { type: 'started', room: startOf(record) }))
  hooks.on('room:removed', ({ roomId, createdAt }, reason) => add(roomId, { type: 'finished', startedAt: createdAt, reason }))
  hooks.on('room:userJoined', (roomId, user, participantCount) => {
    const record = rooms.get(roomId)?.record
    add(roomId, { type: 'joined', room: record && startOf(record), userKey: userKeyOf(user.userId), data: { userId: user.userId, user, participantCount } })
  })
  hooks.on('room:userLeft', (roomId, { userKey }, reason, count) => add(roomId, { type: 'left', startedAt: startedAt(roomId), userKey, reason, count }))
  hooks.on('seats:updated', (roomId, seats) => add(roomId, { type: 'seats', startedAt: startedAt(roomId), revision: seats.revision, seats: seatEntries(seats) }))
  hooks.on('broadcast:changed', (roomId, onAir, broadcast) => add(roomId, { type: 'broadcast', onAir, ...broadcast }))
  hooks.on('recording:finished', async (roomId, { recordingId, startedBy, startedAt, endedAt = clock.now(), reason = 'stopped', files }) => {
    const listed = files.map(({ name, kind, userId, bytes, seconds }) => ({ name, kind, ...(userId === undefined ? {} : { userId }), bytes, seconds }))
    // The webhook's id is derived from the recording's id and end time, so a repeated call of this hook creates the
    // same id.
    intake.add(roomId, { id: recordingId, at: endedAt, type: 'recorded', data: { recordingId, startedBy, startedAt, endedAt, reason, files: listed } })
    await intake.stored(roomId)
  })

  // Delays the reply to a join until the webhooks about the join are stored, but for at most 3 s.
  hooks.on('room:join', async ({ roomId }) => {
    await intake.stored(roomId)
    return {}
  })

  hooks.on('room:resynced', reconciler.review)
  // This state survives reloads of the feature. A reload misses no changes, so only the first review must include all
  // rooms.
  const start = keep('start', () => ({ isReviewed: false }))
  hooks.on('feature:loaded', (name) => {
    if (name !== 'webhooks') return
    reconciler.reviewAll(!start.isReviewed)
    start.isReviewed = true
  })
  adminRoutes(app, { storage, configured: new Set(targets.map(({ id }) => id)), onRetried: wake })
  await storage.register(targets)
}
