import type { types } from 'mediasoup'
import type { FastifyInstance } from 'fastify'
import { NotInRoom, RoomNotFound } from '../rooms/errors.ts'
import type { LocalRoom } from '../rooms/node-rooms.ts'
import { hasOwner } from '../rooms/rooms.ts'
import type { Session, UserId } from '../connections/session.ts'
import type { Attachment, AttachmentContext } from './attachment.ts'
import { watchBitrates } from './bitrate.ts'
import type { Direction, TransportParameters } from './client-transport.ts'
import { rtpCapabilities } from './codecs.ts'
import { RoomInjection } from './injection.ts'
import type { InjectOptions, Injection } from './injection.ts'
import { createRelayMetrics, createRelays } from './relays/relays.ts'
import type { Relays } from './relays/relays.ts'
import { MediaRooms } from './room-media.ts'
import { Mixes } from './mix/mixes.ts'
import type { RoomMix } from './mix/mixes.ts'
import { createMixThreads } from './mix/threads.ts'
import type { MixThreads } from './mix/threads.ts'
import type { MediaWorker, WorkerPool } from './pool.ts'
import type { PausedBy, ProducePermit, ProducerHandle, ProducerInfo, ProducerOwner, ProducerSource } from './producer.ts'
import { createSessionMedia, Peer } from './session-media.ts'
import type { OwnedSessionMedia } from './session-media.ts'
import { RoomTap } from './tap.ts'
import type { Tap, TapOptions } from './tap.ts'

/** A room's media on one server, for admins. */
export interface RoomMediaInfo {
  /** Index of the media worker with the room's main router. */
  worker: number
  routerId: string
  transports: { transportId: string, userId: UserId, type: Direction, iceState: string, dtlsState: string }[]
}

export interface ConsumeOptions {
  /** Whether the consumer starts paused. Default: true. */
  paused?: boolean
}

export interface ConsumerInfo {
  id: string
  rtpParameters: types.RtpParameters
}

export interface TransportOptions {
  /**
   * Opus payload type of the transport's consumers, for clients that send the SDP offer. Default: the payload type of
   * the room's router.
   */
  payloadType?: number
}

/**
 * The transports, producers and consumers of sessions. They close when their session leaves its room. A session can use
 * only its own transports and consumers. A session can pause, resume and close only its own producers.
 */
export interface SessionMedia {
  /** Creates a transport, and the room's router if necessary. Closes any earlier transport in the same direction. */
  createTransport (room: LocalRoom, session: Session, direction: Direction, options?: TransportOptions): Promise<TransportParameters>
  connectTransport (session: Session, transportId: string, dtlsParameters: types.DtlsParameters): Promise<void>
  restartIce (session: Session, transportId: string): Promise<types.IceParameters>
  /** Creates a producer for a session if the `media:produce` hook permits the session to send audio. */
  produce (session: Session, transportId: string, rtpParameters: types.RtpParameters, options?: { source?: ProducerSource }): Promise<string>
  /** Closes one of the session's producers, or all of them if no id is given. */
  closeProducer (session: Session, producerId?: string): void
  /** Pauses one of the session's producers, or all of them if no id is given. Idempotent. */
  pauseProducer (session: Session, by: PausedBy, producerId?: string): Promise<void>
  /**
   * Removes the pause by the user or by the server. A producer resumes once neither the user nor the server pauses it.
   */
  resumeProducer (session: Session, by: PausedBy, producerId?: string): Promise<void>
  /**
   * Creates a consumer, through which a session receives the audio of a producer in the session's room. Closes any
   * earlier consumer of the same producer.
   */
  consume (session: Session, transportId: string, producerId: string, capabilities: types.RtpCapabilities, options?: ConsumeOptions): Promise<ConsumerInfo>
  /**
   * Creates a consumer of the room's mix for a session. The mix is one producer with the loudest voices and all music.
   * Starts the mix if it is not running. Closes any earlier consumer of the mix.
   */
  consumeMix (session: Session, transportId: string, capabilities: types.RtpCapabilities, options?: ConsumeOptions): Promise<ConsumerInfo>
  pauseConsumer (session: Session, consumerId: string): Promise<void>
  /** @returns `deferred`: true if the consumer stays silent for now, because its producer is paused */
  resumeConsumer (session: Session, consumerId: string): Promise<{ deferred: boolean }>
  /** Closes one of the session's consumers. */
  closeConsumer (session: Session, consumerId: string): void
  /** Closes all consumers of mixes. A mix stays open while a feature uses it. */
  closeMixConsumers (): void
  /** Closes the media of all sessions. */
  releaseAll (): void
}

