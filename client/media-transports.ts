import type { Device, types } from 'mediasoup-client'
import type { Connection } from './connection.ts'
import { codeOf, RequestError } from './errors.ts'
import type { ReplyData, RequestData, RequestType } from './protocol.ts'
import type { AudioSource } from './publication.ts'
import type { TransportStats } from './quality.ts'

type Direction = 'producer' | 'consumer'

export interface MediaTransportsOptions {
  connection: Connection
  /** The mediasoup device, loaded with the router's RTP capabilities. */
  device: Device
  iceServers: RTCIceServer[]
  /** Maximum bit rate of a producer, in bits per second; the server closes producers that exceed it. */
  maxBitrates: Readonly<Record<AudioSource, number>>
  /** {@link MediaTransports.remaining} of the transports that these transports replace. */
  remaining: ReadonlyMap<AudioSource, string>
  /** Called when a transport connects or loses its connection. */
  changed: () => void
  /** Called when the transports have failed permanently and must be replaced. */
  broken: (error: RequestError) => void
}

/** An error from a TURN server. */
export interface TurnError {
  url: string
  /**
   * 701 if the TURN server did not answer; otherwise, the STUN error code in the answer, such as 401 for wrong
   * credentials.
   */
  code: number
  text: string
}

/** Why the transports are not connected: the `details` of a `MEDIA_FAILED` error. */
export interface MediaFailure {
  /**
   * - `ice`: the client can reach none of the server's addresses
   * - `turn`: same as `ice`, and the TURN server also rejected the client
   * - `dtls`: the client reached the server, but the encrypted connection (DTLS) failed
   * - `server`: the server rejected an audio request; the error's `cause` has the reason
   */
  reason: 'ice' | 'turn' | 'dtls' | 'server'
  /** The addresses that the server announced, for example `203.0.113.7:40000/udp`. */
  addresses: readonly string[]
  turnErrors: readonly TurnError[]
}

/** After the transports are closed, calls are rejected with this error. */
export class TransportsClosed extends Error {
  override readonly name = 'TransportsClosed'
}

/** A track that is being sent. */
interface Sent {
  producer: types.Producer
  /** Id of the sitting (one stay in a seat) that permits sending. */
  sitting: number
  /** Whether the producer is paused on the server. */
  isMuted: boolean
}

/** Bit rate of a voice, in bits per second: the browsers' default for full-band speech. */
const voiceBitrate = 32_000

/** If a transport stays `disconnected` for this time, in milliseconds, the client restarts ICE. */
const disturbanceMs = 2000
/** Maximum number of consecutive ICE restarts; after that, the transports are replaced. */
const maxRestarts = 3

/**
 * The send and receive transports that belong to one join of a room. The next join or `media:reset` replaces the
 * transports. After `close()`, new calls are rejected with {@link TransportsClosed} or do nothing. Calls that are
 * pending at that time are rejected or never settle.
 */
export class MediaTransports {
  readonly #options: MediaTransportsOptions
  #iceServers: RTCIceServer[]
  readonly #transports: Partial<Record<Direction, Promise<types.Transport>>> = {}
  readonly #open = new Set<types.Transport>()
  readonly #addresses = new Set<string>()
  readonly #turnErrors = new Map<string, TurnError>()
  readonly #sent = new Map<AudioSource, Sent>()
  /** Ids of producers of earlier transports that the server may still have. */
  readonly #remaining: Map<AudioSource, string>
  /** The result of `prepare()`. */
  #prepared: Promise<void> | undefined
  #used = false
  /** True once the send transport has been connected. */
  #sentOnce = false
  #turn: Promise<void> = Promise.resolve()
  #closed = false

  constructor (options: MediaTransportsOptions) {
    this.#options = options
    this.#iceServers = options.iceServers
    this.#remaining = new Map(options.remaining)
  }

  get closed (): boolean {
    return this.#closed
  }

  /** @returns the producer that sends the track of this source, if there is one */
  producer (source: AudioSource): types.Producer | undefined {
    return this.#sent.get(source)?.producer
  }

