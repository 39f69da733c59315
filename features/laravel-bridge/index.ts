import { defineFeature, RoomNotFound } from 'flylive-audio-server/feature'
import type { FeatureInstance, Redis } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { createRemovals, kickJob } from './removals.ts'
import { processGifts } from './gifts.ts'
import type { GiftFailure, GiftTransaction } from './gifts.ts'
import { relayedEvents } from './messages.ts'
import { createRelay, createRelayHistory, relayMetrics } from './relay.ts'
import { createCachedRights, createRights } from './rights.ts'
import type { Rights } from './rights.ts'
import { createRememberedStatus, createRoomStatus, statusJob } from './status.ts'
import { createSubscription } from './subscription.ts'

export interface LaravelBridge {
  /** Timeout of a call to the backend, in milliseconds. */
  readonly timeoutMs: number
  /**
   * Sends gifts to the backend, which charges the senders.
   *
   * @throws UNAVAILABLE or BACKEND_FAILED. After either error, the caller must send all gifts again
   */
  processGifts (transactions: readonly GiftTransaction[]): Promise<{ failed: readonly GiftFailure[] }>
}

export { config }
export * as errors from './errors.ts'

declare module 'flylive-audio-server/feature' {
  interface FeatureInstance {
    laravelBridge: LaravelBridge
  }
}

/**
 * Connects the server to the backend. The backend provides room owners, user roles and events for clients, charges for
 * gifts, and receives the status of rooms.
 */
export default defineFeature(async function laravelBridge (app, { url, key, timeoutMs, events, eventsChannel }) {
  const { hooks, metrics, store } = app
  if (url === undefined || key === undefined) throw new Error('laravel-bridge needs LARAVEL_API_URL and LARAVEL_INTERNAL_KEY')
  app.messages.events(relayedEvents(events))
  // This import is dynamic, so that a server without a backend does not load the HTTP client.
  const { createClient } = await import('./client.ts')
  const client = createClient({ url, key, timeoutMs, metrics })
  app.addHook('onClose', async () => client.close())

  const rights = createRights({ client, metrics, cached: app.keep('rights', createCachedRights) })
  hooks.on('room:create', async (roomId) => {
    const ownerId = await rights.ownerOf(roomId)
    if (ownerId === undefined) throw new RoomNotFound(roomId)
    return { ownerId }
  })
  hooks.on('room:role', async (room, session) => await rights.roleOf(room, session.userKey))
  hooks.on('room:owner', async (room) => await rights.ownerOf(room.roomId))

  const status = createRoomStatus({ clock: app.clock, jobs: app.jobs, kv: app.kv, log: app.log, store, client, remembered: app.keep('status', createRememberedStatus) })
  app.jobs.on(statusJob, status.sync)
  hooks.on('room:created', ({ roomId }) => status.changed(roomId))
  hooks.on('room:userJoined', (roomId) => status.changed(roomId))
  hooks.on('room:userLeft', (roomId) => status.changed(roomId))
  hooks.on('room:removed', ({ roomId }) => status.changed(roomId))
  hooks.on('room:resynced', (roomId) => status.changed(roomId))
  app.addHook('onReady', async () => { status.syncAll() })
  // After a reload, sync again: the previous instance may have closed before scheduling a sync of the latest changes.
  hooks.on('feature:loaded', (name) => { if (name === 'laravel-bridge') status.syncAll() })
  app.addHook('onClose', async () => status.close())

  const { redis } = app
  if (redis) {
    await startRelay(app, redis, rights, { names: events, channel: eventsChannel })
    redis.on('ready', status.syncAll)
    app.addHook('onClose', async () => { redis.off('ready', status.syncAll) })
  } else {
    relayMetrics(metrics)
    app.log.info('events from the backend are not forwarded: Redis is not configured')
  }
  app.decorate('laravelBridge', { timeoutMs, processGifts: (transactions) => processGifts(client, transactions) } satisfies LaravelBridge)
}, { name: 'laravel-bridge', dependencies: ['store', 'kv', 'directory', 'cluster', 'jobs', 'rooms', 'sockets'], config })

/** Starts relaying backend events. Resolves when a test message has arrived through the subscription, or after 5 s. */
async function startRelay (app: FeatureInstance, redis: Redis, rights: Rights, { names, channel }: { names: readonly string[], channel: string }): Promise<void> {
  const { log, metrics, rooms, sockets } = app
  const removals = createRemovals(app)
  app.jobs.on(kickJob, removals.verifyKick)
  const relay = createRelay({ log, metrics, rooms, sockets, names, rights, removals, history: app.keep('relay', createRelayHistory) })
  const subscription = createSubscription({ redis, log, channel, receive: relay.receive })
  app.hooks.on('health:checks', () => ({ relay: subscription.check }))
  app.addHook('onClose', async () => {
    subscription.close()
    relay.close()
    removals.close()
  })
  await subscription.ready()
}
