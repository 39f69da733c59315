import type { types } from 'mediasoup'
import type { UserId } from '../connections/session.ts'
import type { Hooks } from '../hooks.ts'
import { mediaCodecs } from './codecs.ts'
import { ProducerNotFound } from './errors.ts'
import { PayloadTypeRouters } from './payload-types.ts'
import type { MediaWorker, WorkerPool } from './pool.ts'
import { RoomProducer } from './producer.ts'
import type { CloseCause, ProducePermit, ProducerInfo, ProducerOwner, ProducerSource } from './producer.ts'
import { watchSpeakers } from './speakers.ts'
import type { ActiveSpeakers, Speakers } from './speakers.ts'

declare module '../hooks.ts' {
  interface KernelHooks {
    'media:producerOpened': (roomId: string, producer: ProducerInfo, owner: ProducerOwner) => void
    'media:producerClosed': (roomId: string, producer: ProducerInfo, owner: ProducerOwner, cause?: CloseCause) => void
    'media:producerPaused': (roomId: string, producer: ProducerInfo, owner: ProducerOwner) => void
    'media:producerResumed': (roomId: string, producer: ProducerInfo, owner: ProducerOwner) => void
    'media:speakers': (roomId: string, speakers: ActiveSpeakers) => void
  }
}

/** A user (a peer, a tap or an injection) of a room's router. The router stays open until its last user leaves. */
export interface MediaUser {
  /** Called when the router is closed. All media of the user on this router are then closed, too. */
  mediaClosed (): void
  /** Called when a producer of the room has started. */
  producerOpened? (producer: RoomProducer): void
  /** Called when a producer of the room is closed while the router stays open. */
  producerClosed? (producer: RoomProducer): void
}

/** The server functions that the media of a room needs. */
export interface RoomMediaContext {
  hooks: Hooks
  pool: WorkerPool
  /** Called when the number of producers in a room changes. */
  counted (roomId: string, producers: number): void
}

/** A room's router, its producers, and the observer of their audio levels. */
export class RoomMedia {
  readonly roomId: string
  readonly worker: MediaWorker
  readonly router: types.Router
  /** The room's router, and routers whose consumers use other payload types. */
  readonly routers: PayloadTypeRouters
  readonly producers = new Map<string, RoomProducer>()
  readonly #speakers: Speakers
  readonly #users = new Set<MediaUser>()
  readonly #context: RoomMediaContext
  readonly #onClosed: (media: RoomMedia) => void
  #closed = false

  /**
   * @param onClosed called once, when the router is closed
   * @throws the errors of {@link WorkerPool.take}, and if the worker dies
   */
  static async open (roomId: string, context: RoomMediaContext, onClosed: (media: RoomMedia) => void): Promise<RoomMedia> {
    const worker = await context.pool.take()
    try {
      const router = await worker.worker.createRouter({ mediaCodecs })
      const speakers = await watchSpeakers(
        router,
        (producerId) => media.producers.get(producerId)?.owner.userId,
        (active) => { if (!media.closed) context.hooks.emit('media:speakers', roomId, active) }
      )
      const media = new RoomMedia(roomId, worker, router, speakers, context, onClosed)
      return media
    } catch (error) {
      context.pool.release(worker)
      throw error
    }
  }

  private constructor (roomId: string, worker: MediaWorker, router: types.Router, speakers: Speakers, context: RoomMediaContext, onClosed: (media: RoomMedia) => void) {
    this.roomId = roomId
    this.worker = worker
    this.router = router
    this.routers = new PayloadTypeRouters(router, worker.worker)
    this.#speakers = speakers
    this.#context = context
    this.#onClosed = onClosed
  }

  get closed (): boolean {
    return this.#closed
  }

  get users (): ReadonlySet<MediaUser> {
    return this.#users
  }

  /** The active speakers. */
  activeSpeakers (): UserId[] {
    return this.#speakers.active()
  }

  join (user: MediaUser): void {
    this.#users.add(user)
  }

  /** Removes a user, and closes the router if it has no other user. Idempotent. */
  leave (user: MediaUser): void {
    this.#users.delete(user)
    this.closeIfUnused()
  }

