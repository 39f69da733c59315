import type { types } from 'mediasoup'
import { ConsumerNotFound } from './errors.ts'

/** The consumers of one session, at most one per producer. */
export class Consumers {
  readonly #byId = new Map<string, types.Consumer>()
  readonly #onClosed: (consumerId: string) => void

  /** @param onClosed called when a consumer ends with its producer or is replaced */
  constructor (onClosed: (consumerId: string) => void) {
    this.#onClosed = onClosed
  }

  /** @throws CONSUMER_NOT_FOUND */
  get (consumerId: string): types.Consumer {
    const consumer = this.#byId.get(consumerId)
    if (!consumer) throw new ConsumerNotFound(consumerId)
    return consumer
  }

  /** Adds a consumer; an earlier one of the same producer is closed. */
  add (consumer: types.Consumer): void {
    for (const older of this.#byId.values()) {
      if (older.producerId !== consumer.producerId) continue
      older.close()
      this.#closed(older)
    }
    this.#byId.set(consumer.id, consumer)
    consumer.once('producerclose', () => this.#closed(consumer))
  }

  /** Removes all consumers: their transport is closed. */
  transportClosed (): void {
    this.#byId.clear()
  }

  #closed ({ id }: types.Consumer): void {
    if (this.#byId.delete(id)) this.#onClosed(id)
  }
}
