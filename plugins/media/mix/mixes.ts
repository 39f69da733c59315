import { EventEmitter } from 'node:events'
import { randomInt } from 'node:crypto'
import type { MessagePort } from 'node:worker_threads'
import type { FastifyBaseLogger } from 'fastify'
import { unavailable } from '../../errors/codes.ts'
import type { Attachment, AttachmentContext } from '../attachment.ts'
import { RoomTap } from '../tap.ts'
import type { MixStreams } from './messages.ts'
import { MixOutput, mixPayloadType } from './output.ts'
import { highResolutionMs } from './stats.ts'
import type { MixThreads, ThreadRoom } from './threads.ts'

/**
 * A handle to a room's mix. The mix exists on this server while it has an open handle, and for 10 s afterwards. The mix
 * closes when its room closes.
 */
export interface RoomMix {
  readonly roomId: string
  readonly closed: boolean
  /**
   * The wall-clock time of this server at timestamp 0, in epoch milliseconds. The value changes when the server's clock
   * is corrected.
   */
  readonly startTime: number
  /**
   * Sends the mix or its voices to a port as `MixFrame`s: one per 20 ms of the mix and one per voice packet. Transfers
   * the port to the mixer thread, so that the mixer thread sends frames directly to the thread that has the other port
   * of the channel. If the mix closes or its thread dies, the other port emits `close`. To resume the stream after
   * `close`, call this method again with a new port, unless this handle is closed. To end the stream, close the other
   * port.
   */
  stream (port: MessagePort, streams: MixStreams): void
  on (event: 'close', listener: () => void): unknown
  off (event: 'close', listener: () => void): unknown
  /** Closes this handle. Idempotent. */
  close (): void
}

export interface MixesContext {
  threads: MixThreads
  log: FastifyBaseLogger
  /** Maximum number of voices per mix, not counting music. */
  maxVoices: number
  /** How long a mix stays open after its last handle is closed, in milliseconds. */
  lingerMs: number
  /**
   * Opens a tap or a mix output.
   *
   * @throws ROOM_NOT_FOUND, OVERLOADED, UNAVAILABLE
   */
  attach<T extends Attachment> (create: (context: AttachmentContext) => T): Promise<T>
}

/** The mixes of all rooms on this server. */
export class Mixes {
  readonly #context: MixesContext
  readonly #mixes = new Map<string, ActiveMix>()

  constructor (context: MixesContext) {
    this.#context = context
  }

  /**
   * Opens a handle to a room's mix. Starts the mix if it is not running.
   *
   * @throws ROOM_NOT_FOUND, OVERLOADED, UNAVAILABLE
   */
  async use (roomId: string): Promise<MixUse> {
    let mix = this.#mixes.get(roomId)
    if (!mix) {
      mix = new ActiveMix(roomId, this.#context, (closed) => {
        if (this.#mixes.get(roomId) === closed) this.#mixes.delete(roomId)
      })
      this.#mixes.set(roomId, mix)
    }
    const use = new MixUse(mix)
    try {
      await mix.opened
    } catch (error) {
      use.close()
      throw error
    }
    return use
  }

  close (): void {
    for (const mix of this.#mixes.values()) mix.close()
  }
}

export class MixUse extends EventEmitter<{ close: [] }> implements RoomMix {
  readonly #mix: ActiveMix
  #closed = false

  constructor (mix: ActiveMix) {
    super()
    this.#mix = mix
    mix.add(this)
  }

  get roomId (): string {
    return this.#mix.roomId
  }

  get closed (): boolean {
    return this.#closed
  }

  get startTime (): number {
    return this.#mix.startTime
  }

  /**
   * Waits until the mix can be consumed.
   *
   * @returns the id of the mix's producer
   * @throws UNAVAILABLE
   */
  async producerId (): Promise<string> {
    return await this.#mix.producerId()
  }

