import type { types } from 'mediasoup'
import type { FastifyInstance } from 'fastify'
import type { LocalRoom } from '../rooms/local-room.ts'
import { unavailable } from '../errors/codes.ts'
import { NotInRoom } from '../rooms/errors.ts'
import type { Session } from '../connections/session.ts'
import type { UserId } from '../connections/user.ts'
import { initialOutgoingBitrate, maxIncomingBitrate, mediaCodecs, rtpCapabilities } from './codecs.ts'
import {
  CannotConsume, ConsumerNotFound, ProducerLimit, ProducerNotFound, refusedByMedia,
  TransportAlreadyConnected, TransportNotFound, TransportWrongType
} from './errors.ts'
import type { MediaWorker, WorkerPool } from './pool.ts'
import { infoOf } from './room-media.ts'
import type { Direction, PausedBy, Peer, ProducePermit, ProducerEntry, ProducerInfo, RoomMedia, ProducerHandle } from './room-media.ts'
import { watchSpeakers } from './speakers.ts'
import type { ActiveSpeakers } from './speakers.ts'

/** A user has one voice; the rest is for music and for a client that replaces its producer. */
const maxProducers = 4

export interface TransportParameters {
  id: string
  iceParameters: types.IceParameters
  iceCandidates: types.IceCandidate[]
  dtlsParameters: types.DtlsParameters
}

/**
 * Audio: the only way to mediasoup. All of a socket's transports, producers
 * and consumers end when it leaves its room. Methods that take an id find only
 * what the socket itself has.
 */
export interface Sfu {
  readonly rtpCapabilities: types.RtpCapabilities
  /** Whether rooms can get audio; see {@link WorkerPool.ready}. */
  readonly ready: boolean
  workers (): { index: number, pid: number, port: number, routers: number }[]
  producersOf (roomId: string): ProducerInfo[]
  /** The producers of a room on this server, for those who decide over them. */
  producerHandles (roomId: string): ProducerHandle[]
  /** Who speaks in a room now. */
  speakersOf (roomId: string): UserId[]
  /** What a room has on the media server, for admins. */
  describe (roomId: string): { worker: number, routerId: string, transports: { transportId: string, userId: UserId, type: Direction, iceState: string, dtlsState: string }[] } | undefined
  /** Makes a transport; an earlier one of the same direction is closed. The room's router is made with its first. */
  createTransport (room: LocalRoom, session: Session, direction: Direction): Promise<TransportParameters>
  connectTransport (session: Session, transportId: string, dtlsParameters: types.DtlsParameters): Promise<void>
  restartIce (session: Session, transportId: string): Promise<types.IceParameters>
  /** Lets a socket send audio, on the terms of who answers `media:produce`. */
  produce (session: Session, transportId: string, rtpParameters: types.RtpParameters): Promise<string>
  /** Says for what a producer is allowed from now on; see {@link ProducePermit}. */
  grant (session: Session, producerId: string, grant: string): void
  /** Closes a socket's producer, or all of them. */
  closeProducer (session: Session, producerId?: string): void
  /** Silences a producer, or all of a socket's. Idempotent. */
  pauseProducer (session: Session, by: PausedBy, producerId?: string): Promise<void>
  /** Takes back one reason for silence; it is heard when none is left. */
  resumeProducer (session: Session, by: PausedBy, producerId?: string): Promise<void>
  /** Lets a socket hear a producer of its room. Starts paused; an earlier consumer of the same producer is closed. */
  consume (session: Session, transportId: string, producerId: string, capabilities: types.RtpCapabilities): Promise<{ id: string, rtpParameters: types.RtpParameters }>
  pauseConsumer (session: Session, consumerId: string): Promise<void>
  /** @returns whether the producer is silent now, so that nothing will be heard yet */
  resumeConsumer (session: Session, consumerId: string): Promise<{ deferred: boolean }>
  /** Closes all that every socket has: there is no audio any more. */
  releaseAll (): void
}

