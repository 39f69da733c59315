import { defineFeature, userKeyOf } from 'flylive-audio-server/feature'
import type { z } from 'flylive-audio-server/feature'
import { adminRoutes } from './admin.ts'
import { createApiRooms } from './api-rooms.ts'
import { config } from './config.ts'
import { NotOnAir } from './errors.ts'
import { AlreadyLive, limitLiveConnections } from './live-locks.ts'
import type { LiveLock } from './live-locks.ts'
import { events, joinReply, requests } from './messages.ts'
import { restErrors, restRoutes } from './rest.ts'
import { createRoomRecords } from './room-records.ts'
import { createHlsHandler } from './serve.ts'
import { createBroadcasts } from './service.ts'
import type { CurrentBroadcast } from './service.ts'
import { Air } from './stations.ts'
import { createKeyTokens } from './tokens.ts'

export { config, requests }
export const errors = { AlreadyLive, NotOnAir, ...restErrors }

declare module 'flylive-audio-server/feature' {
  interface FeatureSlots {
    broadcast: {
      /**
       * The public base URL of `/hls`, for example the URL of a CDN; undefined if players connect to this server
       * directly.
       */
      readonly url: string | undefined
      /**
       * @returns the current broadcast of a room; undefined if the room is not on air
       * @throws UNAVAILABLE
       */
      current (roomId: string): Promise<CurrentBroadcast | undefined>
    }
  }
  interface FeatureHooks {
    /**
     * A broadcast has started or stopped. Called only on the server that started or stopped it. Not called when a
     * broadcast ends because its room was closed.
     *
     * @param broadcast the broadcast that has started or stopped
     */
    'broadcast:changed': (roomId: string, onAir: boolean, broadcast: CurrentBroadcast) => void
  }
}

/**
 * Broadcasts rooms over HLS to any number of listeners. These listeners need neither WebRTC nor an account. The
 * packager and the latest segments survive a reload of the feature, so the broadcast has no gap.
 */
export default defineFeature(async function broadcast (app, settings) {
  const { clock, hooks, messages, metrics, rooms, sfu } = app
  const air = app.keep('air', () => new Air(), async (air) => await air.close())
  const tokens = await createKeyTokens(app)
  const records = createRoomRecords(app, settings.maxRoomsPerUser)
  const broadcasts = createBroadcasts(app, settings, air, async (roomId) => (await apiRooms.find(roomId))?.record?.isProtected === true)
  const apiRooms = createApiRooms(app, records, broadcasts)
  messages.events(events)
  messages.adds('room:join', joinReply)
  const limit = { perMinute: settings.commandsPerMinute, name: 'broadcast', eventual: true }

  messages.on('broadcast:start', { ...requests['broadcast:start'], limit }, async (_data, { room, session }) => await broadcasts.start(room, session))
  messages.on('broadcast:stop', { ...requests['broadcast:stop'], limit }, async (_data, { room, session }) => await broadcasts.stop(room, session))
  hooks.on('room:join', ({ roomId }) =>
    ({ broadcast: broadcasts.isOnAirHere(roomId) ? { hlsUrl: broadcasts.urlOf(roomId) } : null } satisfies z.input<typeof joinReply>))
  hooks.on('lobby:onAir', async (records) => await broadcasts.isOnAir(records.map(({ roomId }) => roomId)))

  const requestsServed = metrics.counter('flylive_broadcast_requests_total', 'HLS requests, by kind and HTTP status', ['kind', 'status'])
  const packaged = metrics.gauge('flylive_broadcast_rooms', 'Number of broadcasts packaged by this server')
  const restarts = metrics.counter('flylive_broadcast_restarts_total', 'Restarts of broadcast packagers after a failure')
  hooks.on('feature:loaded', (name) => {
    if (name !== 'broadcast') return
    air.onChange = () => packaged.set(air.stations.size)
    air.onChange()
    air.onRestart = () => restarts.inc()
  })
  const age = metrics.gauge('flylive_broadcast_age_seconds', 'Age of the latest audio in a playlist. The value is the maximum over all rooms that this server packages. The age grows while a packager produces no audio')
  const measuring = setInterval(() => age.set(Math.max(0, ...air.stations.values().map(({ ageMs }) => ageMs / 1000))), 1000).unref()
  app.addHook('onClose', async () => clearInterval(measuring))

  async function info (roomId: string): Promise<string> {
    const record = await app.store.getRoom(roomId)
    const common = { roomId, hlsUrl: broadcasts.urlOf(roomId), isEncrypted: air.windows.get(roomId)?.options.key !== undefined, serverTime: clock.now() }
    if (!record) return JSON.stringify({ ...common, title: null, hostName: null, speaking: [] })
    const [overview] = await rooms.overviewsOf([record])
    // Like the lobby, do not reveal who speaks in a locked room.
    if (!overview || overview.isLocked) return JSON.stringify({ ...common, title: overview?.title ?? null, hostName: null, speaking: [] })
    const speakers = air.stations.has(roomId) ? sfu.speakersOf(roomId) : air.windows.get(roomId)?.speaking ?? []
    const members = await app.store.getMembers(roomId, speakers.map(userKeyOf))
    return JSON.stringify({ ...common, title: overview.title, hostName: overview.hostName, speaking: members.flatMap((member) => member ? [{ userId: member.userId, name: member.name ?? null }] : []) })
  }

  app.decorate('broadcast', { url: settings.url, current: broadcasts.current })
  if (settings.singleConnection) limitLiveConnections(app, app.keep('live', () => new Map<string, LiveLock>()))
  adminRoutes(app, air, broadcasts.packagers)
  restRoutes(app, settings, records, apiRooms, broadcasts, tokens)
  app.gate.http('/hls', createHlsHandler({
    find: broadcasts.find,
    isOnAir: async (roomId) => (await broadcasts.isOnAir([roomId]))[0] === true,
    keyOf: broadcasts.keyOf,
    urlOf: broadcasts.urlOf,
    isToken: tokens.isValid,
    info,
    count: (kind, status) => requestsServed.inc({ kind, status: String(status) })
  }), { kept: true })
}, { name: 'broadcast', dependencies: ['rooms', 'sfu', 'kv', 'cluster', 'jobs', 'store'], config })
