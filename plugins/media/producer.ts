import type { types } from 'mediasoup'
import type { UserId } from '../connections/session.ts'
import { refused } from './errors.ts'

/** Who paused a producer: the user or the server. The producer sends only while neither of them pauses it. */
export type PausedBy = 'self' | 'server'

export type ProducerSource = 'voice' | 'music'

/** The user or service whose audio a producer sends. */
export interface ProducerOwner {
  readonly userId: UserId
  readonly userKey: string
  /** Id of the server on which the audio enters the cluster. */
  readonly nodeId: string
  /** Id of the owning session, if `kind` is `session`. A session's producers close when the session leaves its room. */
  readonly sessionId?: string
  /**
   * `session`: a user's session. `service`: a feature of this server. `relay`: a producer on another server, whose
   * audio this server relays.
   */
  readonly kind: 'session' | 'service' | 'relay'
}

/** What clients see of a producer. */
export interface ProducerInfo {
  producerId: string
  userId: UserId
  source: ProducerSource
  isPaused: boolean
}

/** A session's permission to send audio. */
export interface ProducePermit {
  /** True if the server pauses the producer as soon as it is created. */
  paused?: boolean
  /**
   * Why the session is allowed to send. When this reason no longer applies, the feature that gave the permit closes the
   * producer.
   */
  grant?: string | undefined
}

/** What a feature that moderates audio sees of a producer. */
export interface ProducerHandle {
  readonly producerId: string
  readonly owner: ProducerOwner
  readonly source: ProducerSource
  /** See {@link ProducePermit}. */
  grant: string | undefined
  /** Idempotent. */
  close (): void
  /** Idempotent. */
  pause (by: PausedBy): Promise<void>
  /**
   * Removes the pause by the user or by the server. The producer resumes once neither the user nor the server pauses
   * it. Idempotent.
   */
  resume (by: PausedBy): Promise<void>
}

/**
 * Why this server closed a producer although the owner is still allowed to send. `bitrate`: the producer exceeded its
 * allowed bit rate.
 */
export type CloseCause = 'bitrate'

/** Callbacks through which a producer notifies its room. */
export interface ProducerEvents {
  closed (producer: RoomProducer, cause: CloseCause | undefined): void
  paused (producer: RoomProducer): void
  resumed (producer: RoomProducer): void
}

/** A room's producer, which closes when its transport closes. */
export class RoomProducer implements ProducerHandle {
  readonly owner: ProducerOwner
  readonly source: ProducerSource
  grant: string | undefined
  /** Whether the producer has been announced to the members. Until then, they receive no other events about it. */
  announced = false
  readonly #producer: types.Producer
  readonly #pausedBy: Set<PausedBy>
  #isPaused: boolean
  readonly #events: ProducerEvents

  constructor (producer: types.Producer, owner: ProducerOwner, { source, permit }: { source: ProducerSource, permit: ProducePermit }, events: ProducerEvents) {
    this.#producer = producer
    this.owner = owner
    this.source = source
    this.grant = permit.grant
    this.#pausedBy = new Set(permit.paused === true ? ['server'] : [])
    this.#isPaused = permit.paused === true
    this.#events = events
  }

  get producerId (): string {
    return this.#producer.id
  }

  get closed (): boolean {
    return this.#producer.closed
  }

  get info (): ProducerInfo {
    return { producerId: this.#producer.id, userId: this.owner.userId, source: this.source, isPaused: this.#isPaused }
  }

  isPausedBy (by: PausedBy): boolean {
    return this.#pausedBy.has(by)
  }

  /** @returns the total size of all packets received so far, in bytes */
  async receivedBytes (): Promise<number> {
    const stats = await this.#producer.getStats()
    return stats.reduce((sum, { byteCount }) => sum + byteCount, 0)
  }

  /** @returns the number of packets received so far */
  async receivedPackets (): Promise<number> {
    const stats = await this.#producer.getStats()
    return stats.reduce((sum, { packetCount }) => sum + packetCount, 0)
  }

  /** @param cause why the server closes the producer; undefined if its owner or a feature closes it */
  close (cause?: CloseCause): void {
    if (this.#producer.closed) return
    this.#producer.close()
    this.#events.closed(this, cause)
  }

  /** Called when the producer's worker has died but the room's media stays open. */
  lost (): void {
    this.#events.closed(this, undefined)
  }

  async pause (by: PausedBy): Promise<void> {
    const wasPaused = this.#pausedBy.size > 0
    this.#pausedBy.add(by)
    if (wasPaused) return
    await refused(() => this.#producer.pause())
    if (this.closed) return
    this.#isPaused = true
    this.#events.paused(this)
  }

  async resume (by: PausedBy): Promise<void> {
    if (!this.#pausedBy.delete(by) || this.#pausedBy.size > 0) return
    await refused(() => this.#producer.resume())
    if (this.closed) return
    this.#isPaused = false
    this.#events.resumed(this)
  }
}