declare module 'fastify' {
  interface FastifyInstance {
    sfu: Sfu
  }
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** May a socket send audio, and on what terms? It throws where it must not; without an answer it may. */
    'media:produce': (roomId: string, session: Session) => Promise<ProducePermit | undefined>
    /** A user has silenced what they send, or not any more. */
    'media:selfMuted': (roomId: string, session: Session, muted: boolean) => void
    'media:producerOpened': (roomId: string, producer: ProducerInfo, session: Session) => void
    'media:producerClosed': (roomId: string, producer: ProducerInfo, session: Session) => void
    'media:producerPaused': (roomId: string, producer: ProducerInfo, session: Session) => void
    'media:producerResumed': (roomId: string, producer: ProducerInfo, session: Session) => void
    'media:consumerClosed': (session: Session, consumerId: string) => void
    'media:speakers': (roomId: string, speakers: ActiveSpeakers) => void
    /** All that a room had on the media server is gone. */
    'media:reset': (roomId: string, reason: string) => void
  }
}

/** What the plugin needs besides {@link Sfu} itself. */
export interface SfuKeeping extends Sfu {
  release (session: Session): void
  workerDied (worker: MediaWorker): void
}

export function createSfu (app: FastifyInstance, pool: () => WorkerPool): SfuKeeping {
  const { hooks, log, store } = app
  const rooms = new Map<string, Promise<RoomMedia>>()
  const opened = new Map<string, RoomMedia>()
  const peers = new Map<string, Peer>()

  function mediaOf (roomId: string): Promise<RoomMedia> {
    const known = rooms.get(roomId)
    if (known) return known
    const made = open(roomId)
    rooms.set(roomId, made)
    made.catch(() => { if (rooms.get(roomId) === made) rooms.delete(roomId) })
    return made
  }

  async function open (roomId: string): Promise<RoomMedia> {
    const workers = pool()
    const worker = await workers.take()
    try {
      const router = await worker.worker.createRouter({ mediaCodecs })
      const media: RoomMedia = {
        roomId,
        worker,
        router,
        speakers: await watchSpeakers(
          router,
          (producerId) => media.producers.get(producerId)?.session.user.id,
          (speakers) => { if (!media.closed) hooks.emit('media:speakers', roomId, speakers) }
        ),
        peers: new Map(),
        producers: new Map(),
        closed: false
      }
      opened.set(roomId, media)
      return media
    } catch (error) {
      workers.release(worker)
      throw error
    }
  }

  function closeMedia (media: RoomMedia): void {
    if (media.closed) return
    media.closed = true
    media.speakers.close()
    media.router.close()
    pool().release(media.worker)
    if (opened.get(media.roomId) === media) {
      opened.delete(media.roomId)
      rooms.delete(media.roomId)
    }
  }

  function peerOf (session: Session): Peer {
    const peer = peers.get(session.id)
    if (!peer) throw new TransportNotFound('in this room')
    return peer
  }

  function transportOf (session: Session, transportId: string, direction?: Direction): { peer: Peer, transport: types.WebRtcTransport } {
    const peer = peers.get(session.id)
    const found = (['producer', 'consumer'] as const).find((type) => peer?.transports[type]?.id === transportId)
    const transport = found && peer?.transports[found]
    if (!peer || !transport) throw new TransportNotFound(transportId)
    if (direction && found !== direction) throw new TransportWrongType(direction)
    return { peer, transport }
  }

  function producersOfSession (session: Session, producerId?: string): ProducerEntry[] {
    const mine = peers.get(session.id)?.producers
    if (producerId === undefined) return [...mine?.values() ?? []]
    const entry = mine?.get(producerId)
    if (!entry) throw new ProducerNotFound(producerId)
    return [entry]
  }

  function consumerOf (session: Session, consumerId: string): types.Consumer {
    const consumer = peers.get(session.id)?.consumers.get(consumerId)
    if (!consumer) throw new ConsumerNotFound(consumerId)
    return consumer
  }

  /** Runs a call to mediasoup and turns its refusals into coded errors. */
  async function asking<T> (call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      log.debug({ err: error }, 'mediasoup refused')
      throw refusedByMedia(error)
    }
  }

  function countProducers (media: RoomMedia): void {
    store.touchRoom(media.roomId, Date.now(), media.producers.size).catch(() => { /* The count is for admins; the next change sets it right. */ })
  }

  function dropProducer (peer: Peer, entry: ProducerEntry): void {
    const { producer } = entry
    if (!peer.producers.delete(producer.id)) return
    peer.media.producers.delete(producer.id)
    producer.close()
    peer.media.speakers.remove(entry.session.user.id)
    countProducers(peer.media)
    hooks.emit('media:producerClosed', peer.media.roomId, infoOf(entry), entry.session)
  }

  function dropTransport (peer: Peer, direction: Direction): void {
    const transport = peer.transports[direction]
    if (!transport) return
    delete peer.transports[direction]
    peer.connected.delete(transport.id)
    if (direction === 'producer') for (const entry of [...peer.producers.values()]) dropProducer(peer, entry)
    else peer.consumers.clear()
    transport.close()
  }

  function release (session: Session): void {
    const peer = peers.get(session.id)
    if (!peer) return
    peer.closed = true
    peers.delete(session.id)
    dropTransport(peer, 'producer')
    dropTransport(peer, 'consumer')
    peer.media.peers.delete(session.id)
    if (peer.media.peers.size === 0) closeMedia(peer.media)
  }

  return {
    rtpCapabilities,
    get ready () {
      return pool().ready
    },
    workers: () => pool().alive().map(({ index, worker, port, routers }) => ({ index, pid: worker.pid, port, routers })),
    producersOf: (roomId) => [...opened.get(roomId)?.producers.values() ?? []].map(infoOf),
    producerHandles: (roomId) => [...opened.get(roomId)?.producers.values() ?? []].map(({ session, producer, grant }) => ({ session, producerId: producer.id, grant })),
    speakersOf: (roomId) => opened.get(roomId)?.speakers.active() ?? [],
    describe (roomId) {
      const media = opened.get(roomId)
      if (!media) return
      return {
        worker: media.worker.index,
        routerId: media.router.id,
        transports: [...media.peers.values()].flatMap(({ session, transports }) =>
          (['producer', 'consumer'] as const).flatMap((type) => {
            const transport = transports[type]
            return transport ? [{ transportId: transport.id, userId: session.user.id, type, iceState: transport.iceState, dtlsState: transport.dtlsState }] : []
          }))
      }
    },

    createTransport: (room, session, direction) => asking(async () => {
      let media = await mediaOf(room.roomId)
      // Those who had it may have left meanwhile, and it was closed behind them.
      while (media.closed) media = await mediaOf(room.roomId)
      if (session.roomId !== room.roomId) {
        if (media.peers.size === 0) closeMedia(media)
        throw new NotInRoom(`the room ${room.roomId} any more`)
      }
      const peer: Peer = peers.get(session.id) ?? {
        session, media, transports: {}, connected: new Set(), producing: 0, producers: new Map(), consumers: new Map(), closed: false
      }
      peers.set(session.id, peer)
      media.peers.set(session.id, peer)
      let transport: types.WebRtcTransport | undefined
      try {
        transport = await media.router.createWebRtcTransport({
          webRtcServer: media.worker.server,
          enableUdp: true,
          enableTcp: true,
          preferUdp: true,
          initialAvailableOutgoingBitrate: initialOutgoingBitrate
        })
        if (direction === 'producer') await transport.setMaxIncomingBitrate(maxIncomingBitrate)
      } catch (error) {
        transport?.close()
        if (!peer.closed) throw error
      }
      // The socket may have left the room, and be in another one, while the worker was asked.
      if (peer.closed || !transport) {
        transport?.close()
        throw session.roomId === room.roomId ? unavailable('The media server is restarting') : new NotInRoom(`the room ${room.roomId} any more`)
      }
      dropTransport(peer, direction)
      peer.transports[direction] = transport
      const { id, iceParameters, iceCandidates, dtlsParameters } = transport
      return { id, iceParameters, iceCandidates, dtlsParameters }
    }),

    connectTransport: (session, transportId, dtlsParameters) => asking(async () => {
      const { peer, transport } = transportOf(session, transportId)
      if (peer.connected.has(transportId)) throw new TransportAlreadyConnected()
      peer.connected.add(transportId)
      try {
        await transport.connect({ dtlsParameters })
      } catch (error) {
        peer.connected.delete(transportId)
        throw error
      }
    }),

    restartIce: (session, transportId) => asking(() => transportOf(session, transportId).transport.restartIce()),

    produce: (session, transportId, rtpParameters) => asking(async () => {
      const { peer, transport } = transportOf(session, transportId, 'producer')
      if (peer.producers.size + peer.producing >= maxProducers) throw new ProducerLimit(maxProducers)
      peer.producing++
      let permit: ProducePermit
      let producer: types.Producer
      try {
        permit = Object.assign({}, ...await hooks.ask('media:produce', peer.media.roomId, session)) as ProducePermit
        producer = await transport.produce({ kind: 'audio', rtpParameters, paused: permit.paused === true })
      } finally {
        peer.producing--
      }
      if (peer.closed || transport.closed) {
        producer.close()
        throw new TransportNotFound(transportId)
      }
      const entry: ProducerEntry = { producer, session, pausedBy: new Set(permit.paused === true ? ['server'] : []), grant: permit.grant }
      peer.producers.set(producer.id, entry)
      peer.media.producers.set(producer.id, entry)
      await peer.media.speakers.add(producer)
      // Others were told of its end, and must not hear of its beginning after that.
      if (!peer.producers.has(producer.id)) throw new ProducerNotFound(producer.id)
      countProducers(peer.media)
      hooks.emit('media:producerOpened', peer.media.roomId, infoOf(entry), session)
      return producer.id
    }),

    grant (session, producerId, grant) {
      for (const entry of producersOfSession(session, producerId)) entry.grant = grant
    },

    closeProducer (session, producerId) {
      const entries = producersOfSession(session, producerId)
      for (const entry of entries) dropProducer(peerOf(session), entry)
    },

    pauseProducer: (session, by, producerId) => asking(async () => {
      const entries = producersOfSession(session, producerId)
      if (by === 'self' && entries.some(({ pausedBy }) => !pausedBy.has('self'))) hooks.emit('media:selfMuted', peerOf(session).media.roomId, session, true)
      for (const entry of entries) {
        const wasPaused = entry.pausedBy.size > 0
        entry.pausedBy.add(by)
        if (wasPaused) continue
        await entry.producer.pause()
        peerOf(session).media.speakers.remove(session.user.id)
        hooks.emit('media:producerPaused', peerOf(session).media.roomId, infoOf(entry), session)
      }
    }),

    resumeProducer: (session, by, producerId) => asking(async () => {
      const entries = producersOfSession(session, producerId)
      if (by === 'self' && entries.some(({ pausedBy }) => pausedBy.has('self'))) hooks.emit('media:selfMuted', peerOf(session).media.roomId, session, false)
      for (const entry of entries) {
        if (!entry.pausedBy.delete(by) || entry.pausedBy.size > 0) continue
        await entry.producer.resume()
        hooks.emit('media:producerResumed', peerOf(session).media.roomId, infoOf(entry), session)
      }
    }),

    consume: (session, transportId, producerId, capabilities) => asking(async () => {
      const { peer, transport } = transportOf(session, transportId, 'consumer')
      if (!peer.media.producers.has(producerId)) throw new ProducerNotFound(producerId)
      if (!peer.media.router.canConsume({ producerId, rtpCapabilities: capabilities })) throw new CannotConsume()
      const consumer = await transport.consume({ producerId, rtpCapabilities: capabilities, paused: true })
      if (peer.closed || transport.closed) {
        consumer.close()
        throw new TransportNotFound(transportId)
      }
      for (const older of peer.consumers.values()) {
        if (older.producerId !== producerId) continue
        older.close()
        peer.consumers.delete(older.id)
        hooks.emit('media:consumerClosed', session, older.id)
      }
      peer.consumers.set(consumer.id, consumer)
      consumer.once('producerclose', () => {
        if (peer.consumers.delete(consumer.id)) hooks.emit('media:consumerClosed', session, consumer.id)
      })
      return { id: consumer.id, rtpParameters: consumer.rtpParameters }
    }),

    pauseConsumer: (session, consumerId) => asking(() => consumerOf(session, consumerId).pause()),

    resumeConsumer: (session, consumerId) => asking(async () => {
      const consumer = consumerOf(session, consumerId)
      await consumer.resume()
      return { deferred: consumer.producerPaused }
    }),

    releaseAll () {
      for (const { session } of [...peers.values()]) release(session)
    },

    release,

    workerDied (worker) {
      for (const media of [...opened.values()]) {
        if (media.worker !== worker) continue
        for (const peer of media.peers.values()) {
          peer.closed = true
          peers.delete(peer.session.id)
        }
        closeMedia(media)
        hooks.emit('media:reset', media.roomId, 'worker_died')
      }
    }
  }
}
