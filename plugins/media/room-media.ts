import type { types } from 'mediasoup'
import type { UserId } from '../connections/session.ts'
import type { Hooks } from '../hooks.ts'
import { unavailable } from '../errors/codes.ts'
import { ProducerNotFound } from './errors.ts'
import type { MediaWorker, WorkerPool } from './pool.ts'
import { RoomProducer } from './producer.ts'
import { RoomRouter } from './room-router.ts'
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

/**
 * A peer, tap, injection or mix output that uses a room's media. The media stays open until the last `MediaUser`
 * leaves.
 */
export interface MediaUser {
  /** Called when all media of the room is closed, including the media of this `MediaUser`. */
  mediaClosed (): void
  /**
   * Called when a worker dies but the room's media stays open on other workers.
   *
   * @returns true if this `MediaUser` has lost media
   */
  workerDied (worker: MediaWorker): boolean
  /** Called after a producer is added to the room. */
  producerOpened? (producer: RoomProducer): void
  /** Called when one of the room's producers is closed while the room's media stays open. */
  producerClosed? (producer: RoomProducer): void
}

/** The hooks and callbacks that a room's media needs. */
export interface RoomMediaContext {
  hooks: Hooks
  pool: WorkerPool
  /** Called when the number of a room's producers on this server changes. Each server counts only its own producers. */
  counted (roomId: string, producers: number): void
  /** Called after a producer on this server is announced, closed, paused or resumed. */
  changed (roomId: string): void
  /** Called after a room's media is opened or closed. */
  mediaChanged (roomId: string): void
  /** Called after the active speakers on this server change. */
  speaking (roomId: string, speakers: ActiveSpeakers): void
}

/** The main router of a room, which has the room's producers, and the observer of the producers' audio levels. */
interface Main {
  at: RoomRouter
  speakers: Speakers
}

/**
 * A room's media: its routers, at most one per worker, and its producers. The receiving transports of clients may be on
 * any of these routers.
 */
export class RoomMedia {
  readonly roomId: string
  readonly producers = new Map<string, RoomProducer>()
  readonly #users = new Set<MediaUser>()
  readonly #context: RoomMediaContext
  readonly #onClosed: (media: RoomMedia) => void
  /** The room's additional routers, by worker. */
  readonly #further = new Map<MediaWorker, Promise<RoomRouter>>()
  #main: Main | undefined
  #openingMain: Promise<RoomRouter> | undefined
  #closed = false

  /**
   * @param onClosed called once, when the media is closed
   * @throws any error that {@link WorkerPool.take} throws, and an error if the worker dies
   */
  static async open (roomId: string, context: RoomMediaContext, onClosed: (media: RoomMedia) => void): Promise<RoomMedia> {
    const media = new RoomMedia(roomId, context, onClosed)
    await media.main()
    return media
  }

  private constructor (roomId: string, context: RoomMediaContext, onClosed: (media: RoomMedia) => void) {
    this.roomId = roomId
    this.#context = context
    this.#onClosed = onClosed
  }

  get closed (): boolean {
    return this.#closed
  }

  get users (): ReadonlySet<MediaUser> {
    return this.#users
  }

  /** The main router and its worker; undefined while another router is taking over. */
  get current (): RoomRouter | undefined {
    return this.#main?.at
  }

