import type { types } from 'mediasoup'
import type { FastifyInstance } from 'fastify'
import type { Session } from '../connections/session.ts'
import { NotInRoom } from '../rooms/errors.ts'
import type { LocalRoom } from '../rooms/node-rooms.ts'
import { ConsumerNotFound, ProducerNotFound, refused, TransportNotFound } from './errors.ts'
import type { Mixes, MixUse } from './mix/mixes.ts'
import { Peer } from './peer.ts'
import type { Direction, PeerContext, TransportParameters } from './peer.ts'
import type { PausedBy, ProducerSource } from './producer.ts'
import { createAudioQuota } from './quota.ts'
import type { MediaRooms } from './room-media.ts'
import { createTransportMonitor } from './transport-monitor.ts'

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

declare module '../hooks.ts' {
  interface KernelHooks {
    /** A user has paused or resumed a producer. */
    'media:selfMuted': (roomId: string, session: Session, muted: boolean) => void
    'media:consumerClosed': (session: Session, consumerId: string) => void
  }
}

/** {@link SessionMedia}, with additional methods that only the kernel uses. */
export interface OwnedSessionMedia extends SessionMedia {
  /** Whether a session has created a transport. */
  hasMedia (session: Session): boolean
  /** Closes all of a session's media. Idempotent. */
  release (session: Session): void
  /** The number of consumers of all sessions. */
  consumers (): number
}

export interface SessionMediaOptions {
  rooms: MediaRooms
  mixes: Mixes
  permit: PeerContext['permit']
  /** Maximum bit rate of all audio from one session, in bits per second. */
  maxIncomingBitrate: number
  /**
   * Waits until this server has a producer from another server, or the producer has ended. Does nothing for producers on
   * this server.
   */
  fetchRelayed (roomId: string, producerId: string): Promise<void>
}

export function createSessionMedia (app: FastifyInstance, { rooms, mixes, permit, maxIncomingBitrate, fetchRelayed }: SessionMediaOptions): OwnedSessionMedia {
  const { hooks, log, metrics, nodeId } = app
  const quota = createAudioQuota(app)
  const peers = new Map<string, Peer>()
  const peerContext: PeerContext = {
    nodeId,
    maxIncomingBitrate,
    permit,
    consumerClosed: (session, consumerId) => hooks.emit('media:consumerClosed', session, consumerId),
    monitor: createTransportMonitor(metrics, log),
    closed ({ session }) {
      peers.delete(session.id)
      quota.release(session)
    }
  }
  const mixConsumers = new Map<types.Consumer, Peer>()
  const mixListeners = metrics.gauge('flylive_mix_listeners', 'Consumers of the mix, in all rooms')

  /** Creates a peer's consumer of a mix. Closes the handle to the mix when the consumer is closed. */
  async function consumeMixAs (peer: Peer, use: MixUse, transportId: string, capabilities: types.RtpCapabilities, paused: boolean): Promise<ConsumerInfo> {
    try {
      const consumer = await peer.consumeMix(transportId, () => use.producerId(), capabilities, paused)
      mixConsumers.set(consumer, peer)
      mixListeners.set(mixConsumers.size)
      consumer.observer.once('close', () => {
        mixConsumers.delete(consumer)
        mixListeners.set(mixConsumers.size)
        use.close()
      })
      return consumer
    } catch (error) {
      use.close()
      throw error
    }
  }

  /**
   * @returns a session's peer
   * @throws the given error `missing` if the session has no media
   */
  function peerOf ({ id }: Session, missing: Error): Peer {
    const peer = peers.get(id)
    if (!peer) throw missing
    return peer
  }

  function withTransport (session: Session, transportId: string): Peer {
    return peerOf(session, new TransportNotFound(transportId))
  }

  function withConsumer (session: Session, consumerId: string): types.Consumer {
    return peerOf(session, new ConsumerNotFound(consumerId)).consumers.get(consumerId)
  }

  function producersOfSession ({ id }: Session, producerId?: string) {
    const peer = peers.get(id)
    if (!peer && producerId !== undefined) throw new ProducerNotFound(producerId)
    return { roomId: peer?.media.roomId ?? '', producers: peer?.producers(producerId) ?? [] }
  }

  async function peerIn (roomId: string, session: Session): Promise<Peer> {
    return await rooms.join(roomId, (media) => {
      if (session.roomId !== roomId) throw new NotInRoom(`You are no longer in room ${roomId}`)
      const peer = peers.get(session.id) ?? new Peer(session, media, peerContext)
      peers.set(session.id, peer)
      return peer
    })
  }

  return {
    createTransport: (room, session, direction, { payloadType } = {}) => refused(async () => {
      if (!peers.has(session.id)) await quota.claim(session, room.roomId)
      const peer = await peerIn(room.roomId, session).catch((error: unknown) => {
        if (!peers.has(session.id)) quota.release(session)
        throw error
      })
      return await peer.createTransport(direction, payloadType)
    }),
    connectTransport: (session, transportId, dtlsParameters) => refused(() => withTransport(session, transportId).connectTransport(transportId, dtlsParameters)),
    restartIce: (session, transportId) => refused(() => withTransport(session, transportId).restartIce(transportId)),

    produce: (session, transportId, rtpParameters, { source = 'voice' } = {}) => refused(() => withTransport(session, transportId).produce(transportId, rtpParameters, source)),
    closeProducer (session, producerId) {
      for (const producer of producersOfSession(session, producerId).producers) producer.close()
    },
    pauseProducer: (session, by, producerId) => refused(async () => {
      const { roomId, producers } = producersOfSession(session, producerId)
      if (by === 'self' && producers.some((producer) => !producer.isPausedBy('self'))) hooks.emit('media:selfMuted', roomId, session, true)
      for (const producer of producers) await producer.pause(by)
    }),
    resumeProducer: (session, by, producerId) => refused(async () => {
      const { roomId, producers } = producersOfSession(session, producerId)
      if (by === 'self' && producers.some((producer) => producer.isPausedBy('self'))) hooks.emit('media:selfMuted', roomId, session, false)
      for (const producer of producers) await producer.resume(by)
    }),

    consume: (session, transportId, producerId, capabilities, { paused = true } = {}) => refused(async () => {
      const peer = withTransport(session, transportId)
      await fetchRelayed(peer.media.roomId, producerId)
      return await peer.consume(transportId, producerId, capabilities, paused)
    }),
    consumeMix: (session, transportId, capabilities, { paused = true } = {}) => refused(async () => {
      const peer = withTransport(session, transportId)
      return await consumeMixAs(peer, await mixes.use(peer.media.roomId), transportId, capabilities, paused)
    }),
    closeMixConsumers () {
      for (const [consumer, peer] of [...mixConsumers]) peer.consumers.revoke(consumer)
    },
    pauseConsumer: (session, consumerId) => refused(() => withConsumer(session, consumerId).pause()),
    resumeConsumer: (session, consumerId) => refused(async () => {
      const consumer = withConsumer(session, consumerId)
      await consumer.resume()
      return { deferred: consumer.producerPaused }
    }),
    closeConsumer (session, consumerId) {
      peerOf(session, new ConsumerNotFound(consumerId)).consumers.close(consumerId)
    },

    releaseAll () {
      for (const peer of [...peers.values()]) peer.close()
    },

    hasMedia: ({ id }) => peers.has(id),
    release: ({ id }) => peers.get(id)?.close(),
    consumers: () => peers.values().reduce((sum, peer) => sum + peer.consumers.size, 0)
  }
}
