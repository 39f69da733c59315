import type { types } from 'mediasoup'
import type { UserId } from '../connections/session.ts'
import { Attachment, loopback } from './attachment.ts'
import type { AttachmentContext } from './attachment.ts'
import { audioLevelUri, rtpCapabilities } from './codecs.ts'
import type { ProducerOwner, ProducerSource, RoomProducer } from './producer.ts'
import type { RoomMedia } from './room-media.ts'
import type { RoomRouter } from './room-router.ts'

export interface TapOptions {
  /** UDP port on 127.0.0.1 that receives the packets (RTP and RTCP on one port). */
  port: number
  /** Returns true if the tap follows the producers of this owner. Default: the tap follows users, not services. */
  follows?: (owner: ProducerOwner) => boolean
}

/** One producer that a tap follows. */
export interface TappedVoice {
  producerId: string
  userId: UserId
  source: ProducerSource
  /** SSRC of the packets of this producer. */
  ssrc: number
  payloadType: number
  /**
   * Id of the RTP header extension for the audio level (RFC 6464). Undefined if the sender does not send audio levels.
   */
  levelExtensionId: number | undefined
  /** Whether the producer is paused. A paused producer sends no packets. */
  paused: boolean
}

export interface TapEvents {
  /** A followed producer was added, removed, paused or resumed. */
  voices: [voices: readonly TappedVoice[]]
  /** The tap has been closed. Emitted once. */
  close: []
}

/**
 * Sends the packets of a room's producers to a UDP port, as unencrypted RTP packets with Opus. Each producer has its
 * own SSRC. If the media worker dies, the tap is reopened with new SSRCs. The tap closes when its room closes.
 */
export interface Tap {
  readonly roomId: string
  readonly closed: boolean
  /** The producers that the tap currently follows. */
  readonly voices: readonly TappedVoice[]
  on (event: 'voices', listener: (...args: TapEvents['voices']) => void): unknown
  on (event: 'close', listener: () => void): unknown
  off (event: 'voices', listener: (...args: TapEvents['voices']) => void): unknown
  off (event: 'close', listener: () => void): unknown
  /** Idempotent. */
  close (): void
}

const fromUsers = ({ kind }: ProducerOwner) => kind !== 'service'

interface Followed {
  producer: RoomProducer
  consumer: types.Consumer
}

export class RoomTap extends Attachment implements Tap {
  readonly #port: number
  readonly #follows: (owner: ProducerOwner) => boolean
  readonly #followed = new Map<string, Followed>()
  #transport: types.PlainTransport | undefined

  constructor (roomId: string, { port, follows = fromUsers }: TapOptions, context: AttachmentContext) {
    if (!Number.isInteger(port) || port < 1 || port > 0xffff) throw new RangeError(`${port} is not a UDP port`)
    super(roomId, context)
    this.#port = port
    this.#follows = follows
  }

  get voices (): readonly TappedVoice[] {
    return [...this.#followed.values()].map(({ producer, consumer: { rtpParameters, producerPaused } }) => ({
      producerId: producer.producerId,
      userId: producer.owner.userId,
      source: producer.source,
      ssrc: rtpParameters.encodings?.[0]?.ssrc as number,
      payloadType: rtpParameters.codecs[0]?.payloadType as number,
      levelExtensionId: rtpParameters.headerExtensions?.find(({ uri }) => uri === audioLevelUri)?.id,
      paused: producerPaused
    }))
  }

  producerOpened (producer: RoomProducer): void {
    // If there is no transport yet, do nothing: once `attach` has created the transport, it follows all current
    // producers.
    if (this.#transport) this.#follow(this.#transport, producer).catch(() => { /* The producer or the router was closed. */ })
  }

  protected async attach ({ producers }: RoomMedia, { router }: RoomRouter): Promise<void> {
    const transport = await router.createPlainTransport({ listenInfo: { protocol: 'udp', ip: loopback }, rtcpMux: true, comedia: false })
    if (this.closed) return transport.close()
    await transport.connect({ ip: loopback, port: this.#port })
    this.#transport = transport
    await Promise.allSettled([...producers.values()].map((producer) => this.#follow(transport, producer)))
  }

  protected detach (): void {
    this.#transport?.close()
    this.#transport = undefined
    if (this.#followed.size === 0) return
    this.#followed.clear()
    this.#changed()
  }

  protected reattached (): void {}

  async #follow (transport: types.PlainTransport, producer: RoomProducer): Promise<void> {
    const { producerId, owner } = producer
    if (!this.#follows(owner)) return
    const consumer = await transport.consume({ producerId, rtpCapabilities, paused: true })
    if (consumer.closed || this.#followed.has(producerId)) return consumer.close()
    this.#followed.set(producerId, { producer, consumer })
    consumer.once('producerclose', () => {
      if (this.#followed.delete(producerId)) this.#changed()
    })
    consumer.on('producerpause', () => this.#changed())
    consumer.on('producerresume', () => this.#changed())
    this.#changed()
    await consumer.resume()
  }

  #changed (): void {
    this.notify(() => this.emit('voices', this.voices))
  }
}