  /**
   * Ids of the producers that the server still has after `close()`, by source. The server closes these producers when
   * the client creates the next send transport, but the client needs no send transport until it publishes a track.
   */
  get remaining (): ReadonlyMap<AudioSource, string> {
    return new Map([...this.#remaining, ...[...this.#sent].map(([source, { producer }]) => [source, producer.id] as const)])
  }

  /**
   * Runs `fn` after the functions from all earlier calls have finished.
   *
   * @param fn must not throw
   */
  inTurn (fn: () => Promise<void>): Promise<void> {
    this.#turn = this.#turn.then(fn)
    return this.#turn
  }

  /**
   * True if audio can flow: every transport is connected. A send transport that has not been used yet is ignored.
   */
  get connected (): boolean {
    return [...this.#open].every(isConnected)
  }

  /**
   * True while the send transport connects for the first time (because a track was published) and the receive transport
   * is connected.
   */
  get startsSending (): boolean {
    const [receive, send] = (['recv', 'send'] as const).map((direction) => [...this.#open].find((transport) => transport.direction === direction))
    return receive?.connectionState === 'connected' && send?.connectionState === 'connecting' && !this.#sentOnce
  }

  /** Whether a track has been sent or received. */
  get used (): boolean {
    return this.#used
  }

  /** True if a track of this source is being sent and the send transport is connected. */
  isSending (source: AudioSource): boolean {
    return this.#sent.has(source) && [...this.#open].some((transport) => transport.direction === 'send' && transport.connectionState === 'connected')
  }

  /**
   * Creates the receive transport and starts to connect it. A browser connects a transport only if the transport has a
   * track, so the client adds a local dummy track, which has no consumer on the server. Without the dummy track, a
   * listener in a silent room could not detect that the server's media port is unreachable.
   *
   * The dummy track must stay active, and its media section must declare the MID header extension. Otherwise, libwebrtc
   * might assign the first packets of a voice, which may arrive before the voice's own media section is set up, to the
   * receiver of the dummy track. The voice would then stay silent, because all its later packets would go to the same
   * receiver.
   *
   * Idempotent.
   */
  prepare (): Promise<void> {
    this.#prepared ??= this.#prepare()
    return this.#prepared
  }

  async #prepare (): Promise<void> {
    const transport = await this.#transport('consumer')
    const rtpParameters = silentTrack(this.#options.device.recvRtpCapabilities)
    if (!rtpParameters) return
    await transport.consume({ id: silentTrackId, producerId: silentTrackId, kind: 'audio', rtpParameters })
  }

  /** Selects the ICE servers for transports that are created later and for later ICE restarts. */
  updateIceServers (iceServers: RTCIceServer[]): void {
    this.#iceServers = iceServers
    for (const transport of this.#open) transport.updateIceServers({ iceServers }).catch(() => { /* The transport keeps its ICE servers. */ })
  }

  /** @returns a `MEDIA_FAILED` error that explains why the transports are not connected */
  async explain (): Promise<RequestError> {
    const reached = await Promise.all([...this.#open].filter((transport) => !isConnected(transport)).map(hasReachedServer))
    const turnErrors = [...this.#turnErrors.values()]
    const rejection = turnErrors.find(({ code }) => code !== unansweredCode)
    const addresses = [...this.#addresses]
    const reason = reached.length > 0 && reached.every(Boolean) ? 'dtls' : rejection ? 'turn' : 'ice'
    const unreachable = `The server's media port cannot be reached at ${addresses.join(', ')}`
    const message = {
      dtls: 'The client reached the server, but the encrypted connection (DTLS) failed',
      ice: unreachable,
      turn: `${unreachable}, and ${rejection?.url} rejected the client: ${rejection?.code} ${rejection?.text}`
    }[reason]
    return new RequestError({ code: 'MEDIA_FAILED', message, details: { reason, addresses, turnErrors } satisfies MediaFailure })
  }

  /**
   * Sends a track. The track replaces the previous track of the same source.
   *
   * @param sitting id of the sitting (one stay in a seat) that permits sending. If the sitting has changed, the
   *   producer is replaced
   * @throws PRODUCER_NOT_FOUND if the server has already closed the previous producer; the new track is then not sent
   */
  async send (source: AudioSource, track: MediaStreamTrack, sitting: number): Promise<void> {
    const before = this.#sent.get(source)
    if (before && before.sitting !== sitting) await this.stopSending(source)
    const sent = this.#sent.get(source)
    if (sent) {
      if (sent.producer.track !== track) await sent.producer.replaceTrack({ track })
      return
    }
    const transport = await this.#transport('producer')
    const { voice, music } = this.#options.maxBitrates
    const producer = await transport.produce({
      track,
      // Only the caller is allowed to mute and stop the track.
      stopTracks: false,
      disableTrackOnPause: false,
      codecOptions: source === 'music'
        ? { opusStereo: true, opusFec: true, opusDtx: false, opusMaxAverageBitrate: music }
        : { opusStereo: false, opusFec: true, opusDtx: true, opusMaxAverageBitrate: Math.min(voice, voiceBitrate) },
      appData: { source }
    })
    if (this.#closed) throw new TransportsClosed()
    this.#sent.set(source, { producer, sitting, isMuted: false })
    this.#used = true
  }

  /**
   * Assigns the producers of one sitting to another sitting, so that the tracks need not be sent again.
   *
   * @param from sitting of the producers to change; other producers stay unchanged
   */
  regrant (from: number | undefined, to: number | undefined): void {
    if (to === undefined) return
    for (const sent of this.#sent.values()) if (sent.sitting === from) sent.sitting = to
  }

  /**
   * Closes the producer that sends the track of this source, if there is one, or that the replaced transports have left
   * on the server.
   *
   * @throws PRODUCER_NOT_FOUND if the server has already closed the producer, for example because the user lost the
   *   seat
   */
  async stopSending (source: AudioSource): Promise<void> {
    const producerId = this.discard(source)?.id ?? this.#remaining.get(source)
    if (producerId === undefined) return
    this.#remaining.delete(source)
    await this.#request('audio:closeProducer', { producerId })
  }

  /** Stops sending the track of this source, but does not tell the server. */
  discard (source: AudioSource): types.Producer | undefined {
    const producer = this.producer(source)
    this.#sent.delete(source)
    producer?.close()
    return producer
  }

  /**
   * Tells the server whether the producer of this source is muted. Sends nothing if this has not changed.
   *
   * @throws PRODUCER_NOT_FOUND if the server has closed the producer
   */
  async sendMuted (source: AudioSource, isMuted: boolean): Promise<void> {
    const sent = this.#sent.get(source)
    if (!sent || isMuted === sent.isMuted) return
    try {
      await this.#request(isMuted ? 'audio:selfMute' : 'audio:selfUnmute', { producerId: sent.producer.id })
    } catch (error) {
      if (codeOf(error) === 'PRODUCER_NOT_FOUND') this.discard(source)
      throw error
    }
    sent.isMuted = isMuted
  }

  /** Starts to receive a producer or the mix. Takes one round trip. */
  async consume (producerId: string): Promise<types.Consumer> {
    const transport = await this.#transport('consumer')
    const { id, kind, rtpParameters } = await this.#request('audio:consume', {
      transportId: transport.id,
      producerId,
      rtpCapabilities: this.#options.device.recvRtpCapabilities as RequestData<'audio:consume'>['rtpCapabilities'],
      paused: false
    })
    const consumer = await transport.consume({ id, producerId, kind, rtpParameters: rtpParameters as unknown as types.RtpParameters })
    if (this.#closed) throw new TransportsClosed()
    this.#used = true
    return consumer
  }

  /** Stops receiving a producer or the mix. Idempotent. */
  closeConsumer (consumer: types.Consumer): void {
    if (consumer.closed) return
    consumer.close()
    // If the request fails, the server has already closed the consumer.
    this.#request('consumer:close', { consumerId: consumer.id }).catch(() => {})
  }

  /**
   * @returns the WebRTC statistics of both transports
   * @throws TransportsClosed if the transports are closed before the statistics are available
   */
  async stats (): Promise<TransportStats> {
    try {
      const reports = await Promise.all([...this.#open].map(async (transport) => [transport.direction, await transport.getStats()] as const))
      if (this.#closed) throw new TransportsClosed()
      const { recv: received, send: sent } = Object.fromEntries(reports) as Partial<Record<types.Transport['direction'], RTCStatsReport>>
      return { received, sent, sending: this.#sent.size > 0 }
    } catch (error) {
      throw this.#closed ? new TransportsClosed() : error
    }
  }

  /** Closes the local end of the send transport. The client cannot send audio after this call. */
  closeSending (): void {
    for (const transport of this.#open) {
      if (transport.direction !== 'send') continue
      transport.close()
      this.#open.delete(transport)
    }
  }

  /**
   * Closes the local ends of the transports. The server closes its side of the transports when the client creates new
   * transports or the user leaves. Idempotent.
   */
  close (): void {
    this.#closed = true
    for (const transport of this.#open) transport.close()
    this.#open.clear()
  }

  /** @param apply called with the reply, even if the transports have been closed in the meantime */
  async #request<T extends RequestType> (type: T, data: RequestData<T>, apply?: (reply: ReplyData<T>) => void): Promise<ReplyData<T>> {
    if (this.#closed) throw new TransportsClosed()
    const reply = await this.#options.connection.request(type, data, apply)
    if (this.#closed) throw new TransportsClosed()
    return reply
  }

  #transport (direction: Direction): Promise<types.Transport> {
    this.#transports[direction] ??= this.#create(direction).catch((error: unknown) => {
      // A later call to `send()` tries again, for example after the server has limited the request.
      if (direction === 'producer') delete this.#transports.producer
      throw error
    })
    return this.#transports[direction]
  }

  async #create (direction: Direction): Promise<types.Transport> {
    const { connection, device } = this.#options
    const created = await this.#request('transport:create', { type: direction }) as unknown as types.TransportOptions
    const parameters = { ...created, iceServers: this.#iceServers }
    // The new send transport has replaced the send transport of the remaining producers.
    if (direction === 'producer') this.#remaining.clear()
    const transport = direction === 'producer' ? device.createSendTransport(parameters) : device.createRecvTransport(parameters)
    this.#open.add(transport)
    for (const { address, port, protocol } of parameters.iceCandidates) this.#addresses.add(`${address.includes(':') ? `[${address}]` : address}:${port}/${protocol}`)
    transport.on('icecandidateerror', ({ url, errorCode, errorText }) => {
      if (/^turns?:/.test(url)) this.#turnErrors.set(`${url} ${errorCode}`, { url, code: errorCode, text: errorText })
    })
    transport.on('connect', ({ dtlsParameters }, done, fail) => {
      this.#request('transport:connect', { transportId: transport.id, dtlsParameters }).then(() => done(), fail)
    })
    transport.on('produce', ({ rtpParameters, appData: { source } }, done, fail) => {
      this.#request('audio:produce', {
        transportId: transport.id,
        kind: 'audio',
        rtpParameters: rtpParameters as RequestData<'audio:produce'>['rtpParameters'],
        source: source as AudioSource
      }, ({ id }) => {
        // Only this reply contains the id, so no later transports can close the producer. If the request fails, the
        // server has already closed the producer.
        if (this.#closed) connection.request('audio:closeProducer', { producerId: id }).catch(() => {})
      }).then(done, fail)
    })
    this.#watch(transport)
    return transport
  }

  /** Restarts ICE when a transport loses its connection, for example after a network change. */
  #watch (transport: types.Transport): void {
    let timer: ReturnType<typeof setTimeout> | undefined
    let restarts = 0
    const restart = async () => {
      try {
        if (++restarts > maxRestarts) throw await this.explain()
        const { iceParameters } = await this.#request('transport:restartIce', { transportId: transport.id })
        await transport.restartIce({ iceParameters: iceParameters as unknown as types.IceParameters })
      } catch (error) {
        if (!this.#closed) this.#options.broken(error as RequestError)
      }
    }
    transport.on('connectionstatechange', (state) => {
      clearTimeout(timer)
      if (state === 'connected') restarts = 0
      if (state === 'connected' && transport.direction === 'send') this.#sentOnce = true
      else if (state === 'failed') restart()
      else if (state === 'disconnected') timer = setTimeout(restart, disturbanceMs)
      if (!this.#closed) this.#options.changed()
    })
    transport.observer.on('close', () => clearTimeout(timer))
  }
}

/** The `errorCode` of an `icecandidateerror` if a STUN or TURN server did not answer. */
const unansweredCode = 701

const silentTrackId = 'silent'

/** The RTP header extension that contains the id (MID) of a packet's media section (RFC 8843, section 15). */
const midUri = 'urn:ietf:params:rtp-hdrext:sdes:mid'

/** Whether the transport is connected. A send transport that has not been used yet counts as connected. */
function isConnected ({ connectionState, direction }: types.Transport): boolean {
  return connectionState === 'connected' || (direction === 'send' && connectionState === 'new')
}

/** Whether ICE has succeeded, so that packets reach the server, even if encryption (DTLS) failed. */
async function hasReachedServer (transport: types.Transport): Promise<boolean> {
  let reached = false
  const stats = await transport.getStats().catch(() => undefined)
  stats?.forEach(({ type, state }: { type: string, state?: string }) => {
    if (type === 'candidate-pair' && state === 'succeeded') reached = true
  })
  return reached
}

/**
 * @returns the RTP parameters of the dummy track, for which no packets arrive; undefined if the browser cannot receive
 *   Opus
 */
function silentTrack ({ codecs = [], headerExtensions = [] }: types.RtpCapabilities): types.RtpParameters | undefined {
  const opus = codecs.find(({ mimeType }) => mimeType.toLowerCase() === 'audio/opus')
  if (!opus) return
  const { mimeType, preferredPayloadType, clockRate, channels = 2, parameters = {} } = opus
  return {
    mid: silentTrackId,
    codecs: [{ mimeType, payloadType: preferredPayloadType, clockRate, channels, parameters, rtcpFeedback: [] }],
    // The browser lists an extension that audio and video share only once, as an extension for video.
    headerExtensions: headerExtensions.filter(({ uri }) => uri === midUri).map(({ uri, preferredId }) => ({ uri, id: preferredId })),
    encodings: [{ ssrc: 1 }],
    rtcp: { cname: silentTrackId, reducedSize: true }
  }
}
