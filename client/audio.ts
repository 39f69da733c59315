import { Device } from 'mediasoup-client'
import type { types } from 'mediasoup-client'
import { createBackoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { asMediaError, codeOf, isDisconnect, mayPass, RequestError } from './errors.ts'
import { RemoteTracks } from './remote-tracks.ts'
import type { RemoteAudio, RemoteProducer } from './remote-tracks.ts'
import { MediaTransports, TransportsClosed } from './media-transports.ts'
import type { JoinReply } from './protocol.ts'
import { firstSample, measure } from './quality.ts'
import type { AudioQuality, QualitySample } from './quality.ts'
import type { RoomSeats } from './seats.ts'

/**
 * - `off`: no room, or a room without audio
 * - `connecting`: transports are being created, for the first time or after a loss
 * - `on`: transports are ready; remote tracks are received and the published track is sent
 */
export type AudioState = 'off' | 'connecting' | 'on'

export interface AudioEvents {
  /** The state changed; `why` is the error that caused `connecting` or `off`, if any. */
  state: [state: AudioState, why: Error | undefined]
  /** A remote track starts. */
  added: [audio: RemoteAudio]
  /** A remote track ends. If the cause is a lost connection, the same user usually comes back with a new track. */
  removed: [audio: RemoteAudio]
  /** A producer was added, removed, paused or resumed. */
  producers: []
  /** The published track was muted or unmuted. */
  muted: [muted: boolean]
  /** The server rejected the published track, so the client unpublished it. */
  refused: [error: Error]
}

export interface AudioOptions {
  /** Set to false to send without receiving. `producers` still lists the room's producers. Default: true. */
  receive?: boolean
  /**
   * Name of the mediasoup-client handler. Set it where it cannot be detected, for example to
   * 'Chrome111' in Node with the package @roamhq/wrtc.
   */
  handlerName?: types.BuiltinHandlerName
}

interface Publication {
  track: MediaStreamTrack
  sent: PromiseWithResolvers<void>
}

/**
 * Audio of the current room: receives remote tracks and sends one published track. In a room
 * with seats, the track is sent only while the user has a seat. Sending and receiving resume
 * automatically after a `media:reset`, a failed transport, a reconnect or a change of seat.
 */
export class RoomAudio extends Emitter<AudioEvents> {
  readonly #connection: Connection
  readonly #seats: RoomSeats
  readonly #options: AudioOptions
  readonly #remoteTracks: RemoteTracks
  readonly #backoff = createBackoff({ firstMs: 200, longestMs: 5000 })
  // Desired state.
  #publication: Publication | undefined
  #sitting: number | undefined
  #muted = false
  // Actual state.
  #room: { roomId: string, device: Promise<Device> } | undefined
  #device: Promise<Device> | undefined
  #iceServers: RTCIceServer[] | undefined
  #transports: MediaTransports | undefined
  /** Counters from the previous `quality()` call. */
  #sample: QualitySample = firstSample(0)
  #timer: ReturnType<typeof setTimeout> | undefined
  #state: AudioState = 'off'

  /**
   * @param connection used for requests and server events
   * @param seats the seats view of the same connection
   */
  constructor (connection: Connection, seats: RoomSeats, options: AudioOptions = {}) {
    super()
    this.#connection = connection
    this.#seats = seats
    this.#options = options
    this.#remoteTracks = new RemoteTracks(connection)
    this.#remoteTracks.on('added', (audio) => this.emit('added', audio))
    this.#remoteTracks.on('removed', (audio) => this.emit('removed', audio))
    this.#remoteTracks.on('producers', () => this.emit('producers'))
    this.#remoteTracks.on('broken', (transports, error) => this.#broken(transports, asMediaError(error)))
    connection.on('media:reset', ({ roomId, reason }) => {
      if (this.#room?.roomId !== roomId) return
      this.#remoteTracks.forget()
      this.#open(new Error(reason))
    })
    connection.on('audio:producerClosed', ({ roomId, producerId, reason }) => {
      if (reason === undefined || this.#room?.roomId !== roomId || this.#transports?.producer?.id !== producerId) return
      const error = new RequestError({ code: 'BITRATE_EXCEEDED', message: 'The track was sent with too high a bit rate' })
      this.#withdraw(error)
      this.emit('refused', error)
      this.#sync()
    })
    connection.on('feature:disabled', ({ name }) => {
      // The server closed all transports. The server sends `feature:enabled` when audio is available again.
      if (name === 'media') this.stop()
    })
    seats.on('change', () => {
      const [before, sitting] = [this.#sitting, this.#permitted]
      if (sitting === before) return
      this.#sitting = sitting
      // When the `seats` feature is turned off, users who are speaking keep their producers.
      if (!seats.enabled) this.#transports?.regrant(before, sitting)
      this.#sync()
    })
  }

  get state (): AudioState {
    return this.#state
  }

  get muted (): boolean {
    return this.#muted
  }

  /** Whether a track is published. The track is sent as soon as the user may speak. */
  get publishing (): boolean {
    return this.#publication !== undefined
  }

  /** Whether the published track may be sent now. In a room with seats this requires a seat. */
  get sending (): boolean {
    return this.publishing && this.#permitted !== undefined
  }

  /** The producers of the other users in the room. */
  get producers (): RemoteProducer[] {
    return this.#remoteTracks.producers
  }

  /** The remote tracks that are currently received. */
  get heard (): RemoteAudio[] {
    return this.#remoteTracks.heard
  }

  /** The RTP sender of the published track, for statistics. */
  get sender (): RTCRtpSender | undefined {
    return this.#transports?.producer?.rtpSender
  }

  /**
   * Current audio levels, 0 to 1, keyed by user id as a string; 0 for muted or silent users. Cheap enough to
   * call on every animation frame.
   */
  levels (): ReadonlyMap<string, number> {
    return this.#remoteTracks.levels()
  }

  /**
   * Audio quality since the previous call, or since the transports were created. Wait at least one second between
   * calls: over shorter intervals, single packets dominate the result.
   *
   * @returns undefined while no transport is connected
   */
  async quality (): Promise<AudioQuality | undefined> {
    const transports = this.#transports
    if (!transports) return
    try {
      const stats = await transports.stats()
      if (transports !== this.#transports) return
      const { quality, sample } = measure(this.#sample, stats, performance.now())
      this.#sample = sample
      return quality
    } catch (error) {
      if (transports !== this.#transports || error instanceof TransportsClosed) return
      throw error
    }
  }

  /**
   * Starts audio for a room that was just joined. Does nothing if the server has no audio.
   */
  start (reply: JoinReply): void {
    this.stop()
    if (!reply.rtpCapabilities) return
    this.#iceServers = reply.iceServers as RTCIceServer[] | undefined
    this.#device ??= loadDevice(reply.rtpCapabilities as unknown as types.RtpCapabilities, this.#options)
    this.#device.catch(() => { this.#device = undefined })
    this.#room = { roomId: reply.roomId, device: this.#device }
    this.#remoteTracks.start(reply)
    this.#open()
  }

  /**
   * Applies the join reply after the `seats` feature was turned on. The server keeps the producers of users
   * who already had a seat; other users must produce again once they have a seat.
   */
  seated ({ existingProducers = [] }: JoinReply): void {
    const producerId = this.#transports?.producer?.id
    if (existingProducers.some((producer) => producer.producerId === producerId)) this.#transports?.regrant(0, this.#sitting)
  }

  /** Stops sending and receiving. The published track stays published for the next `start()`. Idempotent. */
  stop (): void {
    clearTimeout(this.#timer)
    this.#room = undefined
    this.#closeTransports()
    this.#setState('off')
    this.#remoteTracks.stop()
  }

  /**
   * Publishes a track in this room and in later rooms, until `unpublish()`. In a room with seats the
   * track is sent whenever the user has a seat. The caller owns the track and stops it.
   *
   * @returns a promise that resolves when the track is first sent; in a room with seats, this requires a seat
   * @throws RequestError if the server rejects the track permanently; CLOSED if it is unpublished before it is sent
   */
  publish (track: MediaStreamTrack): Promise<void> {
    this.#withdraw(new RequestError({ code: 'CLOSED', message: 'Another track was published' }))
    track.enabled = !this.#muted
    this.#publication = { track, sent: Promise.withResolvers<void>() }
    const { promise } = this.#publication.sent
    promise.catch(() => {})
    this.#sync()
    return promise
  }

  /** Stops sending the published track. The caller still has to stop the track itself. Idempotent. */
  unpublish (): void {
    this.#withdraw(new RequestError({ code: 'CLOSED', message: 'The track was withdrawn' }))
    this.#sync()
  }

  /** Mutes the published track immediately and notifies the room. Idempotent. */
  mute (): void {
    this.#setMuted(true)
  }

  /** Unmutes the published track. Idempotent. */
  unmute (): void {
    this.#setMuted(false)
  }

  /** Id of the sitting (stay on a seat) that permits sending; 0 without seats, undefined if the user may not speak. */
  get #permitted (): number | undefined {
    return this.#seats.enabled ? this.#seats.sitting : 0
  }

  #setMuted (muted: boolean): void {
    if (muted === this.#muted) return
    this.#muted = muted
    // The local mute applies even if the request fails.
    if (this.#publication) this.#publication.track.enabled = !muted
    this.emit('muted', muted)
    this.#sync()
  }

  #withdraw (why: Error): void {
    this.#publication?.sent.reject(why)
    this.#publication = undefined
  }

  #setState (state: AudioState, why?: Error): void {
    if (state === this.#state) return
    this.#state = state
    this.emit('state', state, why)
  }

  #closeTransports (): void {
    this.#transports?.close()
    this.#transports = undefined
    this.#remoteTracks.close()
  }

  /** Creates the transports and replaces any previous ones. */
  async #open (why?: Error): Promise<void> {
    clearTimeout(this.#timer)
    this.#closeTransports()
    this.#setState('connecting', why)
    const room = this.#room
    if (!room) return
    let device: Device
    try {
      device = await room.device
    } catch (error) {
      // The browser does not support WebRTC audio. The room works without audio.
      if (this.#room === room) this.#setState('off', error as Error)
      return
    }
    // A later call of #open() or stop() has superseded this one.
    if (this.#room !== room || this.#transports) return
    const transports = new MediaTransports({
      connection: this.#connection,
      device,
      iceServers: this.#iceServers ?? (this.#connection.greeting?.iceServers ?? []) as RTCIceServer[],
      broken: (error) => this.#broken(transports, error)
    })
    this.#transports = transports
    this.#sample = firstSample(performance.now())
    const { receive = true } = this.#options
    if (receive) this.#remoteTracks.open(transports)
    const sending = this.#sync()
    try {
      if (receive) await transports.prepare()
      await sending
      if (transports !== this.#transports) return
      this.#backoff.reset()
      this.#setState('on')
    } catch (error) {
      this.#broken(transports, error)
    }
  }

  /** Closes failed transports and creates new ones after a backoff. */
  #broken (transports: MediaTransports, error: unknown): void {
    if (transports !== this.#transports || transports.closed) return
    this.#closeTransports()
    // start() is called again after the reconnect.
    if (isDisconnect(error)) return
    this.#setState('connecting', error as Error)
    this.#timer = setTimeout(() => { this.#open(error as Error) }, this.#backoff.next())
  }

  /** Sends, mutes or stops the track to match the desired state. Runs are serialised, so the latest state wins. */
  #sync (): Promise<void> {
    const transports = this.#transports
    if (!transports) return Promise.resolve()
    return transports.inTurn(async () => {
      const publication = this.#publication
      try {
        if (transports.closed) return
        const sitting = this.#permitted
        if (!publication || sitting === undefined) return await transports.stopSending()
        await transports.send(publication.track, sitting)
        await transports.sendMuted(this.#muted)
        publication.sent.resolve()
      } catch (cause) {
        if (transports.closed || cause instanceof TransportsClosed) return
        // The seat was lost or the `seats` feature was turned on, and the event that reports it has not arrived yet.
        if (codeOf(cause) === 'NOT_SEATED') return
        // The server closed the producer. Reconcile with the current state.
        if (codeOf(cause) === 'PRODUCER_NOT_FOUND') {
          this.#sync()
          return
        }
        // An unplugged microphone must not tear down the receiving transport.
        const ended = publication?.track.readyState === 'ended' && codeOf(cause) === undefined
        const error = ended ? new RequestError({ code: 'TRACK_ENDED', message: 'The track has ended' }, { cause }) : cause
        if (mayPass(error) || isDisconnect(error) || codeOf(error) === undefined) return this.#broken(transports, asMediaError(error))
        if (publication === undefined || publication !== this.#publication) return
        this.#withdraw(error as Error)
        this.emit('refused', error as Error)
      }
    })
  }
}

async function loadDevice (routerRtpCapabilities: types.RtpCapabilities, { handlerName }: AudioOptions): Promise<Device> {
  const device = await Device.factory(handlerName === undefined ? {} : { handlerName })
  await device.load({ routerRtpCapabilities })
  return device
}