  closeIfUnused (): void {
    if (this.#users.size === 0) this.close()
  }

  /** Adds a producer that was created on this router. */
  addProducer (producer: types.Producer, owner: ProducerOwner, { source = 'voice', permit = {} }: { source?: ProducerSource, permit?: ProducePermit } = {}): RoomProducer {
    const { hooks, counted } = this.#context
    const added = new RoomProducer(producer, owner, { source, permit }, {
      closed: (_producer, cause) => {
        this.producers.delete(producer.id)
        if (source === 'voice') this.#speakers.remove(owner.userId)
        counted(this.roomId, this.producers.size)
        for (const user of this.#users) user.producerClosed?.(added)
        hooks.emit('media:producerClosed', this.roomId, added.info, owner, cause)
      },
      paused: () => {
        if (source === 'voice') this.#speakers.remove(owner.userId)
        hooks.emit('media:producerPaused', this.roomId, added.info, owner)
      },
      resumed: () => hooks.emit('media:producerResumed', this.roomId, added.info, owner)
    })
    this.producers.set(producer.id, added)
    return added
  }

  /**
   * Starts observing the audio level of a new producer, and announces the producer.
   *
   * @throws PRODUCER_NOT_FOUND if the producer has already been closed
   */
  async announce (producer: RoomProducer): Promise<void> {
    const { hooks, counted } = this.#context
    const { producerId, owner } = producer
    // Music is not speech. Services, such as a mix of all speakers, are not speakers. Other nodes observe their own speakers.
    if (owner.kind === 'session' && producer.source === 'voice') await this.#speakers.add(producerId)
    if (producer.closed) throw new ProducerNotFound(producerId)
    counted(this.roomId, this.producers.size)
    hooks.emit('media:producerOpened', this.roomId, producer.info, owner)
    for (const user of this.#users) user.producerOpened?.(producer)
  }

  /** Closes the router and all media on it. Idempotent. */
  close (): void {
    if (this.#closed) return
    this.#closed = true
    this.#speakers.close()
    this.routers.close()
    this.router.close()
    this.#context.pool.release(this.worker)
    this.#onClosed(this)
    for (const user of this.#users) user.mediaClosed()
    this.#users.clear()
  }
}

/** The rooms that have a router on this server. */
export class MediaRooms {
  readonly #context: RoomMediaContext
  readonly #opening = new Map<string, Promise<RoomMedia>>()
  readonly #open = new Map<string, RoomMedia>()

  constructor (context: RoomMediaContext) {
    this.#context = context
  }

  get (roomId: string): RoomMedia | undefined {
    return this.#open.get(roomId)
  }

  all (): Iterable<RoomMedia> {
    return this.#open.values()
  }

  /**
   * Adds a user to the media of a room. The first user opens the router.
   *
   * @param create creates the user; if it throws and the router has no other users, the router is closed
   * @throws the errors of `create` and {@link RoomMedia.open}
   */
  async join<T extends MediaUser> (roomId: string, create: (media: RoomMedia) => T): Promise<T> {
    let media = await this.#mediaOf(roomId)
    // The last user may have left during the wait.
    while (media.closed) media = await this.#mediaOf(roomId)
    try {
      const user = create(media)
      media.join(user)
      return user
    } catch (error) {
      media.closeIfUnused()
      throw error
    }
  }

  /**
   * Closes the routers that were on a dead worker.
   *
   * @returns the ids of the routers' rooms
   */
  workerDied (worker: MediaWorker): string[] {
    const lost = [...this.#open.values()].filter((media) => media.worker === worker)
    for (const media of lost) media.close()
    return lost.map(({ roomId }) => roomId)
  }

  async #mediaOf (roomId: string): Promise<RoomMedia> {
    const known = this.#open.get(roomId) ?? this.#opening.get(roomId)
    if (known) return await known
    const opening = RoomMedia.open(roomId, this.#context, (media) => {
      if (this.#open.get(roomId) === media) this.#open.delete(roomId)
    })
    this.#opening.set(roomId, opening)
    try {
      const media = await opening
      this.#open.set(roomId, media)
      return media
    } finally {
      this.#opening.delete(roomId)
    }
  }
}
