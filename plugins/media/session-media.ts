import type { types } from 'mediasoup'
import type { FastifyInstance } from 'fastify'
import type { Session } from '../connections/session.ts'
import { unavailable } from '../errors/codes.ts'
import { NotInRoom } from '../rooms/errors.ts'
import { ClientTransport } from './client-transport.ts'
import type { Direction, TransportParameters, TransportPlace } from './client-transport.ts'
import { CannotConsume, ConsumerNotFound, ProducerLimit, ProducerNotFound, refused, TransportNotFound, TransportWrongType } from './errors.ts'
import type { Mixes } from './mix/mixes.ts'
import type { MediaWorker } from './pool.ts'
import type { PausedBy, ProducePermit, ProducerOwner, ProducerSource, RoomProducer } from './producer.ts'
import { createAudioQuota } from './quota.ts'
import type { MediaRooms, MediaUser, RoomMedia } from './room-media.ts'
import type { SessionMedia } from './sfu.ts'
import { createTransportMonitor } from './transport-monitor.ts'

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
  /** @throws if the session is not allowed to send audio */
  permit (roomId: string, session: Session): Promise<ProducePermit>
  /** Maximum bit rate of all audio from one session, in bits per second. */
  maxIncomingBitrate: number
  /**
   * Waits until this server has a producer from another server, or the producer has ended. Does nothing for producers on
   * this server.
   */
  fetchRelayed (roomId: string, producerId: string): Promise<void>
}

/**
 * Maximum number of producers per session. One producer is for the microphone. The others are for music and for
 * replacing a producer.
 */
const maxProducers = 4

const directions = ['producer', 'consumer'] as const

/** Manages the media of all sessions. Each session gets a {@link Peer} when the session creates its first transport. */
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

  /** @throws TRANSPORT_NOT_FOUND if the session has no media */
  function peerWith (transportId: string, { id }: Session): Peer {
    const peer = peers.get(id)
    if (!peer) throw new TransportNotFound(transportId)
    return peer
  }

  /** @throws CONSUMER_NOT_FOUND if the session has no media */
  function consumersWith (consumerId: string, { id }: Session): Consumers {
    const peer = peers.get(id)
    if (!peer) throw new ConsumerNotFound(consumerId)
    return peer.consumers
  }

  /** @throws PRODUCER_NOT_FOUND if the session has no producer with the given id */
  function producersOf ({ id }: Session, producerId?: string) {
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

  /** Emits `media:selfMuted` if the user pauses or resumes at least one producer that is not in that state yet. */
  function selfMuted (session: Session, by: PausedBy, muted: boolean, { roomId, producers }: ReturnType<typeof producersOf>): void {
    if (by === 'self' && producers.some((producer) => producer.isPausedBy('self') !== muted)) hooks.emit('media:selfMuted', roomId, session, muted)
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
    connectTransport: (session, transportId, dtlsParameters) => refused(async () => await peerWith(transportId, session).transport(transportId).connect(dtlsParameters)),
    restartIce: (session, transportId) => refused(async () => await peerWith(transportId, session).transport(transportId).restartIce()),

    produce: (session, transportId, rtpParameters, { source = 'voice' } = {}) => refused(async () => await peerWith(transportId, session).produce(transportId, rtpParameters, source)),
    closeProducer (session, producerId) {
      for (const producer of producersOf(session, producerId).producers) producer.close()
    },
    pauseProducer: (session, by, producerId) => refused(async () => {
      const found = producersOf(session, producerId)
      selfMuted(session, by, true, found)
      for (const producer of found.producers) await producer.pause(by)
    }),
    resumeProducer: (session, by, producerId) => refused(async () => {
      const found = producersOf(session, producerId)
      selfMuted(session, by, false, found)
      for (const producer of found.producers) await producer.resume(by)
    }),

    consume: (session, transportId, producerId, capabilities, { paused = true } = {}) => refused(async () => {
      const peer = peerWith(transportId, session)
      await fetchRelayed(peer.media.roomId, producerId)
      return await peer.consume(transportId, producerId, capabilities, paused)
    }),
    consumeMix: (session, transportId, capabilities, { paused = true } = {}) => refused(async () => {
      const peer = peerWith(transportId, session)
      const mix = await mixes.use(peer.media.roomId)
      try {
        const consumer = await peer.consumeMix(transportId, () => mix.producerId(), capabilities, paused)
        mixConsumers.set(consumer, peer)
        mixListeners.set(mixConsumers.size)
        consumer.observer.once('close', () => {
          mixConsumers.delete(consumer)
          mixListeners.set(mixConsumers.size)
          mix.close()
        })
        return consumer
      } catch (error) {
        mix.close()
        throw error
      }
    }),
    closeMixConsumers () {
      for (const [consumer, peer] of [...mixConsumers]) peer.consumers.revoke(consumer)
    },
    pauseConsumer: (session, consumerId) => refused(async () => await consumersWith(consumerId, session).get(consumerId).pause()),
    resumeConsumer: (session, consumerId) => refused(async () => {
      const consumer = consumersWith(consumerId, session).get(consumerId)
      await consumer.resume()
      return { deferred: consumer.producerPaused }
    }),
    closeConsumer (session, consumerId) {
      consumersWith(consumerId, session).close(consumerId)
    },

    releaseAll () {
      for (const peer of [...peers.values()]) peer.close()
    },

    hasMedia: ({ id }) => peers.has(id),
    release: ({ id }) => peers.get(id)?.close(),
    consumers: () => peers.values().reduce((sum, peer) => sum + peer.consumers.size, 0)
  }
}

