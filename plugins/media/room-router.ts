import type { types } from 'mediasoup'
import { loopback } from './attachment.ts'
import { mediaCodecs } from './codecs.ts'
import { PayloadTypeRouters } from './payload-types.ts'
import { pipeProducer } from './pipe.ts'
import type { MediaWorker, WorkerPool } from './pool.ts'

/**
 * A producer that is piped from the room's main router to this router, and the number of consumers that it has on this
 * router.
 */
interface Pipe {
  consumer: Promise<types.Consumer>
  uses: number
}

/** A room's routers on one worker. */
export class RoomRouter {
  readonly worker: MediaWorker
  readonly router: types.Router
  /** The other routers on the same worker, whose consumers use other payload types. */
  readonly payloadTypes: PayloadTypeRouters
  readonly #pool: WorkerPool
  readonly #pipes = new Map<string, Pipe>()
  /** Number of clients' receiving transports. */
  #listening = 0
  #closed = false

  /**
   * Opens a room's first router.
   *
   * @throws any error that {@link WorkerPool.take} throws, and an error if the worker dies
   */
  static async first (pool: WorkerPool): Promise<RoomRouter> {
    return await RoomRouter.#on(await pool.take(), pool)
  }

  /**
   * Opens a room's router on an additional worker.
   *
   * @throws any error that {@link WorkerPool.reserve} throws, and an error if the worker dies
   */
  static async further (worker: MediaWorker, pool: WorkerPool): Promise<RoomRouter> {
    pool.reserve(worker)
    return await RoomRouter.#on(worker, pool)
  }

  static async #on (worker: MediaWorker, pool: WorkerPool): Promise<RoomRouter> {
    try {
      return new RoomRouter(worker, await worker.worker.createRouter({ mediaCodecs }), pool)
    } catch (error) {
      pool.release(worker)
      throw error
    }
  }

  private constructor (worker: MediaWorker, router: types.Router, pool: WorkerPool) {
    this.worker = worker
    this.router = router
    this.payloadTypes = new PayloadTypeRouters(router, worker.worker)
    this.#pool = pool
  }

  get listening (): number {
    return this.#listening
  }

  /**
   * Counts a listener's transport on this router. Call this after the pool has counted the listener on the worker.
   *
   * @param unused called when the last transport on this router is released
   * @returns a function that the caller must call exactly once: when the transport closes, or if its creation fails
   */
  listen (unused: () => void): () => void {
    this.#listening++
    return () => {
      this.#listening--
      this.worker.listeners--
      if (this.#listening === 0) unused()
    }
  }

  /** Closes the router and all media on it. Idempotent. */
  close (): void {
    if (this.#closed) return
    this.#closed = true
    this.payloadTypes.close()
    this.router.close()
    this.#pool.release(this.worker)
  }

  /**
   * Makes a producer of the room's main router available on this router, under the same id.
   *
   * @returns a function that the caller must call exactly once, when it no longer needs the producer on this router
   * @throws any error that mediasoup throws
   */
  async pipe (main: RoomRouter, producerId: string): Promise<() => void> {
    if (main === this) return () => {}
    const known = this.#pipes.get(producerId)
    const pipe = known ?? { consumer: this.#open(main, producerId), uses: 0 }
    pipe.uses++
    if (!known) this.#pipes.set(producerId, pipe)
    try {
      await pipe.consumer
    } catch (error) {
      this.#forget(producerId, pipe)
      throw error
    }
    return () => {
      if (--pipe.uses > 0) return
      this.#forget(producerId, pipe)
      pipe.consumer.then((consumer) => consumer.close(), () => {})
    }
  }

  async #open ({ router }: RoomRouter, producerId: string): Promise<types.Consumer> {
    const { consumer } = await pipeProducer(router, { producerId, router: this.router, listenInfo: { protocol: 'udp', ip: loopback } })
    const pipe = this.#pipes.get(producerId)
    consumer.observer.once('close', () => { if (pipe) this.#forget(producerId, pipe) })
    return consumer
  }

  #forget (producerId: string, pipe: Pipe): void {
    if (this.#pipes.get(producerId) === pipe) this.#pipes.delete(producerId)
  }
}
