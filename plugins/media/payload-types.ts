import type { types } from 'mediasoup'
import { codecsWith, opusPayloadType } from './codecs.ts'
import { pipeProducer } from './pipe.ts'

/**
 * A room's routers on one worker. The consumers on each router have a different Opus payload type. A WHEP player sends
 * the SDP offer and thus chooses the payload type, but all consumers on a router use the same payload type. A room
 * therefore gets one more router on the same worker for each additional payload type. When the first consumer of a
 * producer is created on an additional router, the producer is piped to that router. An additional router closes when
 * its last transport closes.
 */
export class PayloadTypeRouters {
  readonly #main: types.Router
  readonly #worker: types.Worker
  readonly #others = new Map<number, { opening: Promise<types.Router>, uses: number }>()
  /** Ids of the piped producers, by router id and original producer id. */
  readonly #piped = new Map<string, Promise<string>>()
  #closed = false

  /** @param main the router with the default payload type */
  constructor (main: types.Router, worker: types.Worker) {
    this.#main = main
    this.#worker = worker
  }

  /**
   * Finds or creates the router whose consumers use the given payload type.
   *
   * @returns the router, and a function that the caller must call exactly once: when the transport closes, or if its
   *   creation fails
   */
  async routerFor (payloadType = opusPayloadType): Promise<{ router: types.Router, release: () => void }> {
    if (payloadType === opusPayloadType) return { router: this.#main, release () {} }
    const other = this.#others.get(payloadType) ?? { opening: this.#worker.createRouter({ mediaCodecs: codecsWith(payloadType) }), uses: 0 }
    this.#others.set(payloadType, other)
    other.uses++
    const release = () => {
      if (--other.uses > 0) return
      if (this.#others.get(payloadType) === other) this.#others.delete(payloadType)
      other.opening.then((router) => router.close(), () => { /* The router was never created. */ })
    }
    try {
      const router = await other.opening
      if (this.#closed) router.close()
      return { router, release }
    } catch (error) {
      release()
      throw error
    }
  }

  /**
   * Makes a producer of the main router available on the given router. Idempotent.
   *
   * @returns the producer's id on that router
   */
  async provide (producerId: string, router: types.Router): Promise<string> {
    if (router === this.#main) return producerId
    const key = `${router.id} ${producerId}`
    const piping = this.#piped.get(key) ?? this.#pipe(producerId, router, key)
    this.#piped.set(key, piping)
    return await piping
  }

  async #pipe (producerId: string, router: types.Router, key: string): Promise<string> {
    try {
      // Both routers are on the same worker, where ids must be unique, so the piped producer needs a new id.
      const { producer } = await pipeProducer(this.#main, { producerId, router, keepId: false })
      producer.observer.once('close', () => this.#piped.delete(key))
      return producer.id
    } catch (error) {
      this.#piped.delete(key)
      throw error
    }
  }

  /** Closes all routers except the main router. */
  close (): void {
    this.#closed = true
    for (const { opening } of this.#others.values()) opening.then((router) => router.close(), () => { /* The router was never created. */ })
  }
}
