import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { Forbidden, isCoded, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, LocalRoom, Session } from 'flylive-audio-server/feature'
import type { config } from './config.ts'
import { createCopies } from './copies.ts'
import type { Copies } from './copies.ts'
import { NotOnAir } from './errors.ts'
import { BroadcastWindow, firstDiscontinuity } from './window.ts'
import type { Air, Station } from './stations.ts'

/** The stored broadcast state of a room that is on air or has been on air. */
export const broadcastState = z.object({
  /** Undefined if the room is not on air. */
  onAir: z.object({
    /** When the broadcast started, in epoch milliseconds. Each broadcast of a room has a different value. */
    startedAt: z.number(),
    /** AES-128 key, base64. */
    key: z.string().optional()
  }).optional(),
  /** True if the last broadcast ended because of a request. Broadcasts then no longer start automatically. */
  stopped: z.boolean().optional()
})
type State = z.output<typeof broadcastState>

export interface CurrentBroadcast {
  /** When the broadcast started, in epoch milliseconds. Distinguishes the broadcasts of a room. */
  startedAt: number
  hlsUrl: string
}

/**
 * Starts, stops and looks up broadcasts. Methods that return a promise throw UNAVAILABLE while the store cannot be
 * reached.
 */
export interface Broadcasts {
  /**
   * Puts a room on air.
   *
   * @throws FORBIDDEN
   */
  start (room: LocalRoom, session: Session): Promise<{ hlsUrl: string }>
  /** @throws FORBIDDEN, NOT_ON_AIR */
  stop (room: LocalRoom, session: Session): Promise<{ hlsUrl: string }>
  /**
   * Puts a room on air without checking the caller's role.
   *
   * @throws ROOM_NOT_FOUND
   */
  open (roomId: string, options?: { isAutomatic?: boolean }): Promise<void>
  /**
   * Ends the broadcast of a room, if there is one.
   *
   * @returns whether the room was on air
   */
  close (roomId: string): Promise<boolean>
  urlOf (roomId: string): string
  /** Whether a room is on air. Reads only the memory of this server, so the room must have members on this server. */
  isOnAirHere (roomId: string): boolean
  isOnAir (roomIds: readonly string[]): Promise<boolean[]>
  /** @returns the current broadcast of a room; undefined if the room is not on air */
  current (roomId: string): Promise<CurrentBroadcast | undefined>
  /**
   * @returns the key of an encrypted broadcast; undefined if the room is not on air or its broadcast is not encrypted
   */
  keyOf (roomId: string): Promise<Uint8Array | undefined>
  /** @returns the ids of the servers that package at least one room */
  packagers (): Promise<string[]>
  /** @returns the ids of the rooms on air, and of some rooms that recently went off air */
  roomsOnAir (): Promise<string[]>
  find: Copies['find']
}

/** How often a server renews its leases and tries to take free leases, in milliseconds. */
const renewMs = 1000
/** A lease expires this many milliseconds after its last renewal. Another server can then take the lease. */
const leaseMs = 4000
/** An entry in the list of rooms on air expires this many milliseconds after its last renewal. */
const listedMs = 60_000
/**
 * How long a server to which no speaker is connected waits before it takes a free lease, in milliseconds. The more
 * speakers are connected to a server, the less it waits, so the server with the most speakers takes the lease.
 */
const bidMs = 300
/** A server to which at least this many speakers are connected does not wait. */
const maxVoices = 10

