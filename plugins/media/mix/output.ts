import { randomUUID } from 'node:crypto'
import type { types } from 'mediasoup'
import { unavailable } from '../../errors/codes.ts'
import { withTimeout } from '../../errors/timeout.ts'
import { Attachment, loopback } from '../attachment.ts'
import type { AttachmentContext } from '../attachment.ts'
import type { RoomMedia } from '../room-media.ts'
import type { RoomRouter } from '../room-router.ts'

/** Payload type of the packets that the mixer thread sends to the media worker. */
export const mixPayloadType = 100

/** How long {@link MixOutput.ready} waits while the output is being reopened, in milliseconds. */
const timeoutMs = 5000

export interface MixOutputOptions {
  ssrc: number
  /** The mixer thread's UDP port on 127.0.0.1. Packets from other ports are dropped. */
  port: number
}

/**
 * The producer of a room's mix. The list of the room's producers does not contain this producer, which clients consume
 * with the id `mix`. If the media worker dies, the output is reopened with the same id and emits `reopened`. The output
 * closes when its room closes.
 */
export class MixOutput extends Attachment {
  readonly producerId = randomUUID()
  readonly #options: MixOutputOptions
  #transport: types.PlainTransport | undefined
  #attached = Promise.withResolvers<void>()

  constructor (roomId: string, options: MixOutputOptions, context: AttachmentContext) {
    super(roomId, context)
    this.#options = options
  }

  /** The UDP port on 127.0.0.1 that receives the packets. */
  get port (): number {
    return this.#transport?.tuple.localPort ?? 0
  }

  /**
   * Waits until the producer exists.
   *
   * @throws UNAVAILABLE
   */
  async ready (): Promise<void> {
    await withTimeout(this.#attached.promise, timeoutMs, () => { throw unavailable('The mix is restarting') })
  }

  protected async attach (_media: RoomMedia, { router }: RoomRouter): Promise<void> {
    const transport = await router.createPlainTransport({ listenInfo: { protocol: 'udp', ip: loopback }, rtcpMux: true, comedia: false })
    if (this.closed) return transport.close()
    this.#transport = transport
    await transport.connect({ ip: loopback, port: this.#options.port })
    await transport.produce({
      id: this.producerId,
      kind: 'audio',
      rtpParameters: {
        // The mix is stereo while it contains music. Browsers decode stereo only if `sprop-stereo` declares it.
        codecs: [{ mimeType: 'audio/opus', payloadType: mixPayloadType, clockRate: 48_000, channels: 2, parameters: { 'sprop-stereo': 1 } }],
        encodings: [{ ssrc: this.#options.ssrc }],
        rtcp: { cname: this.producerId }
      }
    })
    this.#attached.resolve()
  }

  protected detach (): void {
    const transport = this.#transport
    this.#transport = undefined
    if (!transport) return
    this.#attached = Promise.withResolvers()
    transport.close()
  }

  protected reattached (): void {
    this.notify(() => this.emit('reopened', { ip: loopback, port: this.port }))
  }
}
