import type { types } from 'mediasoup'
import { codecsWith, opusPayloadType } from './codecs.ts'
import { pipeProducer } from './pipe.ts'

/**
 * The routers of a room on one worker, by the payload type that their consumers use for Opus. A player that sends the
 * SDP offer (WHEP) chooses the payload type, but all consumers of a router have the same one. A room therefore gets
 * another router on the same worker for each additional payload type. A producer is piped to such a router when its
 * first consumer there is created.
 */
export class PayloadTypeRouters {
  readonly #main: types.Router
  readonly #worker: types.Worker
  readonly #others = new Map<number, Promise<types.Router>>()
  /** Ids of the piped producers, by router and producer. */
  readonly #piped = new Map<string, Promise<string>>()
  #closed = false

  /** @param main the router with the default payload type */
  constructor (main: types.Router, worker: types.Worker) {
    this.#main = main
    this.#worker = worker
  }

  /** @returns the router whose consumers use the given payload type; creates it if necessary */
  async routerFor (payloadType = opusPayloadType): Promise<types.Router> {
    if (payloadType === opusPayloadType) return this.#main
    const router = this.#others.get(payloadType) ?? this.#worker.createRouter({ mediaCodecs: codecsWith(payloadType) })
    this.#others.set(payloadType, router)
    router.catch(() => this.#others.delete(payloadType))
    const created = await router
    if (this.#closed) created.close()
    return created
  }

  /**
   * Makes a producer of the main router available on another of these routers. Idempotent.
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
      // Both routers are on the same worker, where ids are unique.
      const { producer } = await pipeProducer(this.#main, { producerId, router, keepId: false })
      producer.observer.once('close', () => this.#piped.delete(key))
      return producer.id
    } catch (error) {
      this.#piped.delete(key)
      throw error
    }
  }

  /** Closes the other routers. */
  close (): void {
    this.#closed = true
    for (const router of this.#others.values()) router.then((created) => created.close(), () => { /* The router was never created. */ })
  }
}