  /** Number of producers, without those that relay voices from other servers. */
  get #ownCount (): number {
    return this.producers.values().filter(({ owner }) => owner.kind !== 'relay').toArray().length
  }

  /** The active speakers on this server. */
  speaking (): { activeSpeakers: UserId[], levels: number[] } {
    return { activeSpeakers: this.#main?.speakers.active() ?? [], levels: this.#main?.speakers.levels() ?? [] }
  }

  join (user: MediaUser): void {
    this.#users.add(user)
  }

  /** Removes a `MediaUser`. Closes the media if no other `MediaUser` is left. Idempotent. */
  leave (user: MediaUser): void {
    this.#users.delete(user)
    this.closeIfUnused()
  }

  closeIfUnused (): void {
    if (this.#users.size === 0) this.close()
  }

  /**
   * @returns the router that has all producers of the room. If the worker of that router has died, another router takes
   *   its place
   * @throws any error that {@link WorkerPool.take} throws; UNAVAILABLE if the media is closed
   */
  async main (): Promise<RoomRouter> {
    if (this.#main) return this.#main.at
    this.#openingMain ??= this.#openMain().finally(() => { this.#openingMain = undefined })
    return await this.#openingMain
  }

  /**
   * Chooses the router for a client's receiving transport.
   *
   * @param withProducers true to choose the main router
   * @returns the router, and a function that the caller must call exactly once: when the transport closes, or if its
   *   creation fails
   * @throws any error that {@link main} or {@link WorkerPool.spread} throws
   */
  async listen (withProducers: boolean): Promise<{ place: RoomRouter, release: () => void }> {
    const main = await this.main()
    const { pool } = this.#context
    const worker = withProducers ? pool.place(main.worker) : await pool.spread([main.worker, ...this.#further.keys()])
    if (worker === main.worker) return { place: main, release: main.listen(() => {}) }
    try {
      const opening = this.#further.get(worker) ?? this.#openFurther(worker)
      const place = await opening
      if (this.#further.get(worker) !== opening && this.current !== place) throw unavailable('The media connection was closed during the request')
      return { place, release: place.listen(() => this.#closeFurther(worker, opening)) }
    } catch (error) {
      worker.listeners--
      throw error
    }
  }

  /** Adds a producer that was created on the {@link main} router. */
  addProducer (producer: types.Producer, owner: ProducerOwner, { source = 'voice', permit = {} }: { source?: ProducerSource, permit?: ProducePermit } = {}): RoomProducer {
    const { hooks, changed, counted } = this.#context
    const added = new RoomProducer(producer, owner, { source, permit }, {
      closed: (_producer, cause) => {
        this.producers.delete(producer.id)
        if (source === 'voice') this.#main?.speakers.remove(owner.userId)
        counted(this.roomId, this.#ownCount)
        for (const user of this.#users) user.producerClosed?.(added)
        if (added.announced) hooks.emit('media:producerClosed', this.roomId, added.info, owner, cause)
        changed(this.roomId)
      },
      paused: () => {
        if (source === 'voice') this.#main?.speakers.remove(owner.userId)
        if (added.announced) hooks.emit('media:producerPaused', this.roomId, added.info, owner)
        changed(this.roomId)
      },
      resumed: () => {
        if (added.announced) hooks.emit('media:producerResumed', this.roomId, added.info, owner)
        changed(this.roomId)
      }
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
    const { hooks, changed, counted } = this.#context
    const { producerId, owner } = producer
    // Observe only the voices that sessions send. Music does not count as a speaker, and a service may send a mix of
    // all speakers. Each server observes the voices of its own sessions.
    if (owner.kind === 'session' && producer.source === 'voice') await this.#main?.speakers.add(producerId)
    if (producer.closed) throw new ProducerNotFound(producerId)
    counted(this.roomId, this.#ownCount)
    hooks.emit('media:producerOpened', this.roomId, producer.info, owner)
    // Set this after the event: if a handler closes the producer, members must still receive the start before the end.
    producer.announced = true
    if (producer.closed) {
      hooks.emit('media:producerClosed', this.roomId, producer.info, owner)
      throw new ProducerNotFound(producerId)
    }
    // The producer of a muted user is paused from the beginning, but clients assume that a new producer is not paused.
    if (producer.info.isPaused) hooks.emit('media:producerPaused', this.roomId, producer.info, owner)
    for (const user of this.#users) user.producerOpened?.(producer)
    changed(this.roomId)
  }

  /**
   * Adds a voice from another server. This function does not announce the voice, because the relays do so. It does not
   * observe the audio level, because the other server does so.
   */
  addRelayed (producer: types.Producer, owner: ProducerOwner, source: ProducerSource, paused: boolean): RoomProducer {
    const added = new RoomProducer(producer, owner, { source, permit: { paused } }, {
      closed: () => {
        this.producers.delete(producer.id)
        for (const user of this.#users) user.producerClosed?.(added)
      },
      paused: () => {},
      resumed: () => {}
    })
    this.producers.set(producer.id, added)
    return added
  }

  /** Notifies every `MediaUser` of the room that a voice from another server has been added. */
  announceRelayed (producer: RoomProducer): void {
    for (const user of this.#users) user.producerOpened?.(producer)
  }

  /**
   * Closes everything that was on a dead worker. Closes the room's media if the room uses no other worker.
   *
   * @returns every `MediaUser` that has lost media; undefined if the room did not use the worker
   */
  workerDied (worker: MediaWorker): MediaUser[] | undefined {
    const main = this.#main
    const users = [...this.#users]
    if (main?.at.worker === worker) {
      if (this.#further.size === 0) {
        this.close()
        return users
      }
      this.#main = undefined
      const lost = users.filter((user) => user.workerDied(worker))
      for (const producer of [...this.producers.values()]) producer.lost()
      if (main.speakers.active().length > 0) this.#context.speaking(this.roomId, { userId: null, activeSpeakers: [], levels: [], timestamp: Date.now() })
      main.speakers.close()
      main.at.close()
      this.closeIfUnused()
      return lost
    }
    const further = this.#further.get(worker)
    if (!further) return
    const lost = users.filter((user) => user.workerDied(worker))
    this.#closeFurther(worker, further)
    return lost
  }

  /** Closes the routers and all media on them. Idempotent. */
  close (): void {
    if (this.#closed) return
    this.#closed = true
    for (const [worker, opening] of [...this.#further]) this.#closeFurther(worker, opening)
    this.#main?.speakers.close()
    this.#main?.at.close()
    this.#onClosed(this)
    for (const user of this.#users) user.mediaClosed()
    this.#users.clear()
  }

  async #openMain (): Promise<RoomRouter> {
    const { pool, speaking } = this.#context
    const [promoted] = this.#further.entries()
    const at = await (promoted?.[1] ?? RoomRouter.first(pool))
    try {
      const speakers = await watchSpeakers(
        at.router,
        (producerId) => this.producers.get(producerId)?.owner.userId,
        (active) => { if (!this.#closed) speaking(this.roomId, active) }
      )
      // During the request, the router may have lost its last listener, or the room's media may have been closed.
      if (this.#closed || (promoted && this.#further.get(promoted[0]) !== promoted[1])) throw unavailable('The media connection was closed during the request')
      if (promoted) this.#further.delete(promoted[0])
      this.#main = { at, speakers }
      return at
    } catch (error) {
      if (!promoted) at.close()
      throw error
    }
  }

  #openFurther (worker: MediaWorker): Promise<RoomRouter> {
    const opening = RoomRouter.further(worker, this.#context.pool)
    this.#further.set(worker, opening)
    opening.catch(() => { if (this.#further.get(worker) === opening) this.#further.delete(worker) })
    return opening
  }

  /** Closes an additional router of the room, unless the router has become the main router. */
  #closeFurther (worker: MediaWorker, opening: Promise<RoomRouter>): void {
    if (this.#further.get(worker) !== opening) return
    this.#further.delete(worker)
    opening.then((router) => router.close(), () => {})
  }
}

/** The rooms that have media on this server. */
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
   * Creates a `MediaUser` in a room. Opens the room's media if it is not open.
   *
   * @param create creates the `MediaUser`. If `create` throws and the media has no `MediaUser`, the media is closed
   * @throws any error that `create` or {@link RoomMedia.open} throws
   */
  async join<T extends MediaUser> (roomId: string, create: (media: RoomMedia) => T): Promise<T> {
    let media = await this.#mediaOf(roomId)
    // In the meantime, the last `MediaUser` may have left, which closes the media.
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
   * Closes everything that was on a dead worker.
   *
   * @returns the rooms that have lost media, and every `MediaUser` that has lost media; `users` is undefined if the
   *   room has lost all its media
   */
  workerDied (worker: MediaWorker): { roomId: string, users: MediaUser[] | undefined }[] {
    return [...this.#open.values()].flatMap((media) => {
      const users = media.workerDied(worker)
      if (!users) return []
      return [{ roomId: media.roomId, users: media.closed ? undefined : users }]
    })
  }

  async #mediaOf (roomId: string): Promise<RoomMedia> {
    const known = this.#open.get(roomId) ?? this.#opening.get(roomId)
    if (known) return await known
    const opening = RoomMedia.open(roomId, this.#context, (media) => {
      if (this.#open.get(roomId) !== media) return
      this.#open.delete(roomId)
      this.#context.mediaChanged(roomId)
    })
    this.#opening.set(roomId, opening)
    try {
      const media = await opening
      this.#open.set(roomId, media)
      this.#context.mediaChanged(roomId)
      return media
    } finally {
      this.#opening.delete(roomId)
    }
  }
}