  stream (port: MessagePort, streams: MixStreams): void {
    if (this.#closed) port.close()
    else this.#mix.stream(port, streams)
  }

  close (): void {
    if (this.#closed) return
    this.#closed = true
    this.#mix.remove(this)
    this.emit('close')
  }
}

/** The mix of one room. A mix consists of a tap for the voices, a `MixerRoom` in a mixer thread, and an output. */
class ActiveMix {
  readonly roomId: string
  /** @throws ROOM_NOT_FOUND, OVERLOADED, UNAVAILABLE */
  readonly opened: Promise<void>
  readonly #context: MixesContext
  readonly #onClosed: (mix: ActiveMix) => void
  readonly #uses = new Set<MixUse>()
  readonly #ssrc = randomInt(1, 2 ** 32)
  readonly #openedAt = highResolutionMs()
  #room: ThreadRoom | undefined
  #attachments: { tap: RoomTap, output: MixOutput } | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor (roomId: string, context: MixesContext, onClosed: (mix: ActiveMix) => void) {
    this.roomId = roomId
    this.#context = context
    this.#onClosed = onClosed
    this.opened = this.#open()
    this.opened.catch(() => this.close())
  }

  get startTime (): number {
    return Date.now() - (highResolutionMs() - this.#openedAt)
  }

  add (use: MixUse): void {
    clearTimeout(this.#timer)
    this.#uses.add(use)
  }

  remove (use: MixUse): void {
    this.#uses.delete(use)
    if (this.#closed || this.#uses.size > 0) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.close(), this.#context.lingerMs).unref()
  }

  async producerId (): Promise<string> {
    const output = this.#attachments?.output
    if (!output) throw unavailable('The mix is restarting')
    await output.ready()
    return output.producerId
  }

  stream (port: MessagePort, streams: MixStreams): void {
    if (this.#room) this.#room.stream(port, streams)
    else port.close()
  }

  /** Idempotent. */
  close (): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    this.#detach()
    this.#room?.close()
    this.#onClosed(this)
    for (const use of this.#uses) use.close()
  }

  async #open (): Promise<void> {
    const options = { openedAt: this.#openedAt, ssrc: this.#ssrc, payloadType: mixPayloadType, maxVoices: this.#context.maxVoices }
    const room = await this.#context.threads.open(options, () => this.#moved())
    if (this.#closed) room.close()
    else this.#room = room
    await this.#attach(room)
  }

  /** Connects the mixer thread to the room's router. */
  async #attach (room: ThreadRoom): Promise<void> {
    const { attach } = this.#context
    const { port } = room
    const tap = await attach((context) => new RoomTap(this.roomId, { port, follows: () => true }, context))
    const output = await attach((context) => new MixOutput(this.roomId, { port, ssrc: this.#ssrc }, context)).catch((error: unknown) => {
      tap.close()
      throw error
    })
    const attachments = { tap, output }
    this.#attachments = attachments
    const closed = () => { if (this.#attachments === attachments) this.close() }
    for (const attachment of [tap, output]) attachment.on('close', closed)
    // During the requests, the room or the mix was closed.
    if (this.#closed || tap.closed || output.closed) {
      this.#detach()
      throw unavailable(`The mix of room ${this.roomId} is closed`)
    }
    tap.on('voices', (voices) => room.setVoices(voices))
    output.on('reopened', (address) => room.setOutput(address.port))
    room.setVoices(tap.voices)
    room.setOutput(output.port)
  }

  #detach (): void {
    const attachments = this.#attachments
    this.#attachments = undefined
    attachments?.tap.close()
    attachments?.output.close()
  }

  /**
   * Called when the mix is reopened in a new thread on a different port. The tap and the output are then reopened,
   * because mediasoup cannot change the port of a transport.
   */
  #moved (): void {
    if (!this.#room || this.#closed) return
    this.#detach()
    this.#attach(this.#room).catch((err: unknown) => {
      this.#context.log.warn({ err, roomId: this.roomId }, 'failed to reopen a mix')
      this.close()
    })
  }
}
