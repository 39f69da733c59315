import { isCoded, unavailable } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'
import type { Codec, Part } from './part-cutter.ts'
import { comparePositions } from './timeline.ts'
import type { PartPosition } from './timeline.ts'
import { BroadcastWindow, codecs, firstDiscontinuity } from './window.ts'
import type { Air } from './stations.ts'

declare module 'flylive-audio-server/feature' {
  interface ClusterRequests {
    /**
     * Returns the parts after the positions in `after`. If there are no such parts yet, waits for the next part.
     * `listeners` is the number of listeners on the requesting server.
     */
    'broadcast:parts': { data: { roomId: string, nodeId: string, listeners: number, after: Partial<Record<Codec, PartPosition>> }, reply: PartsReply }
  }
}

interface PartsReply {
  startedAt: number
  /** Base64. */
  key: string | null
  opus: boolean
  lowLatency: boolean
  speaking: UserId[]
  /** Base64. */
  inits: Partial<Record<Codec, string>>
  parts: (Omit<Part, 'data'> & { data: string })[]
}

/** How long the packaging server waits for the next part before it replies, in milliseconds. */
const waitMs = 1500
/** How long the requesting server waits for the reply, in milliseconds. */
const timeoutMs = 4000
/**
 * How often a copy looks for a new packaging server after the previous server has stopped packaging, in milliseconds.
 */
const retryMs = 500
/** How long a copy is kept after the last request from a player, in milliseconds. */
const idleMs = 30_000
/** Maximum total size of the parts in a reply, in bytes. */
const maxReplyBytes = 96 * 1024

/**
 * Copies the windows of other servers, so that players can use any server. A server with a copy sends one request per
 * part to the packaging server (over Redis), regardless of the number of its players.
 */
export interface Copies {
  /**
   * @returns the window of a room (a copy if another server packages the room); undefined if no reachable server
   *   packages the room
   */
  find (roomId: string): Promise<BroadcastWindow | undefined>
  /**
   * Starts to copy new parts into each window without a station, unless this generation of the feature already does so.
   * A window loses its station when another server takes over the broadcast. After a reload, this generation also finds
   * the windows of the previous generation.
   */
  followAll (): void
}

/**
 * @param ownerOf returns the server that packages a room
 * @param isOnAir returns whether a room is on air, even if no server packages the room at the moment
 */
