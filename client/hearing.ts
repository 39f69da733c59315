import type { types } from 'mediasoup-client'
import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { codeOf } from './errors.ts'
import { Levels } from './levels.ts'
import type { Link } from './link.ts'
import type { JoinReply, UserId } from './protocol.ts'

/** Somebody's audio in the room, whether it is heard here already or not. */
export interface RemoteProducer {
  readonly producerId: string
  readonly userId: UserId
  /** Muted, by its user or by the server. */
  readonly isPaused: boolean
}

/** Somebody's audio that is heard here. */
export interface RemoteAudio {
  readonly producerId: string
  readonly userId: UserId
  /** To be given to an audio element, as the only track of a stream. */
  readonly track: MediaStreamTrack
  /** For statistics of what is received. */
  readonly receiver: RTCRtpReceiver
}

export interface HearingEvents {
  added: [audio: RemoteAudio]
  removed: [audio: RemoteAudio]
  /** Whose audio there is in the room, or who has muted, is not what it was. */
  producers: []
  /** The link does not let somebody be heard, and it is not their fault. */
  broken: [link: Link, error: unknown]
}

/** Refusals that are about one producer: gone already, or nothing this browser can play. */
const passedOver = new Set(['PRODUCER_NOT_FOUND', 'CONSUMER_NOT_FOUND', 'CANNOT_CONSUME'])

/** What others send in a room: whose audio there is, and what of it is heard here. */
export class Hearing extends Emitter<HearingEvents> {
  readonly #producers = new Map<string, RemoteProducer>()
  readonly #heard = new Map<string, RemoteAudio & { consumer: types.Consumer }>()
  readonly #levels = new Levels()
  #room: { roomId: string, self: UserId } | undefined
  #link: Link | undefined

  /** @param connection whose events it follows from now on */
  constructor (connection: Connection) {
    super()
    const here = (roomId: string) => this.#room?.roomId === roomId
    connection.on('audio:newProducer', ({ roomId, producerId, userId }) => {
      if (here(roomId) && !this.#isSelf(userId)) this.#announced({ producerId, userId, isPaused: false })
    })
    connection.on('audio:producerClosed', ({ roomId, producerId }) => {
      if (here(roomId)) this.#gone(producerId)
    })
    connection.on('audio:producerPaused', ({ roomId, producerId }) => {
      if (here(roomId)) this.#paused(producerId, true)
    })
    connection.on('audio:producerResumed', ({ roomId, producerId }) => {
      if (here(roomId)) this.#paused(producerId, false)
    })
    connection.on('consumer:closed', ({ consumerId }) => {
      for (const [producerId, { consumer }] of this.#heard) if (consumer.id === consumerId) this.#unhear(producerId)
    })
  }

  /** Whose audio there is in the room, one's own left out. */
  get producers (): RemoteProducer[] {
    return [...this.#producers.values()]
  }

  /** Who is heard here now. */
  get heard (): RemoteAudio[] {
    return [...this.#heard.values()]
  }

  /** How loud each user is who is heard here now, by their id as text: 0 to 1. */
  levels (): ReadonlyMap<string, number> {
    const levels = new Map<string, number>()
    for (const [producerId, { userId, receiver }] of this.#heard) {
      // The packets that came last before somebody was muted say nothing of now.
      const level = this.#producers.get(producerId)?.isPaused === true ? 0 : this.#levels.of(receiver)
      const key = String(userId)
      levels.set(key, Math.max(level, levels.get(key) ?? 0))
    }
    return levels
  }

  /** Begins with a room that has just been joined; nobody is heard before `open()`. */
  start ({ roomId, self, existingProducers = [] }: JoinReply): void {
    this.#room = { roomId, self: self.userId }
    for (const producer of existingProducers) {
      if (!this.#isSelf(producer.userId)) this.#producers.set(producer.producerId, producer)
    }
    this.emit('producers')
  }

  /** Ends with the room. Idempotent. */
  stop (): void {
    this.close()
    this.#room = undefined
    this.forget()
  }

  /** All that was sent is gone; what is announced from now on is new. */
  forget (): void {
    this.#producers.clear()
    this.emit('producers')
  }

  /** Lets everybody be heard over a link, and those who come. */
  open (link: Link): void {
    this.#link = link
    for (const producerId of this.#producers.keys()) this.#hear(link, producerId)
  }

  /** Nobody is heard any more. Idempotent. */
  close (): void {
    this.#link = undefined
    for (const producerId of [...this.#heard.keys()]) this.#unhear(producerId)
  }

  /** Who is connected twice does not want to hear an echo. */
  #isSelf (userId: UserId): boolean {
    return String(userId) === String(this.#room?.self)
  }

  #announced (producer: RemoteProducer): void {
    const known = this.#producers.has(producer.producerId)
    this.#producers.set(producer.producerId, producer)
    this.emit('producers')
    if (!known && this.#link) this.#hear(this.#link, producer.producerId)
  }

  #gone (producerId: string): void {
    this.#unhear(producerId)
    if (this.#producers.delete(producerId)) this.emit('producers')
  }

  #paused (producerId: string, isPaused: boolean): void {
    const producer = this.#producers.get(producerId)
    if (!producer) return
    this.#producers.set(producerId, { ...producer, isPaused })
    this.emit('producers')
  }

  async #hear (link: Link, producerId: string): Promise<void> {
    try {
      const consumer = await link.consume(producerId)
      const producer = this.#producers.get(producerId)
      if (link !== this.#link || !producer) return consumer.close()
      const audio = {
        producerId,
        userId: producer.userId,
        track: consumer.track,
        receiver: consumer.rtpReceiver as RTCRtpReceiver,
        consumer
      }
      this.#heard.set(producerId, audio)
      this.emit('added', audio)
    } catch (error) {
      if (link !== this.#link || link.closed) return
      // The event that says that it is gone may still be on its way.
      if (!this.#producers.has(producerId) || passedOver.has(codeOf(error) ?? '')) return
      this.emit('broken', link, error)
    }
  }

  #unhear (producerId: string): void {
    const audio = this.#heard.get(producerId)
    if (!audio) return
    this.#heard.delete(producerId)
    audio.consumer.close()
    this.emit('removed', audio)
  }
}
