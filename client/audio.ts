import { Device } from 'mediasoup-client'
import type { types } from 'mediasoup-client'
import { createBackoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { asMediaError, codeOf, isDisconnect, mayPass, RequestError } from './errors.ts'
import { RemoteTracks } from './remote-tracks.ts'
import type { RemoteAudio, RemoteProducer } from './remote-tracks.ts'
import { MediaTransports, TransportsClosed } from './media-transports.ts'
import type { MediaFailure } from './media-transports.ts'
import { openAnotherMicrophone } from './microphone.ts'
import type { JoinReply } from './protocol.ts'
import { firstSample, measure } from './quality.ts'
import type { AudioQuality, QualitySample } from './quality.ts'
import type { RoomSeats } from './seats.ts'

/**
 * - `off`: no room, or a room without audio
 * - `connecting`: the transports are connecting, for the first time or after a loss
 * - `on`: the transports are connected; remote tracks are received and the published track is sent. After `publish()`
 *   the state stays `on` for up to 8 s while the send transport connects; `microphone` is `waiting` until then
 */
export type AudioState = 'off' | 'connecting' | 'on'

/**
 * - `off`: no track is published
 * - `waiting`: a track is published but not sent: the user has no seat, or the send transport is not connected
 * - `live`: the track is sent
 * - `muted`: the user muted the track
 * - `interrupted`: the device muted the track, for example during a phone call, or another microphone is being opened
 */
export type MicrophoneState = 'off' | 'waiting' | 'live' | 'muted' | 'interrupted'

export interface AudioEvents {
  /**
   * The state changed; `why` is the error that caused `connecting` or `off`, if any. If the transports are not connected
   * after 8 s, the event is emitted again with `connecting` and a `MEDIA_FAILED` error. The client keeps trying.
   */
  state: [state: AudioState, why: Error | undefined]
  /** A remote track starts. */
  added: [audio: RemoteAudio]
  /** A remote track ends. If the cause is a lost connection, the same user usually comes back with a new track. */
  removed: [audio: RemoteAudio]
  /** A producer was added, removed, paused or resumed. */
  producers: []
  /** The published track was muted or unmuted. */
  muted: [muted: boolean]
  /** The state of the microphone changed. */
  microphone: [state: MicrophoneState]
  /** The published track ended; the client publishes the given track of another microphone instead. */
  replaced: [track: MediaStreamTrack]
  /** The client unpublished the track, because the server rejected it or because it ended and has no replacement. */
  refused: [error: Error]
}

export interface AudioOptions {
  /**
   * Set to false to send without receiving. `producers` still lists the room's producers, and the state is `on` without a
   * connected transport until a track is published. Default: true.
   */
  receive?: boolean
  /**
   * Name of the mediasoup-client handler. Set this option where the client cannot detect the handler, for example to
   * 'Chrome111' in Node with the package @roamhq/wrtc.
   */
  handlerName?: types.BuiltinHandlerName
}

export interface PublishOptions {
  /**
   * Opens another track when the published track ends, for example because a phone call took the microphone. By
   * default, the client opens another microphone if the published track comes from one. The client stops the tracks that
   * this function returns. Set this option to false to unpublish an ended track.
   */
  reopen?: false | (() => Promise<MediaStreamTrack>)
}

interface Publication {
  track: MediaStreamTrack
  sent: PromiseWithResolvers<void>
  reopen: false | (() => Promise<MediaStreamTrack>)
  /** Whether the track has ended and another one is being opened. */
  isReopening: boolean
  /** Whether the client opened the track and must therefore stop it. */
  isOwned: boolean
  stopListening: () => void
}

/** How long the transports may take to connect until the client reports `MEDIA_FAILED`, in milliseconds. */
const connectTimeoutMs = 8000

/** Errors of `getUserMedia` after which a retry may succeed, for example when a phone call ends. */
const busyErrors = new Set(['NotReadableError', 'AbortError'])

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
  #connectTimer: ReturnType<typeof setTimeout> | undefined
  /** Limits how long a published track may take to be sent while the state is `on`. */
  #sendTimer: ReturnType<typeof setTimeout> | undefined
  #state: AudioState = 'off'
  #failure: RequestError | undefined
  #microphone: MicrophoneState = 'off'
  /** Whether the current transports have been set up; they may still be connecting. */
  #prepared = false
  /** The last error that closed the transports. */
  #lastError: Error | undefined

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

  /** Why there is no audio: the last `MEDIA_FAILED` error; undefined when the transports are connected again. */
  get failure (): RequestError | undefined {
    return this.#failure
  }

  /** Whether the user muted the published track. */
  get muted (): boolean {
    return this.#muted
  }

  /** The state of the user's own microphone. */
  get microphone (): MicrophoneState {
    return this.#microphone
  }

  /** Whether a track is published. The track is sent as soon as the user may speak. */
  get publishing (): boolean {
    return this.#publication !== undefined
  }

  /** Whether the published track may be sent now. In a room with seats this requires a seat. */
  get sending (): boolean {
    return this.publishing && this.#permitted !== undefined
  }

  /** The producers of the other users in the room; the same frozen array until they change. */
  get producers (): readonly RemoteProducer[] {
    return this.#remoteTracks.producers
  }

  /** The remote tracks that are currently received; the same frozen array until they change. */
  get heard (): readonly RemoteAudio[] {
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
   * @returns undefined while no transport is connected, and until a track is sent or received
   */
  async quality (): Promise<AudioQuality | undefined> {
    const transports = this.#transports
    if (transports?.used !== true) return
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
   * While the device mutes the track, for example during a phone call, the user appears muted.
   *
   * @returns a promise that resolves when the track is first sent; this requires a connected transport and, in a room with
   *   seats, a seat
   * @throws RequestError if the server rejects the track permanently; CLOSED if it is unpublished before it is sent
   */
  publish (track: MediaStreamTrack, { reopen = openAnotherMicrophone(track) }: PublishOptions = {}): Promise<void> {
    this.#withdraw(new RequestError({ code: 'CLOSED', message: 'Another track was published' }))
    const sent = Promise.withResolvers<void>()
    this.#publication = { track, sent, reopen, isReopening: false, isOwned: false, stopListening: () => {} }
    this.#listen(this.#publication)
    sent.promise.catch(() => {})
    this.#sync()
    this.#update()
    return sent.promise
  }

  /** Stops sending the published track. The caller still has to stop the track itself. Idempotent. */
  unpublish (): void {
    this.#withdraw(new RequestError({ code: 'CLOSED', message: 'The track was withdrawn' }))
    this.#sync()
    this.#update()
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
    this.#update()
  }

  #withdraw (why: Error): void {
    const publication = this.#publication
    if (!publication) return
    this.#publication = undefined
    publication.stopListening()
    if (publication.isOwned) publication.track.stop()
    publication.sent.reject(why)
  }

  /** Observes the device's changes to the published track, and applies the mute state to the track. */
  #listen (publication: Publication): void {
    const { track } = publication
    const changed = () => {
      this.#sync()
      this.#update()
    }
    const ended = () => { this.#reopen(publication) }
    track.enabled = !this.#muted
    track.addEventListener('mute', changed)
    track.addEventListener('unmute', changed)
    track.addEventListener('ended', ended)
    publication.stopListening = () => {
      track.removeEventListener('mute', changed)
      track.removeEventListener('unmute', changed)
      track.removeEventListener('ended', ended)
    }
  }

  /** Replaces an ended track. While another application uses the microphone, the client retries. */
  async #reopen (publication: Publication): Promise<void> {
    const { reopen } = publication
    const isCurrent = () => this.#publication === publication
    if (!isCurrent() || publication.isReopening) return
    publication.isReopening = true
    publication.stopListening()
    this.#sync()
    this.#update()
    try {
      const track = reopen ? await openWhenFree(reopen, isCurrent) : undefined
      if (!isCurrent()) {
        track?.stop()
        return
      }
      if (!track) throw new Error('The track may not be replaced')
      if (publication.isOwned) publication.track.stop()
      Object.assign(publication, { track, isOwned: true, isReopening: false })
      this.#listen(publication)
      this.emit('replaced', track)
    } catch (cause) {
      if (!isCurrent()) return
      const error = new RequestError({ code: 'TRACK_ENDED', message: 'The track has ended' }, { cause })
      this.#withdraw(error)
      this.emit('refused', error)
    }
    this.#sync()
    this.#update()
  }

  #setState (state: AudioState, why?: Error): void {
    if (state === this.#state) return
    this.#state = state
    clearTimeout(this.#connectTimer)
    if (state === 'connecting') this.#connectTimer = setTimeout(() => { this.#reportFailure() }, connectTimeoutMs)
    else this.#failure = undefined
    this.emit('state', state, why)
  }

  /** Reports why there is no audio. */
  async #reportFailure (): Promise<void> {
    const transports = this.#transports
    const cause = this.#lastError
    const error = transports && this.#prepared
      ? await transports.explain()
      : codeOf(cause) === 'MEDIA_FAILED' && (cause as RequestError).details !== undefined
        ? cause as RequestError
        : new RequestError({
          code: 'MEDIA_FAILED',
          message: `Audio could not be set up: ${cause?.message ?? 'the server did not reply'}`,
          details: { reason: 'server', addresses: [], turnErrors: [] } satisfies MediaFailure
        }, { cause })
    if (this.#state !== 'connecting' || this.#failure) return
    this.#failure = error
    this.emit('state', 'connecting', error)
  }

  /** Updates the state from the transports, and then the microphone. */
  #update (): void {
    const transports = this.#transports
    if (transports && this.#prepared) {
      if (transports.connected) {
        this.#backoff.reset()
        this.#lastError = undefined
        this.#setState('on')
      } else if (this.#state === 'on' && transports.startsSending) {
        // Remote audio is not interrupted; the state of the microphone is `waiting`.
        this.#sendTimer ??= setTimeout(() => {
          this.#setState('connecting')
          this.#reportFailure()
        }, connectTimeoutMs)
      } else {
        this.#setState('connecting')
      }
      if (!transports.startsSending) this.#stopSendTimer()
    }
    if (transports?.sending === true && transports.producer?.track === this.#publication?.track) this.#publication?.sent.resolve()
    const microphone = this.#describeMicrophone()
    if (microphone === this.#microphone) return
    this.#microphone = microphone
    this.emit('microphone', microphone)
  }

  #stopSendTimer (): void {
    clearTimeout(this.#sendTimer)
    this.#sendTimer = undefined
  }

  #describeMicrophone (): MicrophoneState {
    if (!this.#publication) return 'off'
    if (this.#interrupted) return 'interrupted'
    if (!this.sending || this.#transports?.sending !== true) return 'waiting'
    return this.#muted ? 'muted' : 'live'
  }

  /** Whether the device provides no audio for the published track. */
  get #interrupted (): boolean {
    return this.#publication !== undefined && (this.#publication.isReopening || this.#publication.track.muted)
  }

  #closeTransports (): void {
    this.#transports?.close()
    this.#transports = undefined
    this.#prepared = false
    this.#stopSendTimer()
    this.#remoteTracks.close()
    this.#update()
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
    // A later call of #open() or stop() has superseded this call.
    if (this.#room !== room || this.#transports) return
    const transports = new MediaTransports({
      connection: this.#connection,
      device,
      iceServers: this.#iceServers ?? (this.#connection.greeting?.iceServers ?? []) as RTCIceServer[],
      changed: () => { if (transports === this.#transports) this.#update() },
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
      this.#prepared = true
      this.#update()
    } catch (error) {
      this.#broken(transports, error)
    }
  }

  /** Closes failed transports and creates new transports after a backoff. */
  #broken (transports: MediaTransports, error: unknown): void {
    if (transports !== this.#transports || transports.closed) return
    this.#closeTransports()
    // start() is called again after the reconnect.
    if (isDisconnect(error)) return
    this.#lastError = error as Error
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
        // An ended track cannot be sent, but an earlier producer stays, muted, until another track is open.
        if (!publication.isReopening) await transports.send(publication.track, sitting)
        await transports.sendMuted(this.#muted || this.#interrupted)
      } catch (cause) {
        if (transports.closed || cause instanceof TransportsClosed) return
        // The seat was lost or the `seats` feature was turned on, and the event about this change has not arrived yet.
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
      } finally {
        this.#update()
      }
    })
  }
}

async function loadDevice (routerRtpCapabilities: types.RtpCapabilities, { handlerName }: AudioOptions): Promise<Device> {
  const device = await Device.factory(handlerName === undefined ? {} : { handlerName })
  await device.load({ routerRtpCapabilities })
  return device
}

/**
 * Opens a microphone. While another application uses the microphone, retries with backoff.
 *
 * @param isWanted whether to retry
 * @throws the error of `open`
 */
async function openWhenFree (open: () => Promise<MediaStreamTrack>, isWanted: () => boolean): Promise<MediaStreamTrack> {
  const backoff = createBackoff({ firstMs: 500, longestMs: 5000 })
  for (;;) {
    try {
      return await open()
    } catch (error) {
      const { name, cause } = error as Error
      const isBusy = busyErrors.has(name) || busyErrors.has((cause as Error | undefined)?.name ?? '')
      if (!isBusy || !isWanted()) throw error
      await new Promise((resolve) => setTimeout(resolve, backoff.next()))
    }
  }
}
