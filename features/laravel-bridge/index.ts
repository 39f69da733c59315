import { defineFeature, RoomNotFound } from 'flylive-audio-server/feature'
import type { FeatureInstance, Redis } from 'flylive-audio-server/feature'
import { createClient } from './client.ts'
import { createEndings, kickJob } from './endings.ts'
import { processGifts } from './gifts.ts'
import type { GiftFailure, GiftTransaction } from './gifts.ts'
import { relayed } from './messages.ts'
import { createRelay, createRelayHistory, relayMetrics } from './relay.ts'
import { createKnownRights, createRights } from './rights.ts'
import type { Rights } from './rights.ts'
import { createRememberedStatus, createRoomStatus, statusJob } from './status.ts'
import { createSubscription } from './subscription.ts'

export interface LaravelBridge {
  /**
   * Has the backend book gifts.
   *
   * @throws UNAVAILABLE, BACKEND_FAILED; in both cases all gifts are to be sent again
   */
  processGifts (transactions: readonly GiftTransaction[]): Promise<{ failed: readonly GiftFailure[] }>
}

export * as errors from './errors.ts'

declare module 'flylive-audio-server/feature' {
  interface FeatureInstance {
    laravelBridge: LaravelBridge
  }
}

/** The backend: whose rooms are and who may do what there, what becomes of gifts, what it says to clients. */
export default defineFeature(async function laravelBridge (app) {
  const { config, hooks, metrics, store } = app
  if (config.LARAVEL_API_URL === undefined || config.LARAVEL_INTERNAL_KEY === undefined) {
    throw new Error('laravel-bridge needs LARAVEL_API_URL and LARAVEL_INTERNAL_KEY')
  }
  app.messages.events(relayed(config.LARAVEL_EVENTS))
  const client = createClient({ url: config.LARAVEL_API_URL, key: config.LARAVEL_INTERNAL_KEY, timeoutMs: config.LARAVEL_API_TIMEOUT_MS, metrics })
  app.addHook('onClose', async () => client.close())

  const rights = createRights({ client, metrics, known: app.keep('rights', createKnownRights) })
  hooks.on('room:create', async (roomId) => {
    const ownerId = await rights.ownerOf(roomId)
    if (ownerId === undefined) throw new RoomNotFound(roomId)
    return { ownerId }
  })
  hooks.on('room:role', async (room, session) => await rights.roleOf(room, session.userKey))
  hooks.on('room:owner', async (room) => await rights.ownerOf(room.roomId))

  const status = createRoomStatus({ jobs: app.jobs, kv: app.kv, log: app.log, store, client, remembered: app.keep('status', createRememberedStatus) })
  app.jobs.on(statusJob, status.tell)
  hooks.on('room:created', ({ roomId }) => status.changed(roomId))
  hooks.on('room:userJoined', (roomId) => status.changed(roomId))
  hooks.on('room:userLeft', (roomId) => status.changed(roomId))
  hooks.on('room:removed', ({ roomId }) => status.changed(roomId))
  hooks.on('room:resynced', (roomId) => status.changed(roomId))
  app.addHook('onReady', async () => { status.lookAtAll() })
  // What has happened since then was still the generation's before, or nobody's.
  hooks.on('feature:loaded', (name) => { if (name === 'laravel-bridge') status.lookAtAll() })
  app.addHook('onClose', async () => status.close())

  const { redis } = app
  if (redis) {
    await startRelay(app, redis, rights)
    redis.on('ready', status.lookAtAll)
    app.addHook('onClose', async () => { redis.off('ready', status.lookAtAll) })
  } else {
    relayMetrics(metrics)
    app.log.info('without Redis, events of the backend are not passed on')
  }
  app.decorate('laravelBridge', { processGifts: (transactions) => processGifts(client, transactions) } satisfies LaravelBridge)
}, { name: 'laravel-bridge', dependencies: ['store', 'kv', 'directory', 'cluster', 'jobs', 'rooms', 'sockets'] })

/** @returns once the backend's events are heard */
async function startRelay (app: FeatureInstance, redis: Redis, rights: Rights): Promise<void> {
  const { config, log, metrics, rooms, sockets } = app
  const endings = createEndings(app)
  app.jobs.on(kickJob, endings.make)
  const relay = createRelay({ log, metrics, rooms, sockets, names: config.LARAVEL_EVENTS, rights, endings, history: app.keep('relay', createRelayHistory) })
  const subscription = createSubscription({ redis, log, channel: config.LARAVEL_EVENTS_CHANNEL, receive: relay.receive })
  app.hooks.on('health:checks', () => ({ relay: subscription.check }))
  app.addHook('onClose', async () => {
    subscription.close()
    relay.close()
    endings.close()
  })
  await subscription.ready()
}