/** The audio API. Other plugins and features access mediasoup only through this API. */
export interface Sfu extends SessionMedia {
  readonly rtpCapabilities: types.RtpCapabilities
  /**
   * Allowed bit rate of a producer, in bits per second. The server closes a session's producer that exceeds its allowed
   * bit rate.
   */
  readonly maxBitrates: Readonly<Record<ProducerSource, number>>
  /** True if rooms can have audio; see {@link WorkerPool.ready}. */
  readonly ready: boolean
  workers (): { index: number, pid: number, port: number, routers: number }[]
  /** The mixer threads. */
  mixThreads (): ReturnType<MixThreads['threads']>
  /** The values that this server's load report contains. */
  load (): { consumers: number, relayPorts: { used: number, total: number } }
  /** CPU time of each media worker since its start, in milliseconds, by worker index. */
  workersCpuMs (): Promise<Map<number, number>>
  /** Number of pipes that send audio to other servers (`sources`) and that receive audio from them (`sinks`). */
  relays (): { sources: number, sinks: number }
  /** A room's producers on all servers. */
  producersOf (roomId: string): ProducerInfo[]
  /**
   * Reads the producers of the given rooms on all servers. Also works for rooms that have no members on this server.
   *
   * @returns one list per room
   * @throws UNAVAILABLE
   */
  readProducers (roomIds: readonly string[]): Promise<ProducerInfo[][]>
  /** A room's producers on this server, for features that moderate them. */
  producerHandles (roomId: string): ProducerHandle[]
  /** A room's active speakers on this server, and those that other servers have reported. */
  speakersOf (roomId: string): UserId[]
  /**
   * Returns a room's active speakers on all servers. Requests the speakers from each server that has not reported them
   * yet, for example when the room's first member on this server joins.
   */
  readSpeakers (roomId: string): Promise<UserId[]>
  /** Describes a room's media on this server; undefined if there is none. */
  describe (roomId: string): RoomMediaInfo | undefined
  /**
   * Opens a handle to a room's mix. Through the handle, code on this server receives the mix as samples or packets, or
   * the packets of each voice.
   *
   * @throws ROOM_NOT_FOUND if the room has no members on this server
   * @throws OVERLOADED, UNAVAILABLE
   */
  mix (roomId: string): Promise<RoomMix>
  /**
   * Sends a room's audio to a UDP port on this machine.
   *
   * @throws ROOM_NOT_FOUND if the room has no members on this server
   * @throws OVERLOADED, UNAVAILABLE
   * @throws RangeError if the port is invalid
   */
  tap (roomId: string, options: TapOptions): Promise<Tap>
  /**
   * Lets this server send audio in a room on behalf of a service, another server, or a session without a WebRTC
   * transport. Only a session needs a permit from `media:produce`.
   *
   * @throws ROOM_NOT_FOUND if the room has no members on this server
   * @throws NOT_IN_ROOM if the session is not in the room
   * @throws OVERLOADED, UNAVAILABLE, and any error that a `media:produce` handler throws
   * @throws RangeError if the SSRC is invalid
   */
  inject (roomId: string, owner: ProducerOwner, options: InjectOptions): Promise<Injection>
}