/** @param isProtected returns whether a room's PIN was set over the REST API */
export function createBroadcasts (app: FeatureInstance, settings: z.output<typeof config>, air: Air, isProtected: (roomId: string) => Promise<boolean>): Broadcasts {
  const { clock, features, hooks, kv, log, nodeId, rooms, sfu, store } = app
  const state = rooms.roomState.define('broadcast', broadcastState, { durable: true })
  /** For each room, the id of the server that packages it. */
  const leases = kv.namespace('broadcast-leases')
  /**
   * The rooms on air, and some rooms that recently went off air. Leases cannot replace this list, because a room on air
   * has no lease when its broadcast starts, and while another server takes over the broadcast.
   */
  const listed = kv.namespace('broadcast-listed')
  const listedAt = new WeakMap<Station, number>()
  const reviews = new Map<string, Promise<void>>()
  let closed = false

  const onAirOf = async (roomId: string) => (rooms.get(roomId) ? state.peek(roomId) : await state.read(roomId))?.onAir
  const copies = createCopies(app, air, async (roomId) => await leases.get(roomId), async (roomId) => await onAirOf(roomId) !== undefined)

  /**
   * Takes or renews the lease of a room, unless another server holds it.
   *
   * @returns whether this server holds the lease
   */
  async function holdLease (roomId: string, isRunning: boolean): Promise<boolean> {
    const take = async (from: string | undefined) => await leases.compareAndSet(roomId, from, nodeId, { ttlMs: leaseMs })
    if (isRunning) return await take(nodeId) || await take(undefined)
    const holder = await leases.get(roomId)
    if (holder !== undefined) return holder === nodeId && await take(nodeId)
    if (app.redis) {
      const voices = sfu.producerHandles(roomId).filter(({ owner }) => owner.kind !== 'relay').length
      await delay(bidMs * (1 - Math.min(voices, maxVoices) / maxVoices))
    }
    return await take(undefined)
  }

  /** Renews the entry of a station's room in the list of rooms on air, if necessary. */
  async function list (station: Station): Promise<void> {
    if (performance.now() - (listedAt.get(station) ?? -Infinity) < listedMs / 3) return
    listedAt.set(station, performance.now())
    await listed.set(station.roomId, '', { ttlMs: listedMs })
  }

  async function release (roomId: string): Promise<void> {
    await leases.compareAndSet(roomId, nodeId, nodeId, { ttlMs: 1 })
  }

  /** Starts, continues or stops packaging a room on this server, depending on the room's state. */
  async function reviewNow (roomId: string): Promise<void> {
    const onAir = rooms.get(roomId) ? state.peek(roomId)?.onAir : undefined
    const running = air.stations.get(roomId)
    if (running && running.startedAt !== onAir?.startedAt) {
      // If the room has no more members on this server, another server may continue the broadcast. The window then
      // stays open, so that players can stay on this server.
      if (rooms.get(roomId)) air.end(roomId)
      else running.close()
      await release(roomId)
    }
    if (!onAir || closed) return
    const station = air.stations.get(roomId)
    if (!await holdLease(roomId, station !== undefined)) return station?.close()
    if (station) return await list(station)
    try {
      const mix = await sfu.mix(roomId)
      // During a reload, both generations of the feature may open the mix at the same time.
      if (closed || air.stations.has(roomId) || state.peek(roomId)?.onAir?.startedAt !== onAir.startedAt) return mix.close()
      const { lowLatency, opus } = settings
      // If this server has a copy of the broadcast, continue the window of that copy, so that its players notice no
      // change.
      const copy = air.windows.get(roomId)
      const isSame = copy?.options.startedAt === onAir.startedAt
      if (!isSame) air.end(roomId)
      const window = isSame ? copy : new BroadcastWindow({ startedAt: onAir.startedAt, lowLatency, opus, discontinuities: firstDiscontinuity(onAir.startedAt), ...(onAir.key === undefined ? {} : { key: Buffer.from(onAir.key, 'base64') }) })
      air.open(mix, window, log)
    } finally {
      if (!air.stations.has(roomId)) await release(roomId)
    }
  }

  function review (roomId: string): void {
    const next = (reviews.get(roomId) ?? Promise.resolve()).then(async () => await reviewNow(roomId)).catch((err: unknown) => {
      log[isCoded(err) ? 'debug' : 'error']({ err, roomId }, 'failed to update a broadcast')
    }).finally(() => { if (reviews.get(roomId) === next) reviews.delete(roomId) })
    reviews.set(roomId, next)
  }

  const reviewAll = () => {
    copies.followAll()
    for (const { roomId } of rooms.local()) if (air.stations.has(roomId) || state.peek(roomId)?.onAir) review(roomId)
    for (const roomId of air.stations.keys()) if (!rooms.get(roomId)) review(roomId)
  }
  const timer = setInterval(reviewAll, renewMs).unref()
  app.addHook('onClose', async () => {
    closed = true
    clearInterval(timer)
    await Promise.all(reviews.values())
    // During a reload, the stations continue to run, so release their leases only at shutdown.
    if (app.drain.draining) await Promise.allSettled(air.stations.keys().map(release))
  })
  hooks.on('feature:loaded', (name) => {
    if (name !== 'broadcast') return
    air.onStationClosed = ({ roomId, window }) => {
      if (air.windows.get(roomId) !== window) return
      copies.followAll()
      review(roomId)
    }
    reviewAll()
  })
  hooks.on('feature:disabled', (name) => {
    // While the feature is off, no server packages rooms, so release the leases.
    if (name === 'broadcast') for (const roomId of air.stations.keys()) release(roomId).catch((err: unknown) => log.debug({ err, roomId }, 'failed to release the lease of a broadcast'))
  })
  state.onChange(({ roomId }, current) => {
    const window = air.windows.get(roomId)
    if (window && !current?.onAir && !air.stations.has(roomId)) air.end(roomId)
    review(roomId)
  })
  state.onMissed(({ roomId }, from, to) => {
    if (from?.onAir?.startedAt === to?.onAir?.startedAt) return []
    return [
      ...(from?.onAir ? [{ type: 'broadcast:stopped', data: {} }] : []),
      ...(to?.onAir ? [{ type: 'broadcast:started', data: { hlsUrl: urlOf(roomId) } }] : [])
    ]
  })
  hooks.on('room:released', review)
  hooks.on('room:removed', ({ roomId }) => air.end(roomId))

  const listeners = (roomId: string, count: number) => count - (features.getFeature('seats')?.peek(roomId)?.seats.filter(({ awayUntil }) => awayUntil === undefined).length ?? 0)
  hooks.on('room:userJoined', async (roomId, _user, count) => {
    if (settings.fromListeners === 0 || listeners(roomId, count) < settings.fromListeners) return
    const current = rooms.get(roomId) ? state.peek(roomId) : undefined
    if (!current?.onAir && !current?.stopped) await open(roomId, { isAutomatic: true })
  })

  const urlOf = (roomId: string) => `${settings.url ?? ''}/hls/${encodeURIComponent(roomId)}/index.m3u8`

  /** @throws FORBIDDEN, UNAVAILABLE */
  async function assertHost ({ record }: LocalRoom, session: Session): Promise<void> {
    if (await rooms.roleOf(record, session) === 'member') throw new Forbidden('Only the owner and admins of the room may do this')
  }

  async function hasPin (roomId: string): Promise<boolean> {
    const record = rooms.get(roomId)?.record ?? await store.getRoom(roomId)
    return record !== undefined && await rooms.hasPin(record)
  }

  async function open (roomId: string, { isAutomatic = false } = {}): Promise<void> {
    // Create these values outside the callback of `change`, because the callback may run several times.
    const [startedAt, key] = [clock.now(), randomBytes(16).toString('base64')]
    const isEncrypted = settings.encrypt || await isProtected(roomId) || await hasPin(roomId)
    await listed.set(roomId, '', { ttlMs: listedMs })
    const started = await state.change<boolean>(roomId, (current: State = {}) => {
      if (current.onAir || (isAutomatic && current.stopped)) return { result: false }
      return {
        state: { onAir: { startedAt, ...(isEncrypted ? { key } : {}) } },
        events: [{ type: 'broadcast:started', data: { hlsUrl: urlOf(roomId) } }],
        result: true
      }
    })
    if (started) hooks.emit('broadcast:changed', roomId, true, { startedAt, hlsUrl: urlOf(roomId) })
  }

  async function close (roomId: string): Promise<boolean> {
    const startedAt = await state.change<number | undefined>(roomId, (current: State = {}) => current.onAir
      ? { state: { stopped: true }, events: [{ type: 'broadcast:stopped', data: {} }], result: current.onAir.startedAt }
      : { result: undefined })
    if (startedAt === undefined) return false
    hooks.emit('broadcast:changed', roomId, false, { startedAt, hlsUrl: urlOf(roomId) })
    return true
  }

  return {
    open,
    close,
    urlOf,
    async start (room, session) {
      await assertHost(room, session)
      await open(room.roomId)
      return { hlsUrl: urlOf(room.roomId) }
    },
    async stop (room, session) {
      await assertHost(room, session)
      if (!await close(room.roomId)) throw new NotOnAir(room.roomId)
      return { hlsUrl: urlOf(room.roomId) }
    },
    isOnAirHere: (roomId) => state.peek(roomId)?.onAir !== undefined,
    isOnAir: async (roomIds) => (await state.readMany(roomIds)).map((current) => current?.onAir !== undefined),
    async current (roomId) {
      const onAir = (await state.read(roomId))?.onAir
      return onAir && { startedAt: onAir.startedAt, hlsUrl: urlOf(roomId) }
    },
    async keyOf (roomId) {
      const key = (await onAirOf(roomId))?.key
      return key === undefined ? undefined : Buffer.from(key, 'base64')
    },
    async packagers () {
      const holders = await leases.getMany(await leases.list())
      return [...new Set(holders.filter((holder) => holder !== undefined))]
    },
    roomsOnAir: async () => await listed.list(),
    find: copies.find
  }
}
