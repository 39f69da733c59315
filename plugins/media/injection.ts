import { randomUUID } from 'node:crypto'
import type { types } from 'mediasoup'
import { Attachment, loopback } from './attachment.ts'
import type { AttachmentContext } from './attachment.ts'
import { audioLevelUri } from './codecs.ts'
import type { ProducePermit, ProducerOwner, ProducerSource, RoomProducer } from './producer.ts'
import type { RoomMedia } from './room-media.ts'
import type { RoomRouter } from './room-router.ts'

export interface InjectOptions {
  /** SSRC of the packets, 1 to 2³²−1. */
  ssrc: number
  /** Payload type of the packets. Default 100. */
  payloadType?: number
  /** Id of the RTP header extension for the audio level (RFC 6464), if the packets contain it. */
  levelExtensionId?: number
  /** Default `voice`. */
  source?: ProducerSource
}

export interface InjectionEvents {
  /** The media worker was replaced. From now on, packets must be sent to the new address. */
  reopened: [address: { ip: string, port: number }]
  /** The injection has been closed. Emitted once. */
  close: []
}

/**
 * A producer that receives unencrypted RTP packets (Opus, 48 kHz) over UDP. RTCP uses the same port. Members of the
 * room can consume this producer like any other producer. After the first packet, the injection ignores packets from
 * any other source port. If the media worker dies, the producer is reopened with the same id. When the room closes, the
 * injection closes as well.
 */
export interface Injection {
  readonly roomId: string
  readonly producerId: string
  readonly closed: boolean
  /** The address that receives the packets. */
  readonly ip: string
  readonly port: number
  on (event: 'reopened', listener: (...args: InjectionEvents['reopened']) => void): unknown
  on (event: 'close', listener: () => void): unknown
  off (event: 'reopened', listener: (...args: InjectionEvents['reopened']) => void): unknown
  off (event: 'close', listener: () => void): unknown
  /** Idempotent. */
  close (): void
}

interface InjectionContext extends AttachmentContext {
  /** @throws if the owner is not allowed to send audio */
  permit (roomId: string, owner: ProducerOwner): Promise<ProducePermit>
}

function rtpParametersOf ({ ssrc, payloadType = 100, levelExtensionId }: InjectOptions, cname: string): types.RtpParameters {
  return {
    codecs: [{ mimeType: 'audio/opus', payloadType, clockRate: 48_000, channels: 2, parameters: { useinbandfec: 1 } }],
    headerExtensions: levelExtensionId === undefined ? [] : [{ uri: audioLevelUri, id: levelExtensionId }],
    encodings: [{ ssrc }],
    rtcp: { cname }
  }
}

export class RoomInjection extends Attachment implements Injection {
  readonly producerId = randomUUID()
  readonly ip = loopback
  readonly owner: ProducerOwner
  readonly #options: InjectOptions
  readonly #permit: InjectionContext['permit']
  #port = 0
  #transport: types.PlainTransport | undefined
  #producer: RoomProducer | undefined

  constructor (roomId: string, owner: ProducerOwner, options: InjectOptions, context: InjectionContext) {
    if (!Number.isInteger(options.ssrc) || options.ssrc < 1 || options.ssrc > 0xffffffff) throw new RangeError(`${options.ssrc} is not an SSRC`)
    super(roomId, context)
    this.owner = owner
    this.#options = options
    this.#permit = context.permit
  }

  get port (): number {
    return this.#port
  }

  /**
   * Closes the injection when its producer closes, for example because the owner is no longer allowed to send audio.
   */
  producerClosed (producer: RoomProducer): void {
    if (producer === this.#producer) this.close()
  }

  protected async attach (media: RoomMedia, { router }: RoomRouter): Promise<void> {
    const permit = await this.#permit(this.roomId, this.owner)
    const transport = await router.createPlainTransport({ listenInfo: { protocol: 'udp', ip: loopback }, rtcpMux: true, comedia: true })
    this.#transport = transport
    if (this.closed) return this.detach()
    this.#port = transport.tuple.localPort
    const { source = 'voice' } = this.#options
    const producer = await transport.produce({
      id: this.producerId,
      kind: 'audio',
      rtpParameters: rtpParametersOf(this.#options, this.producerId),
      paused: permit.paused === true,
      appData: { source }
    })
    if (producer.closed) return
    this.#producer = media.addProducer(producer, this.owner, { source, permit })
    await media.announce(this.#producer)
  }

  protected detach (): void {
    const [producer, transport] = [this.#producer, this.#transport]
    this.#producer = undefined
    this.#transport = undefined
    producer?.close()
    transport?.close()
  }

  protected reattached (): void {
    this.notify(() => this.emit('reopened', { ip: this.ip, port: this.port }))
  }
}