declare module 'fastify' {
  interface FastifyInstance {
    sfu: Sfu
  }
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /**
     * Decides whether a session may send audio, and whether the server pauses the new producer. A handler throws an
     * error to deny permission. Without a handler, every session is allowed to send. In a room without an owner, every
     * session is allowed to send, and the server does not call the hook.
     */
    'media:produce': (roomId: string, session: Session) => Promise<ProducePermit | undefined>
    /**
     * A media worker died. `sessions` contains the sessions that have lost media. If `sessions` is undefined, the room
     * has lost all its media on this server.
     */
    'media:reset': (roomId: string, reason: string, sessions?: readonly Session[]) => void
  }
}

/** {@link Sfu}, with additional methods that only the kernel uses. */
export interface OwnedSfu extends Sfu, OwnedSessionMedia {
  /** Closes a room's taps, injections and mix. */
  roomReleased (roomId: string): void
  workerDied (worker: MediaWorker): void
  /** Closes all taps, injections and mixes. */
  close (): Promise<void>
}

export function createSfu (app: FastifyInstance, pool: WorkerPool): OwnedSfu {
  const { clock, config, hooks, log, metrics, sockets, store, timings } = app
  let relays: Relays | undefined
  const rooms = new MediaRooms({
    hooks,
    pool,
    counted (roomId, producers) {
      store.touchRoom(roomId, clock.now(), producers).catch(() => { /* Until the next update, admins see an outdated `lastActivityAt`. */ })
    },
    changed: (roomId) => relays?.changed(roomId),
    mediaChanged: (roomId) => relays?.mediaChanged(roomId),
    speaking (roomId, speakers) {
      if (relays) relays.speaking(roomId, speakers)
      else hooks.emit('media:speakers', roomId, speakers)
    }
  })
  const relayMetrics = createRelayMetrics(app)
  // Without Redis, there are no other servers to relay audio to.
  if (app.hasDecorator('redis')) relays = createRelays(app, rooms, relayMetrics)
  const maxBitrates = { voice: config.VOICE_MAX_KBPS * 1000, music: config.MUSIC_MAX_KBPS * 1000 }
  const attachments = new Set<Attachment>()
  const attachmentContext: AttachmentContext = { rooms, log, closed: (attachment) => attachments.delete(attachment) }

  async function permitFor (roomId: string, session: Session): Promise<ProducePermit> {
    const room = app.rooms.get(roomId)
    if (room && !hasOwner(room.record)) return {}
    return Object.assign({}, ...await hooks.ask('media:produce', roomId, session)) as ProducePermit
  }

  async function permitForOwner (roomId: string, { kind, sessionId }: ProducerOwner): Promise<ProducePermit> {
    if (kind !== 'session') return {}
    const session = sessionId === undefined ? undefined : sockets.get(sessionId)
    if (session?.roomId !== roomId) throw new NotInRoom(`You are not in room ${roomId}`)
    return await permitFor(roomId, session)
  }

  const mixThreads = createMixThreads(metrics, log)
  const mixes = new Mixes({
    threads: mixThreads,
    log,
    maxVoices: config.MIX_VOICES,
    lingerMs: timings.mixLingerMs,
    attach: async (create) => await attach(create(attachmentContext))
  })
  const sessions = createSessionMedia(app, {
    rooms,
    mixes,
    permit: permitFor,
    maxIncomingBitrate: maxBitrates.voice + maxBitrates.music,
    fetchRelayed: async (roomId, producerId) => await relays?.fetch(roomId, producerId)
  })

  async function attach<T extends Attachment> (attachment: T): Promise<T> {
    if (!app.rooms.get(attachment.roomId)) throw new RoomNotFound(attachment.roomId)
    attachments.add(attachment)
    await attachment.open()
    return attachment
  }

  const producersHere = (roomId: string) => [...rooms.get(roomId)?.producers.values() ?? []].filter(({ owner }) => owner.kind !== 'relay')
  const producersOf = (roomId: string) => [...producersHere(roomId).filter(({ announced }) => announced).map(({ info }) => info), ...relays?.voicesOf(roomId) ?? []]
  const speakersOf = (roomId: string) => relays?.speakersOf(roomId) ?? rooms.get(roomId)?.speaking().activeSpeakers ?? []
  const roomOf = ({ producerId }: Pick<ProducerHandle, 'producerId'>) => [...rooms.all()].find(({ producers }) => producers.has(producerId))?.roomId
  const overBitrate = metrics.counter('flylive_producers_over_bitrate_total', 'Producers closed because they sent more than their allowed bit rate')
  const stopWatching = watchBitrates(
    () => [...rooms.all()].flatMap((media) => [...media.producers.values()]),
    ({ owner, source }) => owner.kind === 'session' ? maxBitrates[source] : undefined,
    (producer, bitsPerSecond) => {
      overBitrate.inc()
      log.warn({ producerId: producer.producerId, roomId: roomOf(producer), sessionId: producer.owner.sessionId, userId: producer.owner.userId, bitsPerSecond }, 'producer closed: it exceeded its allowed bit rate')
      producer.close('bitrate')
    }
  )

  return {
    ...sessions,
    rtpCapabilities,
    maxBitrates,
    get ready () {
      return pool.ready
    },
    workers: () => pool.alive().map(({ index, worker, port, routers }) => ({ index, pid: worker.pid, port, routers })),
    producersOf,
    async readProducers (roomIds) {
      const elsewhere = relays ? roomIds.filter((roomId) => !app.rooms.get(roomId)) : []
      const read = elsewhere.length > 0 ? await relays?.read(elsewhere) ?? [] : []
      const found = new Map(elsewhere.map((roomId, i) => [roomId, read[i]]))
      return roomIds.map((roomId) => found.get(roomId) ?? producersOf(roomId))
    },
    producerHandles: producersHere,
    speakersOf,
    async readSpeakers (roomId) {
      await relays?.learnSpeakers(roomId)
      return speakersOf(roomId)
    },
    load () {
      const { sources, sinks } = relays?.counts() ?? { sources: 0, sinks: 0 }
      return {
        consumers: sessions.consumers(),
        relayPorts: { used: sources + sinks, total: config.RELAY_MAX_PORT - config.RELAY_MIN_PORT + 1 }
      }
    },
    async workersCpuMs () {
      const used = await Promise.all(pool.alive().map(async ({ index, worker }) => {
        const { ru_utime: user, ru_stime: system } = await worker.getResourceUsage()
        return [index, user + system] as const
      }))
      return new Map(used)
    },
    relays: () => relays?.counts() ?? { sources: 0, sinks: 0 },
    describe (roomId) {
      const media = rooms.get(roomId)
      if (!media?.current) return
      return {
        worker: media.current.worker.index,
        routerId: media.current.router.id,
        transports: [...media.users].filter((user) => user instanceof Peer).flatMap(({ session, transports }) =>
          transports.map(({ direction, transport }) => (
            { transportId: transport.id, userId: session.user.id, type: direction, iceState: transport.iceState, dtlsState: transport.dtlsState }
          )))
      }
    },

    mix: async (roomId) => await mixes.use(roomId),
    mixThreads: mixThreads.threads,
    tap: async (roomId, options) => await attach(new RoomTap(roomId, options, attachmentContext)),
    inject: async (roomId, owner, options) => await attach(new RoomInjection(roomId, owner, options, { ...attachmentContext, permit: permitForOwner })),

    release (session) {
      sessions.release(session)
      for (const attachment of [...attachments]) {
        if (attachment instanceof RoomInjection && attachment.owner.sessionId === session.id) attachment.close()
      }
    },
    roomReleased (roomId) {
      for (const attachment of [...attachments]) if (attachment.roomId === roomId) attachment.close()
    },
    workerDied (worker) {
      for (const { roomId, users } of rooms.workerDied(worker)) {
        hooks.emit('media:reset', roomId, 'worker_died', users?.filter((user) => user instanceof Peer).map(({ session }) => session))
      }
    },
    async close () {
      stopWatching()
      mixes.close()
      for (const attachment of [...attachments]) attachment.close()
      await mixThreads.close()
      await relays?.close()
    }
  }
}
