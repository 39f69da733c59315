import type { Device, types } from 'mediasoup-client'
import type { Connection } from './connection.ts'
import { codeOf, RequestError } from './errors.ts'
import type { ReplyData, RequestData, RequestType } from './protocol.ts'
import type { LinkStats } from './quality.ts'

type Direction = 'producer' | 'consumer'

export interface LinkOptions {
  connection: Connection
  /** Loaded with the server's capabilities. */
  device: Device
  iceServers: RTCIceServer[]
  /** Told once, when audio does not get through any more and a new link is needed. */
  broken: (error: RequestError) => void
}

/** What a call of a link that was closed meanwhile fails with. */
export class LinkClosed extends Error {
  override readonly name = 'LinkClosed'
}

/** How long a disturbance may end by itself before ICE is restarted, in milliseconds. */
const disturbanceMs = 2000
/** Restarts of ICE in a row before the transports are made anew. */
const maxRestarts = 3

/**
 * One set of transports: from a join or a `media:reset` to the next. After
 * `close()` none of its calls has an effect, and those under way fail with
 * {@link LinkClosed} or never end.
 */
export class Link {
  readonly #options: LinkOptions
  readonly #transports: Partial<Record<Direction, Promise<types.Transport>>> = {}
  readonly #open = new Set<types.Transport>()
  #producer: types.Producer | undefined
  #sitting = 0
  #toldMuted = false
  #turn: Promise<void> = Promise.resolve()
  #closed = false

  constructor (options: LinkOptions) {
    this.#options = options
  }

  get closed (): boolean {
    return this.#closed
  }

  get producer (): types.Producer | undefined {
    return this.#producer
  }

  /**
   * Runs one thing after the other.
   *
   * @param fn must not throw
   */
  inTurn (fn: () => Promise<void>): Promise<void> {
    this.#turn = this.#turn.then(fn)
    return this.#turn
  }

  /** Readies the way by which others are heard. */
  async prepare (): Promise<void> {
    await this.#transport('consumer')
  }

