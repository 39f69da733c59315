import type { types } from 'mediasoup-client'
import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { codeOf } from './errors.ts'
import { Levels } from './levels.ts'
import type { MediaTransports } from './media-transports.ts'
import type { JoinReply, UserId } from './protocol.ts'
import { updateSnapshot } from './snapshots.ts'

/** A producer of another user in the room, whether or not this client consumes it. */
export interface RemoteProducer {
  readonly producerId: string
  readonly userId: UserId
  /** Whether the user or the server has paused the producer. */
  readonly isPaused: boolean
}

/** A remote track that this client receives. */
export interface RemoteAudio {
  readonly producerId: string
  readonly userId: UserId
  /** The track to play in an audio element, as the only track of a MediaStream. */
  readonly track: MediaStreamTrack
  /** The RTP receiver of the track, for statistics. */
  readonly receiver: RTCRtpReceiver
}

export interface RemoteTracksEvents {
  added: [audio: RemoteAudio]
  removed: [audio: RemoteAudio]
  /** A producer was added, removed, paused or resumed. */
  producers: []
  /** Consuming failed because of the transports, not because of the producer. */
  broken: [transports: MediaTransports, error: unknown]
}

/** Errors that concern only one producer: it is closed, or this browser cannot play it. */
const producerErrors = new Set(['PRODUCER_NOT_FOUND', 'CONSUMER_NOT_FOUND', 'CANNOT_CONSUME'])

/** The producers of the other users in a room, and the tracks received from them. */
export class RemoteTracks extends Emitter<RemoteTracksEvents> {
  readonly #producers = new Map<string, RemoteProducer>()
  readonly #tracks = new Map<string, { audio: RemoteAudio, consumer: types.Consumer }>()
  readonly #levels = new Levels()
  #producerList: readonly RemoteProducer[] = Object.freeze([])
  #heard: readonly RemoteAudio[] = Object.freeze([])
  #room: { roomId: string, self: UserId } | undefined
  #transports: MediaTransports | undefined

  /** @param connection delivers the server events */
  constructor (connection: Connection) {
    super()
    const here = (roomId: string) => this.#room?.roomId === roomId
    connection.on('audio:newProducer', ({ roomId, producerId, userId }) => {
      if (here(roomId) && !this.#isSelf(userId)) this.#add({ producerId, userId, isPaused: false })
    })
    connection.on('audio:producerClosed', ({ roomId, producerId }) => {
      if (here(roomId)) this.#close(producerId)
    })
    connection.on('audio:producerPaused', ({ roomId, producerId }) => {
      if (here(roomId)) this.#paused(producerId, true)
    })
    connection.on('audio:producerResumed', ({ roomId, producerId }) => {
      if (here(roomId)) this.#paused(producerId, false)
    })
    connection.on('consumer:closed', ({ consumerId }) => {
      for (const [producerId, { consumer }] of this.#tracks) if (consumer.id === consumerId) this.#remove(producerId)
    })
  }

  /** The producers of the other users in the room; the same frozen array until they change. */
  get producers (): readonly RemoteProducer[] {
    this.#producerList = updateSnapshot(this.#producerList, [...this.#producers.values()], ({ producerId }) => producerId)
    return this.#producerList
  }

  /** The remote tracks that are currently received; the same frozen array until they change. */
  get heard (): readonly RemoteAudio[] {
    this.#heard = updateSnapshot(this.#heard, [...this.#tracks.values()].map(({ audio }) => audio), ({ producerId }) => producerId)
    return this.#heard
  }

  /** Current audio levels, 0 to 1, keyed by user id as a string. */
  levels (): ReadonlyMap<string, number> {
    const levels = new Map<string, number>()
    for (const [producerId, { audio: { userId, receiver } }] of this.#tracks) {
      // The last packet before a pause does not describe the current level.
      const level = this.#producers.get(producerId)?.isPaused === true ? 0 : this.#levels.of(receiver)
      const key = String(userId)
      levels.set(key, Math.max(level, levels.get(key) ?? 0))
    }
    return levels
  }

  /** Initializes the producers from a join reply. Tracks are received only after `open()`. */
  start ({ roomId, self, existingProducers = [] }: JoinReply): void {
    this.#room = { roomId, self: self.userId }
    for (const producer of existingProducers) {
      if (!this.#isSelf(producer.userId)) this.#producers.set(producer.producerId, { ...producer })
    }
    this.emit('producers')
  }

  /** Stops receiving and forgets the room and its producers. Idempotent. */
  stop (): void {
    this.close()
    this.#room = undefined
    this.forget()
  }

  /** Forgets all producers. After a `media:reset`, the server announces new producers. */
  forget (): void {
    this.#producers.clear()
    this.emit('producers')
  }

  /** Consumes all current and future producers through these transports. */
  open (transports: MediaTransports): void {
    this.#transports = transports
    for (const producerId of this.#producers.keys()) this.#consume(transports, producerId)
  }

  /** Stops receiving. Idempotent. */
  close (): void {
    this.#transports = undefined
    for (const producerId of [...this.#tracks.keys()]) this.#remove(producerId)
  }

  /** A user with two connections must not receive their own audio. */
  #isSelf (userId: UserId): boolean {
    return String(userId) === String(this.#room?.self)
  }

  #add (producer: RemoteProducer): void {
    const known = this.#producers.has(producer.producerId)
    this.#producers.set(producer.producerId, producer)
    this.emit('producers')
    if (!known && this.#transports) this.#consume(this.#transports, producer.producerId)
  }

  #close (producerId: string): void {
    this.#remove(producerId)
    if (this.#producers.delete(producerId)) this.emit('producers')
  }

  #paused (producerId: string, isPaused: boolean): void {
    const producer = this.#producers.get(producerId)
    if (!producer) return
    this.#producers.set(producerId, { ...producer, isPaused })
    this.emit('producers')
  }

  async #consume (transports: MediaTransports, producerId: string): Promise<void> {
    try {
      const consumer = await transports.consume(producerId)
      const producer = this.#producers.get(producerId)
      if (transports !== this.#transports || !producer) return consumer.close()
      const audio = Object.freeze({
        producerId,
        userId: producer.userId,
        track: consumer.track,
        receiver: consumer.rtpReceiver as RTCRtpReceiver
      })
      this.#tracks.set(producerId, { audio, consumer })
      this.emit('added', audio)
    } catch (error) {
      if (transports !== this.#transports || transports.closed) return
      // If the producer is closed, `audio:producerClosed` may not have arrived yet.
      if (!this.#producers.has(producerId) || producerErrors.has(codeOf(error) ?? '')) return
      this.emit('broken', transports, error)
    }
  }

  #remove (producerId: string): void {
    const removed = this.#tracks.get(producerId)
    if (!removed) return
    this.#tracks.delete(producerId)
    removed.consumer.close()
    this.emit('removed', removed.audio)
  }
}