export function createCopies (app: FeatureInstance, air: Air, ownerOf: (roomId: string) => Promise<string | undefined>, isOnAir: (roomId: string) => Promise<boolean>): Copies {
  const { cluster, log, nodeId } = app
  const closing = new AbortController()
  app.addHook('onClose', async () => closing.abort())
  const running = new Map<string, Promise<BroadcastWindow | undefined>>()
  /** The windows into which this generation of the feature copies new parts. */
  const followed = new Set<BroadcastWindow>()
  /**
   * For each room, the time of the last lookup that found no packaging server. For 1 s after this time, the lookup is
   * not repeated.
   */
  const absent = new Map<string, number>()

  cluster.answer('broadcast:parts', async ({ roomId, nodeId, listeners, after }) => {
    const station = air.stations.get(roomId)
    if (!station) throw unavailable(`This server does not package room ${roomId}`)
    station.report(nodeId, listeners)
    const { window } = station
    const newParts = () => [...window.renditions].flatMap(([codec, rendition]) => rendition.partsAfter(after[codec]))
    if (newParts().length === 0) {
      const timeout = AbortSignal.timeout(waitMs)
      await Promise.race([...window.renditions.values()].map((rendition) => rendition.nextPart(timeout)))
    }
    const parts: PartsReply['parts'] = []
    let bytes = 0
    for (const part of newParts().sort(comparePositions)) {
      bytes += part.data.length
      if (bytes > maxReplyBytes) break
      parts.push({ ...part, data: Buffer.from(part.data).toString('base64') })
    }
    const { key, opus, lowLatency, startedAt } = window.options
    const inits: PartsReply['inits'] = {}
    for (const [codec, { init }] of window.renditions) if (init) inits[codec] = Buffer.from(init).toString('base64')
    return { startedAt, key: key ? Buffer.from(key).toString('base64') : null, opus, lowLatency, speaking: app.sfu.speakersOf(roomId), inits, parts }
  })

  const pull = async (roomId: string, owner: string, window: BroadcastWindow | undefined): Promise<PartsReply> => {
    const after: Partial<Record<Codec, PartPosition>> = {}
    for (const codec of codecs) {
      const last = window?.renditions.get(codec)?.partsAfter(undefined).at(-1)
      if (last) after[codec] = { segment: last.segment, part: last.part }
    }
    return await cluster.ask(owner, 'broadcast:parts', { roomId, nodeId, listeners: window?.listeners ?? 0, after }, timeoutMs)
  }

  function apply (window: BroadcastWindow, { inits, parts, speaking }: PartsReply): void {
    window.speaking = speaking
    for (const codec of codecs) {
      const init = inits[codec]
      if (init !== undefined) window.setInit(codec, Buffer.from(init, 'base64'))
    }
    for (const part of parts) window.add({ ...part, data: Buffer.from(part.data, 'base64') })
  }

  const pause = async () => await new Promise((resolve) => setTimeout(resolve, retryMs).unref())

  /**
   * Copies new parts into a window until this server packages the room, the broadcast ends, or players no longer
   * request the window.
   */
  async function copyParts (roomId: string, window: BroadcastWindow): Promise<void> {
    const isCurrent = () => !closing.signal.aborted && air.windows.get(roomId) === window && !air.stations.has(roomId)
    while (isCurrent()) {
      if (performance.now() - window.lastRequest > idleMs && window.waiting === 0) return air.end(roomId)
      try {
        const owner = await ownerOf(roomId)
        if (owner !== undefined && owner !== nodeId) {
          const reply = await pull(roomId, owner, window)
          if (!isCurrent()) return
          // The reply belongs to a newer broadcast of the room.
          if (reply.startedAt !== window.options.startedAt) return air.end(roomId)
          apply(window, reply)
          continue
        }
        if (!await isOnAir(roomId)) return isCurrent() ? air.end(roomId) : undefined
      } catch (err) {
        log.debug({ err, roomId }, 'failed to copy a broadcast')
      }
      await pause()
    }
  }

  function follow (roomId: string, window: BroadcastWindow): void {
    if (followed.has(window)) return
    followed.add(window)
    copyParts(roomId, window).finally(() => followed.delete(window))
  }

  async function open (roomId: string): Promise<BroadcastWindow | undefined> {
    const owner = await ownerOf(roomId)
    if (owner === undefined || owner === nodeId) return
    const reply = await pull(roomId, owner, undefined)
    const known = air.windows.get(roomId)
    if (known) return known
    const window = new BroadcastWindow({ startedAt: reply.startedAt, lowLatency: reply.lowLatency, opus: reply.opus, discontinuities: firstDiscontinuity(reply.startedAt), ...(reply.key === null ? {} : { key: Buffer.from(reply.key, 'base64') }) })
    apply(window, reply)
    air.windows.set(roomId, window)
    follow(roomId, window)
    return window
  }

  return {
    followAll () {
      for (const [roomId, window] of air.windows) if (!air.stations.has(roomId)) follow(roomId, window)
    },
    async find (roomId) {
      const known = air.windows.get(roomId)
      if (known) return known
      if (performance.now() - (absent.get(roomId) ?? -Infinity) < 1000) return
      const opening = running.get(roomId) ?? open(roomId).finally(() => running.delete(roomId))
      running.set(roomId, opening)
      let window: BroadcastWindow | undefined
      try {
        window = await opening
      } catch (err) {
        if (!isCoded(err)) throw err
        // The packaging server has died, or is still starting the broadcast.
        return
      }
      if (!window) {
        if (absent.size > 10_000) absent.clear()
        absent.set(roomId, performance.now())
      }
      return window
    }
  }
}