  /**
   * Sends a track; another one takes the place of what was sent before.
   *
   * @param sitting what it may be sent for: the server has ended what was sent for anything else
   * @throws PRODUCER_NOT_FOUND as `stopSending()` does; then nothing is sent
   */
  async send (track: MediaStreamTrack, sitting: number): Promise<void> {
    if (sitting !== this.#sitting) await this.stopSending()
    if (this.#producer) {
      if (this.#producer.track !== track) await this.#producer.replaceTrack({ track })
      return
    }
    const transport = await this.#transport('producer')
    const producer = await transport.produce({
      track,
      // The track is its owner's: muting and stopping it are not done here.
      stopTracks: false,
      disableTrackOnPause: false,
      codecOptions: { opusStereo: false, opusFec: true, opusDtx: false }
    })
    if (this.#closed) throw new LinkClosed()
    this.#producer = producer
    this.#sitting = sitting
  }

  /**
   * What is sent goes on for something else than before.
   *
   * @param from what it must have been sent for until now, to be still there
   */
  regrant (from: number | undefined, to: number | undefined): void {
    if (this.#sitting === from && to !== undefined) this.#sitting = to
  }

  /**
   * Stops sending; nothing when nothing is sent.
   *
   * @throws PRODUCER_NOT_FOUND when the server was faster, as with those who lose their seats
   */
  async stopSending (): Promise<void> {
    const producer = this.#forget()
    if (producer) await this.#request('audio:closeProducer', { producerId: producer.id })
  }

  /**
   * Tells the server whether what is sent is muted; nothing when it knows.
   *
   * @throws PRODUCER_NOT_FOUND when the server has ended what is sent; then nothing is
   */
  async tellMuted (muted: boolean): Promise<void> {
    const producer = this.#producer
    if (!producer || muted === this.#toldMuted) return
    try {
      await this.#request(muted ? 'audio:selfMute' : 'audio:selfUnmute', { producerId: producer.id })
    } catch (error) {
      if (codeOf(error) === 'PRODUCER_NOT_FOUND') this.#forget()
      throw error
    }
    this.#toldMuted = muted
  }

  /** Lets a producer be heard. The server sends once everything here is ready, so that nothing is lost. */
  async consume (producerId: string): Promise<types.Consumer> {
    const transport = await this.#transport('consumer')
    const { id, kind, rtpParameters } = await this.#request('audio:consume', {
      transportId: transport.id,
      producerId,
      rtpCapabilities: this.#options.device.recvRtpCapabilities as RequestData<'audio:consume'>['rtpCapabilities']
    })
    const consumer = await transport.consume({ id, producerId, kind, rtpParameters: rtpParameters as unknown as types.RtpParameters })
    try {
      await this.#request('consumer:resume', { consumerId: id })
    } catch (error) {
      consumer.close()
      throw error
    }
    return consumer
  }

  /**
   * What the browser tells of both ways.
   *
   * @throws LinkClosed when it is closed before that is known
   */
  async stats (): Promise<LinkStats> {
    try {
      const reports = await Promise.all([...this.#open].map(async (transport) => [transport.direction, await transport.getStats()] as const))
      if (this.#closed) throw new LinkClosed()
      const { recv: received, send: sent } = Object.fromEntries(reports) as Partial<Record<types.Transport['direction'], RTCStatsReport>>
      return { received, sent, sending: this.#producer !== undefined }
    } catch (error) {
      throw this.#closed ? new LinkClosed() : error
    }
  }

  /** Ends everything on this side; the server forgets its side when it is replaced or left. Idempotent. */
  close (): void {
    this.#closed = true
    for (const transport of this.#open) transport.close()
    this.#open.clear()
  }

  #forget (): types.Producer | undefined {
    const producer = this.#producer
    this.#producer = undefined
    this.#toldMuted = false
    producer?.close()
    return producer
  }

  async #request<T extends RequestType> (type: T, data: RequestData<T>): Promise<ReplyData<T>> {
    if (this.#closed) throw new LinkClosed()
    const reply = await this.#options.connection.request(type, data)
    if (this.#closed) throw new LinkClosed()
    return reply
  }

  #transport (direction: Direction): Promise<types.Transport> {
    this.#transports[direction] ??= this.#create(direction)
    return this.#transports[direction]
  }

  async #create (direction: Direction): Promise<types.Transport> {
    const { device, iceServers } = this.#options
    const parameters = {
      ...await this.#request('transport:create', { type: direction }) as unknown as types.TransportOptions,
      iceServers
    }
    const transport = direction === 'producer' ? device.createSendTransport(parameters) : device.createRecvTransport(parameters)
    this.#open.add(transport)
    transport.on('connect', ({ dtlsParameters }, done, fail) => {
      this.#request('transport:connect', { transportId: transport.id, dtlsParameters }).then(() => done(), fail)
    })
    transport.on('produce', ({ rtpParameters }, done, fail) => {
      this.#request('audio:produce', {
        transportId: transport.id,
        kind: 'audio',
        rtpParameters: rtpParameters as RequestData<'audio:produce'>['rtpParameters']
      }).then(done, fail)
    })
    this.#watch(transport)
    return transport
  }

  /** Brings back a transport that has lost its way, as after a change of networks. */
  #watch (transport: types.Transport): void {
    let timer: ReturnType<typeof setTimeout> | undefined
    let restarts = 0
    const restart = async () => {
      try {
        if (++restarts > maxRestarts) throw new RequestError({ code: 'MEDIA_FAILED', message: 'No audio gets through to the server' })
        const { iceParameters } = await this.#request('transport:restartIce', { transportId: transport.id })
        await transport.restartIce({ iceParameters: iceParameters as unknown as types.IceParameters })
      } catch (error) {
        if (!this.#closed) this.#options.broken(error as RequestError)
      }
    }
    transport.on('connectionstatechange', (state) => {
      clearTimeout(timer)
      if (state === 'connected') restarts = 0
      else if (state === 'failed') restart()
      else if (state === 'disconnected') timer = setTimeout(restart, disturbanceMs)
    })
    transport.observer.on('close', () => clearTimeout(timer))
  }
}