/** The settings and callbacks that a peer needs. */
interface PeerContext extends Pick<SessionMediaOptions, 'permit' | 'maxIncomingBitrate'> {
  nodeId: string
  consumerClosed (session: Session, consumerId: string): void
  monitor: ReturnType<typeof createTransportMonitor>
  /** Called when the peer is closed, either on its own or because the media of its room is closed. */
  closed (peer: Peer): void
}

/** The transports, producers and consumers of one session in its room. */
export class Peer implements MediaUser {
  readonly session: Session
  readonly media: RoomMedia
  readonly consumers: Consumers
  readonly #context: PeerContext
  readonly #transports = new Map<Direction, ClientTransport>()
  readonly #producers = new Map<string, RoomProducer>()
  /** Number of producers whose creation is in progress. */
  #producing = 0
  #closed = false

  constructor (session: Session, media: RoomMedia, context: PeerContext) {
    this.session = session
    this.media = media
    this.#context = context
    this.consumers = new Consumers((consumerId) => context.consumerClosed(session, consumerId))
  }

  get transports (): { direction: Direction, transport: types.WebRtcTransport }[] {
    return [...this.#transports].map(([direction, { transport }]) => ({ direction, transport }))
  }

  /**
   * @returns the producer with the given id; all producers if no id is given
   * @throws PRODUCER_NOT_FOUND
   */
  producers (producerId?: string): RoomProducer[] {
    if (producerId === undefined) return [...this.#producers.values()]
    const producer = this.#producers.get(producerId)
    if (!producer) throw new ProducerNotFound(producerId)
    return [producer]
  }

  /**
   * Creates a transport and closes any earlier transport in the same direction.
   *
   * @param payloadType the Opus payload type of the transport's consumers
   */
  async createTransport (direction: Direction, payloadType?: number): Promise<TransportParameters> {
    const place = await this.#placeFor(direction)
    const opened = await ClientTransport.open(place, { direction, payloadType, maxIncomingBitrate: this.#context.maxIncomingBitrate }).catch((error: unknown) => {
      if (!this.#closed) throw error
    })
    // During the request to the worker, the session may have left the room, or the media may have been closed.
    if (this.#closed || !opened || opened.transport.closed) {
      opened?.close()
      throw this.session.roomId === this.media.roomId
        ? unavailable('The media connection was closed during the request')
        : new NotInRoom(`You are no longer in room ${this.media.roomId}`)
    }
    this.#closeTransport(direction)
    opened.monitor(this.#context.monitor, { roomId: this.media.roomId, userId: this.session.user.id, direction })
    this.#transports.set(direction, opened)
    return opened.parameters
  }

  /**
   * @param direction the direction that the transport must have; default: any
   * @throws TRANSPORT_NOT_FOUND, TRANSPORT_WRONG_TYPE
   */
  transport (transportId: string, direction?: Direction): ClientTransport {
    for (const [found, one] of this.#transports) {
      if (one.transport.id !== transportId) continue
      if (direction && found !== direction) throw new TransportWrongType(direction)
      return one
    }
    throw new TransportNotFound(transportId)
  }

  async produce (transportId: string, rtpParameters: types.RtpParameters, source: ProducerSource): Promise<string> {
    const { transport } = this.transport(transportId, 'producer')
    if (this.#producers.size + this.#producing >= maxProducers) throw new ProducerLimit(maxProducers)
    this.#producing++
    let permit: ProducePermit
    let producer: types.Producer
    try {
      permit = await this.#context.permit(this.media.roomId, this.session)
      producer = await transport.produce({ kind: 'audio', rtpParameters, paused: permit.paused === true, appData: { source } })
    } finally {
      this.#producing--
    }
    if (this.#closed || transport.closed) {
      producer.close()
      throw new TransportNotFound(transportId)
    }
    const added = this.media.addProducer(producer, this.#owner, { source, permit })
    this.#producers.set(producer.id, added)
    try {
      await this.media.announce(added)
    } catch (error) {
      // If the session lost its permission to send during the request, reply with the reason.
      if (added.closed && !this.#closed) await this.#context.permit(this.media.roomId, this.session)
      throw error
    }
    return producer.id
  }

  async consume (transportId: string, producerId: string, rtpCapabilities: types.RtpCapabilities, paused: boolean): Promise<types.Consumer> {
    this.transport(transportId, 'consumer')
    if (!this.media.producers.has(producerId)) throw new ProducerNotFound(producerId)
    return await this.#consume(transportId, producerId, rtpCapabilities, paused)
  }

  /**
   * Creates a consumer of the room's mix.
   *
   * @param producerIdOf returns the id of the mix's producer, which is on the room's main router
   */
  async consumeMix (transportId: string, producerIdOf: () => Promise<string>, rtpCapabilities: types.RtpCapabilities, paused: boolean): Promise<types.Consumer> {
    this.transport(transportId, 'consumer')
    return await this.#consume(transportId, await producerIdOf(), rtpCapabilities, paused)
  }

  async #consume (transportId: string, producerId: string, rtpCapabilities: types.RtpCapabilities, paused: boolean): Promise<types.Consumer> {
    const { transport, router, place } = this.transport(transportId, 'consumer')
    const main = await this.media.main()
    if (!main.router.canConsume({ producerId, rtpCapabilities })) throw new CannotConsume()
    const release = await place.pipe(main, producerId)
    let consumer: types.Consumer
    try {
      const id = await place.payloadTypes.provide(producerId, router)
      consumer = await transport.consume({ producerId: id, rtpCapabilities, paused })
    } catch (error) {
      release()
      throw error
    }
    place.worker.listeners++
    consumer.observer.once('close', () => {
      place.worker.listeners--
      release()
    })
    if (this.#closed || transport.closed) {
      consumer.close()
      throw new TransportNotFound(transportId)
    }
    this.consumers.add(consumer)
    return consumer
  }

  /** Closes all media of the session. Idempotent. */
  close (): void {
    if (this.#closed) return
    this.#end()
    for (const direction of directions) this.#closeTransport(direction)
    this.media.leave(this)
  }

  producerClosed ({ producerId }: RoomProducer): void {
    this.#producers.delete(producerId)
  }

  mediaClosed (): void {
    if (!this.#closed) this.#end()
  }

  workerDied (worker: MediaWorker): boolean {
    const lost = [...this.#transports].filter(([, { place }]) => place.worker === worker)
    for (const [direction] of lost) this.#closeTransport(direction)
    return lost.length > 0
  }

  /**
   * Chooses the router for a transport. A user who sends audio also receives audio on the room's main router, so that
   * the user depends on only one worker.
   */
  async #placeFor (direction: Direction): Promise<TransportPlace> {
    if (direction === 'producer') return { place: await this.media.main(), release: () => {} }
    return await this.media.listen(this.#transports.has('producer'))
  }

  #end (): void {
    this.#closed = true
    this.#context.closed(this)
  }

  get #owner (): ProducerOwner {
    const { id: sessionId, user, userKey } = this.session
    return { userId: user.id, userKey, nodeId: this.#context.nodeId, sessionId, kind: 'session' }
  }

  #closeTransport (direction: Direction): void {
    const closing = this.#transports.get(direction)
    if (!closing) return
    this.#transports.delete(direction)
    if (direction === 'producer') for (const producer of this.producers()) producer.close()
    else this.consumers.transportClosed()
    closing.close()
  }
}

/** The consumers of one session, at most one per producer. */
class Consumers {
  readonly #byId = new Map<string, types.Consumer>()
  readonly #onClosed: (consumerId: string) => void

  /**
   * @param onClosed called when a consumer is closed because it is replaced or revoked, or because its producer is
   *   closed
   */
  constructor (onClosed: (consumerId: string) => void) {
    this.#onClosed = onClosed
  }

  get size (): number {
    return this.#byId.size
  }

  /** @throws CONSUMER_NOT_FOUND */
  get (consumerId: string): types.Consumer {
    const consumer = this.#byId.get(consumerId)
    if (!consumer) throw new ConsumerNotFound(consumerId)
    return consumer
  }

  /** Adds a consumer and closes any earlier consumer of the same producer. */
  add (consumer: types.Consumer): void {
    for (const older of this.#byId.values()) {
      if (older.producerId !== consumer.producerId) continue
      older.close()
      this.#closed(older)
    }
    this.#byId.set(consumer.id, consumer)
    consumer.once('producerclose', () => this.#closed(consumer))
  }

  /**
   * Closes a consumer because its owner requested it. Does not notify the owner.
   *
   * @throws CONSUMER_NOT_FOUND
   */
  close (consumerId: string): void {
    this.get(consumerId).close()
    this.#byId.delete(consumerId)
  }

  /** Closes a consumer and notifies its owner. */
  revoke (consumer: types.Consumer): void {
    consumer.close()
    this.#closed(consumer)
  }

  /** Removes all consumers, because their transport is closed. */
  transportClosed (): void {
    this.#byId.clear()
  }

  #closed ({ id }: types.Consumer): void {
    if (this.#byId.delete(id)) this.#onClosed(id)
  }
}
