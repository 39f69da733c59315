import { EventEmitter } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { unavailable } from '../errors/codes.ts'
import { refused } from './errors.ts'
import type { MediaWorker } from './pool.ts'
import type { MediaRooms, MediaUser, RoomMedia } from './room-media.ts'
import type { RoomRouter } from './room-router.ts'
import type { InjectionEvents } from './injection.ts'
import type { TapEvents } from './tap.ts'

/**
 * The loopback address. Packets between this process and its media workers must not leave the machine, because they are
 * not encrypted.
 */
export const loopback = '127.0.0.1'

const retryMs = 100
const maxRetryMs = 5000

export interface AttachmentContext {
  rooms: MediaRooms
  log: FastifyBaseLogger
  closed (attachment: Attachment): void
}

/** The events of all attachments; {@link Tap} and {@link Injection} each emit some of them. */
export type AttachmentEvents = TapEvents & InjectionEvents

/**
 * A tap, an injection or the output of a mix. Each attachment uses the router that has the producers of its room. If
 * the worker of that router dies, the attachment is reopened on another router.
 */
export abstract class Attachment extends EventEmitter<AttachmentEvents> implements MediaUser {
  readonly roomId: string
  readonly #context: AttachmentContext
  readonly #closing = new AbortController()
  #media: RoomMedia | undefined
  #worker: MediaWorker | undefined
  #opening = false

  constructor (roomId: string, context: AttachmentContext) {
    super()
    this.roomId = roomId
    this.#context = context
  }

  get closed (): boolean {
    return this.#closing.signal.aborted
  }

  protected abstract attach (media: RoomMedia, at: RoomRouter): Promise<void>
  /** Releases the resources that {@link attach} has created. Idempotent. */
  protected abstract detach (): void
  /** Called after the attachment has been reopened on another router. */
  protected abstract reattached (): void

  /**
   * Opens the attachment, or closes it if opening fails.
   *
   * @throws OVERLOADED, UNAVAILABLE, and any error that {@link attach} throws
   */
  async open (): Promise<void> {
    try {
      await refused(() => this.#open())
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Idempotent. */
  close (): void {
    if (this.closed) return
    this.#closing.abort()
    this.#release()
    this.#context.closed(this)
    this.notify(() => this.emit('close'))
  }

  mediaClosed (): void {
    this.#media = undefined
    this.#worker = undefined
    this.detach()
    if (!this.#opening) this.#reopen()
  }

  workerDied (worker: MediaWorker): boolean {
    if (worker !== this.#worker) return false
    this.#media?.leave(this)
    this.mediaClosed()
    return true
  }

  /** Calls listeners. If a listener throws, logs the error instead of passing it to the caller. */
  protected notify (call: () => void): void {
    try {
      call()
    } catch (err) {
      this.#context.log.error({ err, roomId: this.roomId }, 'an event listener of a tap or injection failed')
    }
  }

  #release (): void {
    this.detach()
    this.#media?.leave(this)
    this.#media = undefined
  }

  async #open (): Promise<void> {
    this.#opening = true
    try {
      await this.#context.rooms.join(this.roomId, (media) => {
        if (this.closed) throw unavailable(`Room ${this.roomId} is closed`)
        this.#media = media
        return this
      })
      const at = await this.#media?.main()
      if (this.#media && at) {
        this.#worker = at.worker
        await this.attach(this.#media, at)
      }
      // During the request, the worker died or the attachment was closed.
      if (!this.#media) throw unavailable('The media connection was closed during the request')
    } catch (error) {
      this.#release()
      throw error
    } finally {
      this.#opening = false
    }
  }

  async #reopen (): Promise<void> {
    for (let attempt = 0; !this.closed; attempt++) {
      try {
        await this.#open()
        return this.reattached()
      } catch (err) {
        if (this.closed) return
        this.#context.log.warn({ err, roomId: this.roomId }, 'failed to reopen a tap or injection')
        await delay(Math.min(retryMs * 2 ** attempt, maxRetryMs), undefined, { signal: this.#closing.signal, ref: false }).catch(() => {})
      }
    }
  }
}
