import type { types } from 'mediasoup'
import type { Session } from '../connections/session.ts'
import { unavailable } from '../errors/codes.ts'
import { NotInRoom } from '../rooms/errors.ts'
import { initialOutgoingBitrate } from './codecs.ts'
import { CannotConsume, ConsumerNotFound, ProducerLimit, ProducerNotFound, TransportAlreadyConnected, TransportNotFound, TransportWrongType } from './errors.ts'
import type { MediaWorker } from './pool.ts'
import type { ProducePermit, ProducerOwner, ProducerSource, RoomProducer } from './producer.ts'
import type { MediaUser, RoomMedia } from './room-media.ts'
import type { RoomRouter } from './room-router.ts'
import type { MonitoredTransport, TransportDescription } from './transport-monitor.ts'

export type Direction = 'producer' | 'consumer'
const directions = ['producer', 'consumer'] as const

export interface TransportParameters {
  id: string
  iceParameters: types.IceParameters
  iceCandidates: types.IceCandidate[]
  dtlsParameters: types.DtlsParameters
}

/**
 * Maximum number of producers per session. One producer is for the microphone. The others are for music and for
 * replacing a producer.
 */
const maxProducers = 4

/** The settings and callbacks that a peer needs. */
export interface PeerContext {
  nodeId: string
  /** Maximum bit rate of all audio from one session, in bits per second. */
  maxIncomingBitrate: number
  /** @throws if the session is not allowed to send audio */
  permit (roomId: string, session: Session): Promise<ProducePermit>
  consumerClosed (session: Session, consumerId: string): void
  monitor (transport: types.WebRtcTransport, about: TransportDescription): MonitoredTransport
  /** Called when the peer is closed, either on its own or because the media of its room is closed. */
  closed (peer: Peer): void
}

/** A transport and its router. */
interface PlacedTransport {
  transport: types.WebRtcTransport
  /**
   * The router of the transport and its consumers: the room's router on the worker, or an additional router for a
   * different payload type.
   */
  router: types.Router
  monitored: MonitoredTransport
  connected: boolean
  place: RoomRouter
  /**
   * Removes the transport from the counts of its worker and router. Call this exactly once, when the transport is
   * closed.
   */
  release: () => void
}

/** The transports, producers and consumers of one session in its room. */
export class Peer implements MediaUser {
  readonly session: Session
  readonly media: RoomMedia
  readonly consumers: Consumers
  readonly #context: PeerContext
  readonly #transports = new Map<Direction, PlacedTransport>()
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
    const { place, release: releasePlace } = await this.#placeFor(direction)
    let transport: types.WebRtcTransport | undefined
    let { router } = place
    let releaseRouter = () => {}
    const release = () => {
      releasePlace()
      releaseRouter()
    }
    try {
      const found = await place.payloadTypes.routerFor(payloadType)
      router = found.router
      releaseRouter = found.release
      transport = await router.createWebRtcTransport({
        webRtcServer: place.worker.server,
        enableUdp: true,
        enableTcp: true,
        preferUdp: true,
        initialAvailableOutgoingBitrate: initialOutgoingBitrate
      })
      if (direction === 'producer') await transport.setMaxIncomingBitrate(this.#context.maxIncomingBitrate)
    } catch (error) {
      transport?.close()
      if (!this.#closed) {
        release()
        throw error
      }
    }
    // During the request to the worker, the session may have left the room, or the media may have been closed.
    if (this.#closed || !transport || transport.closed) {
      release()
      transport?.close()
      throw this.session.roomId === this.media.roomId
        ? unavailable('The media connection was closed during the request')
        : new NotInRoom(`You are no longer in room ${this.media.roomId}`)
    }
    this.#closeTransport(direction)
    const candidates = place.worker.candidates(transport.iceCandidates)
    const monitored = this.#context.monitor(transport, { roomId: this.media.roomId, userId: this.session.user.id, direction, candidates })
    this.#transports.set(direction, { transport, router, monitored, connected: false, place, release })
    const { id, iceParameters, dtlsParameters } = transport
    return { id, iceParameters, iceCandidates: candidates, dtlsParameters }
  }

  async connectTransport (transportId: string, dtlsParameters: types.DtlsParameters): Promise<void> {
    const entry = this.#entry(transportId)
    if (entry.connected) throw new TransportAlreadyConnected()
    entry.connected = true
    try {
      await entry.transport.connect({ dtlsParameters })
      entry.monitored.connecting()
    } catch (error) {
      entry.connected = false
      throw error
    }
  }

  async restartIce (transportId: string): Promise<types.IceParameters> {
    const { transport, monitored } = this.#entry(transportId)
    const parameters = await transport.restartIce()
    monitored.connecting()
    return parameters
  }

  async produce (transportId: string, rtpParameters: types.RtpParameters, source: ProducerSource): Promise<string> {
    const { transport } = this.#entry(transportId, 'producer')
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
    this.#entry(transportId, 'consumer')
    if (!this.media.producers.has(producerId)) throw new ProducerNotFound(producerId)
    return await this.#consume(transportId, producerId, rtpCapabilities, paused)
  }

  /**
   * Creates a consumer of the room's mix.
   *
   * @param producerIdOf returns the id of the mix's producer, which is on the room's main router
   */
  async consumeMix (transportId: string, producerIdOf: () => Promise<string>, rtpCapabilities: types.RtpCapabilities, paused: boolean): Promise<types.Consumer> {
    this.#entry(transportId, 'consumer')
    return await this.#consume(transportId, await producerIdOf(), rtpCapabilities, paused)
  }

  async #consume (transportId: string, producerId: string, rtpCapabilities: types.RtpCapabilities, paused: boolean): Promise<types.Consumer> {
    const { transport, router, place } = this.#entry(transportId, 'consumer')
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
  async #placeFor (direction: Direction): Promise<{ place: RoomRouter, release: () => void }> {
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

  #entry (transportId: string, direction?: Direction) {
    for (const [found, entry] of this.#transports) {
      if (entry.transport.id !== transportId) continue
      if (direction && found !== direction) throw new TransportWrongType(direction)
      return entry
    }
    throw new TransportNotFound(transportId)
  }

  #closeTransport (direction: Direction): void {
    const entry = this.#transports.get(direction)
    if (!entry) return
    const { transport, release } = entry
    this.#transports.delete(direction)
    if (direction === 'producer') for (const producer of this.producers()) producer.close()
    else this.consumers.transportClosed()
    transport.close()
    release()
  }
}

/** The consumers of one session, at most one per producer. */
export class Consumers {
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
