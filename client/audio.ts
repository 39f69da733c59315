import { Device } from 'mediasoup-client'
import type { types } from 'mediasoup-client'
import { createBackoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { asMediaError, codeOf, isDisconnect, mayPass, RequestError, retryAfterOf } from './errors.ts'
import { RemoteTracks } from './remote-tracks.ts'
import type { Reception, RemoteAudio, RemoteProducer } from './remote-tracks.ts'
import { MediaTransports, TransportsClosed } from './media-transports.ts'
import type { MediaFailure } from './media-transports.ts'
import { AudioPlayback } from './playback.ts'
import type { JoinReply } from './protocol.ts'
import { Publication } from './publication.ts'
import type { AudioSource, PublishOptions } from './publication.ts'
import { firstSample, measure } from './quality.ts'
import type { AudioQuality, QualitySample } from './quality.ts'
import type { RoomSeats } from './seats.ts'

/**
 * - `off`: no room, or a room without audio
 * - `connecting`: the client is connecting the transports, for the first time or after the connection was lost
 * - `on`: the transports are connected, so the client receives remote tracks and sends the published track. After the
 *   first `publish()`, the send transport has up to 8 s to connect. During this time, the state stays `on`, and
 *   `microphone` is `waiting`
 */
export type AudioState = 'off' | 'connecting' | 'on'

/**
 * What the client receives:
 *
 * - `auto`: speakers receive the voices. Speakers are users with a seat or, in a room without seats, users who publish
 *   a track. Listeners receive the mix if the server recommends the mix; otherwise, listeners receive the voices
 * - `voices`: one track per producer
 * - `mix`: one track with the mix of the room. A user who speaks also hears their own voice. If the server offers no
 *   mix, the client receives the voices
 * - false: nothing
 */
export type ReceiveMode = 'auto' | Reception | false

/**
 * - `off`: no track is published
 * - `waiting`: a track is published, but not sent, because the user has no seat or the send transport is not connected
 * - `live`: the track is sent
 * - `muted`: the user muted the track
 * - `interrupted`: the device muted the track (for example, during a phone call), or the client is opening another
 *   microphone
 */
export type MicrophoneState = 'off' | 'waiting' | 'live' | 'muted' | 'interrupted'

export interface AudioEvents {
  /**
   * The state changed. If an error caused `connecting` or `off`, `why` is this error. If the transports are not
   * connected after 8 s, the client emits the event again, with `connecting` and a `MEDIA_FAILED` error, and keeps
   * trying.
   */
  state: [state: AudioState, why: Error | undefined]
  /** A remote track starts. */
  added: [audio: RemoteAudio]
  /** A remote track ends. After a lost connection, the same user usually returns with a new track. */
  removed: [audio: RemoteAudio]
  /** A producer was added, removed, paused or resumed. */
  producers: []
  /** The user muted or unmuted the microphone. */
  muted: [muted: boolean]
  /** The microphone's state changed. */
  microphone: [state: MicrophoneState]
  /** The state of the published music changed. */
  music: [state: MicrophoneState]
  /** `receive`, `reception` or `mixRecommended` changed. */
  reception: [reception: Reception | undefined]
  /** The published track ended, and the client replaced it with `track`. */
  replaced: [track: MediaStreamTrack, source: AudioSource]
  /** The client unpublished the track: the server rejected or closed it, or the track ended and has no replacement. */
  refused: [error: Error, source: AudioSource]
}

export interface AudioOptions {
  /**
   * What to receive. Default: `auto`. If false, the client receives no tracks, but `producers` still lists the room's
   * producers. The client then needs no transport until a track is published, and the state is `on` from the start.
   */
  receive?: ReceiveMode
  /**
   * If true, the client plays the received tracks, and `playback` controls the volumes and the speaker. By default, the
   * application must play the received tracks.
   */
  play?: boolean
  /**
   * Name of the mediasoup-client handler. Set this option if the client cannot detect the handler, for example to
   * 'Chrome111' in Node with the @roamhq/wrtc package.
   */
  handlerName?: types.BuiltinHandlerName
}

/** If the transports are not connected after this time, in milliseconds, the client reports `MEDIA_FAILED`. */
const connectTimeoutMs = 8000

/** After the mix fails, the client receives the voices for this time, in milliseconds, and then tries the mix again. */
const mixRetryMs = 5000

/**
 * How long the client sends audio to both servers when it moves to another server, in milliseconds. During this time,
 * the other clients switch to the track from the new server.
 */
const overlapMs = 150

const sources = ['voice', 'music'] as const

/**
 * The transports to the previous server. The previous transports stay open until the transports to the current server
 * are connected.
 */
interface PreviousTransports {
  transports: MediaTransports
  closed: PromiseWithResolvers<void>
  /** The timer that closes the transports. */
  timer: ReturnType<typeof setTimeout>
  /**
   * True once the transports to the current server are connected and the previous transports are being closed.
   */
  isEnding: boolean
}

/** The bit rates to use if the server does not report its limits, in bits per second. */
const defaultBitrates = { voice: 96_000, music: 128_000 }

/**
 * Receives the remote tracks of the current room and sends the published tracks (voice and music). In a room with
 * seats, tracks are sent only while the user has a seat. Sending and receiving resume automatically after a
 * `media:reset`, a failed transport, a reconnect or a change of seat.
 */
export class RoomAudio extends Emitter<AudioEvents> {
  readonly #connection: Connection
  readonly #seats: RoomSeats
  readonly #options: AudioOptions
  readonly #remoteTracks: RemoteTracks
  /** Volumes and speaker device. Has an effect only with the `play` option. */
  readonly playback: AudioPlayback
  readonly #backoff = createBackoff({ firstMs: 200, longestMs: 5000 })
  // The desired state.
  readonly #publications = new Map<AudioSource, Publication>()
  #receive: ReceiveMode
  #sitting: number | undefined
  #muted = false
  // The actual state.
  #room: { roomId: string, device: Promise<Device> } | undefined
  #device: Promise<Device> | undefined
  #iceServers: RTCIceServer[] | undefined
  #maxBitrates: Readonly<Record<AudioSource, number>> = defaultBitrates
  #mixRecommended = false
  /** Defined while the client receives the voices because the mix failed. */
  #mixTimer: ReturnType<typeof setTimeout> | undefined
  #transports: MediaTransports | undefined
  #previous: PreviousTransports | undefined
  /** Ids of the producers that the last closed transports may have left on the server. */
  #remaining: ReadonlyMap<AudioSource, string> = new Map()
  /** Statistics from the previous `quality()` call. */
  #sample: QualitySample = firstSample(0)
  #timer: ReturnType<typeof setTimeout> | undefined
  /** Calls `#sync()` again after the server has limited a request. */
  #syncTimer: ReturnType<typeof setTimeout> | undefined
  #connectTimer: ReturnType<typeof setTimeout> | undefined
  /** While the state is `on`, this timer limits how long the send transport may take to connect. */
  #sendTimer: ReturnType<typeof setTimeout> | undefined
  #state: AudioState = 'off'
  #failure: RequestError | undefined
  readonly #states: Record<AudioSource, MicrophoneState> = { voice: 'off', music: 'off' }
  /** True once the current transports have been set up, even if they are still connecting. */
  #prepared = false
  /** The last error that closed the transports. */
  #lastError: Error | undefined

  /**
   * @param connection used for requests and server events
   * @param seats the view of the seats, created with the same connection
   */
  constructor (connection: Connection, seats: RoomSeats, options: AudioOptions = {}) {
    super()
    this.#connection = connection
    this.#seats = seats
    this.#options = options
    this.#receive = options.receive ?? 'auto'
    this.#remoteTracks = new RemoteTracks(connection)
    this.playback = new AudioPlayback(this.#remoteTracks, options.play === true)
    this.#remoteTracks.on('added', (audio) => this.emit('added', audio))
    this.#remoteTracks.on('removed', (audio) => this.emit('removed', audio))
    this.#remoteTracks.on('producers', () => this.emit('producers'))
    this.#remoteTracks.on('reception', (reception) => this.emit('reception', reception))
    this.#remoteTracks.on('mixFailed', () => this.#avoidMix())
    this.#remoteTracks.on('broken', (transports, error) => this.#broken(transports, asMediaError(error)))
    connection.on('media:reset', ({ roomId, reason }) => {
      if (this.#room?.roomId !== roomId) return
      this.#remoteTracks.forget()
      this.#open(new Error(reason))
    })
    connection.on('audio:producerClosed', ({ roomId, producerId, reason }) => {
      if (reason === undefined || this.#room?.roomId !== roomId) return
      const source = sources.find((source) => this.#transports?.producer(source)?.id === producerId)
      if (source === undefined) return
      const error = new RequestError({ code: 'BITRATE_EXCEEDED', message: "The bit rate of the track exceeded the server's limit" })
      this.#withdraw(source, error)
      this.emit('refused', error, source)
      this.#sync()
    })
    connection.on('audio:mix', ({ roomId, recommended }) => {
      if (this.#room?.roomId === roomId) this.#recommendMix(recommended)
    })
    connection.on('features', () => { this.#updateReception() })
    connection.on('feature:disabled', ({ name }) => {
      // The server closed all transports. When audio is available again, the server sends `feature:enabled`.
      if (name === 'media') this.stop()
    })
    seats.on('change', () => {
      const [before, sitting] = [this.#sitting, this.#permitted]
      this.#updateReception()
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

  /** Why there is no audio: the last `MEDIA_FAILED` error; undefined while the transports are connected. */
  get failure (): RequestError | undefined {
    return this.#failure
  }

  /** Whether the user muted the microphone. */
  get muted (): boolean {
    return this.#muted
  }

  /** The state of the user's own microphone. */
  get microphone (): MicrophoneState {
    return this.#states.voice
  }

  /** The state of the music that the user publishes. Music is never `muted`. */
  get music (): MicrophoneState {
    return this.#states.music
  }

  /** Whether a microphone track is published. The client sends the track only while the user is allowed to speak. */
  get publishing (): boolean {
    return this.#publications.has('voice')
  }

  /**
   * True if a microphone track is published and the user is allowed to speak. In a room with seats, only users with a
   * seat are allowed to speak.
   */
  get sending (): boolean {
    return this.publishing && this.#permitted !== undefined
  }

  /** The receive mode that the application selected. */
  get receive (): ReceiveMode {
    return this.#receive
  }

  /** What the user currently hears: the voices or the mix; undefined while nothing is received. */
  get reception (): Reception | undefined {
    return this.#remoteTracks.reception
  }

  /** Whether the server recommends the mix to listeners, because the room has many listeners. */
  get mixRecommended (): boolean {
    return this.#mixRecommended
  }

  /** The producers of the other users in the room. Returns the same frozen array until a producer changes. */
  get producers (): readonly RemoteProducer[] {
    return this.#remoteTracks.producers
  }

  /**
   * The remote tracks that the client currently receives. Returns the same frozen array until a track is added or
   * removed.
   */
  get heard (): readonly RemoteAudio[] {
    return this.#remoteTracks.heard
  }

  /** The RTP sender of the microphone track, for statistics. */
  get sender (): RTCRtpSender | undefined {
    return this.#transports?.producer('voice')?.rtpSender
  }

  /**
   * Current audio levels of the voices, 0 to 1, keyed by user id as a string; 0 for muted or silent users. While the
   * client receives the mix, the levels are those of the last `speaker:active` event, scaled so that the loudest
   * speaker has the level of the mix. A call is cheap enough for every animation frame.
   */
  levels (): ReadonlyMap<string, number> {
    return this.#remoteTracks.levels()
  }

  /**
   * Audio quality since the previous call, or since the transports were created. Wait at least one second between
   * calls: over a shorter time, single packets dominate the result.
   *
   * @returns undefined while no transport is connected or no track has been sent or received
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
   * Keeps the transports to the current server open while the client moves to another server. The previous transports
   * are closed once the transports of the next `start()` are connected, but at the latest after 8 s. Resolves when the
   * previous transports are closed.
   */
  handOver (): Promise<void> {
    const transports = this.#transports
    if (!transports || this.#state !== 'on') return Promise.resolve()
    this.#endHandOver()
    clearTimeout(this.#timer)
    this.#transports = undefined
    this.#prepared = false
    this.#stopSendTimer()
    this.#remoteTracks.handOver()
    const closed = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      this.#endHandOver()
      if (!this.#prepared) this.#setState('connecting')
      this.#update()
    }, connectTimeoutMs)
    this.#previous = { transports, closed, timer, isEnding: false }
    return closed.promise
  }

  /** Starts the audio of a room that the user has just joined. Does nothing if the server has no audio. */
  start (reply: JoinReply): void {
    const isMoving = this.#previous !== undefined && this.#transports === undefined
    if (!isMoving || !reply.rtpCapabilities) this.stop()
    if (!reply.rtpCapabilities) return
    this.#stopAvoidingMix()
    this.#iceServers = reply.iceServers as RTCIceServer[] | undefined
    this.#maxBitrates = reply.maxBitrates ?? defaultBitrates
    this.#mixRecommended = reply.mix?.recommended === true
    this.#device ??= loadDevice(reply.rtpCapabilities as unknown as types.RtpCapabilities, this.#options)
    this.#device.catch(() => { this.#device = undefined })
    this.#room = { roomId: reply.roomId, device: this.#device }
    this.#remoteTracks.start(reply)
    this.#updateReception()
    this.#open()
  }

  /** Called with each later join reply in the same room. The credentials for the TURN servers in older replies expire. */
  renewed ({ iceServers }: JoinReply): void {
    if (!this.#room || !iceServers) return
    this.#iceServers = iceServers as RTCIceServer[]
    this.#transports?.updateIceServers(this.#iceServers)
  }

  /** Called with a new join reply after the `mix` feature is turned on. */
  mixed ({ mix }: JoinReply): void {
    if (this.#room) this.#recommendMix(mix?.recommended === true)
  }

  /**
   * Called with a new join reply after the `seats` feature is turned on. If the user has a seat, the server keeps the
   * user's producers. Otherwise, the client produces again when the user takes a seat.
   */
  seated ({ existingProducers = [] }: JoinReply): void {
    const known = new Set(existingProducers.map(({ producerId }) => producerId))
    if (sources.some((source) => known.has(this.#transports?.producer(source)?.id ?? ''))) this.#transports?.regrant(0, this.#sitting)
  }

  /**
   * Stops sending and receiving. A published track stays published, and is sent again after the next `start()`.
   * Idempotent.
   */
  stop (): void {
    clearTimeout(this.#timer)
    this.#stopAvoidingMix()
    this.#room = undefined
    this.#mixRecommended = false
    this.#closeTransports()
    this.#setState('off')
    this.#remoteTracks.stop()
  }

  /**
   * Selects what to receive, in this room and in later rooms. No audio is lost during a switch, because the old tracks
   * play until the new tracks play.
   */
  setReceive (mode: ReceiveMode): void {
    if (mode === this.#receive) return
    const wasOff = this.#receive === false
    this.#receive = mode
    this.#updateReception()
    const transports = this.#transports
    if (wasOff) transports?.prepare().catch((error: unknown) => this.#broken(transports, error))
    this.emit('reception', this.reception)
  }

  /**
   * Publishes a track in this room and in later rooms, until `unpublish()` is called. The track replaces the previous
   * track of the same source. In a room with seats, the track is sent whenever the user has a seat. The caller must
   * stop the track when it is no longer needed.
   *
   * While the device mutes the track, for example during a phone call, the user appears muted.
   *
   * Resolves when the track is first sent. Sending requires a connected transport and, in a room with seats, a seat.
   *
   * @throws RequestError if the server rejects the track permanently, with the server's code; if the track is
   *   unpublished before it is sent, with CLOSED; if the track ends before it is sent and there is no replacement, with
   *   TRACK_ENDED
   */
  publish (track: MediaStreamTrack, options: PublishOptions = {}): Promise<void> {
    const { source = 'voice' } = options
    this.#withdraw(source, new RequestError({ code: 'CLOSED', message: 'Another track was published' }))
    const changed = () => {
      this.#sync()
      this.#update()
    }
    const publication = new Publication(track, options, {
      changed,
      replaced: (track) => {
        this.emit('replaced', track, source)
        changed()
      },
      ended: (error) => {
        this.#withdraw(source, error)
        this.emit('refused', error, source)
        changed()
      }
    })
    this.#publications.set(source, publication)
    if (source === 'voice') publication.setEnabled(!this.#muted)
    this.#updateReception()
    changed()
    return publication.sent
  }

  /**
   * Stops sending the published track. The caller must still stop the track. Idempotent.
   *
   * @param source default: `voice`
   */
  unpublish (source: AudioSource = 'voice'): void {
    this.#withdraw(source, new RequestError({ code: 'CLOSED', message: 'The track was unpublished' }))
    this.#updateReception()
    this.#sync()
    this.#update()
  }

  /** Mutes the microphone immediately and notifies the room. Does not affect music. Idempotent. */
  mute (): void {
    this.#setMuted(true)
  }

  /** Unmutes the microphone. Idempotent. */
  unmute (): void {
    this.#setMuted(false)
  }

  /**
   * Id of the sitting (one stay in a seat) that permits sending; 0 if the room has no seats, undefined if the user is
   * not allowed to speak.
   */
  get #permitted (): number | undefined {
    return this.#seats.enabled ? this.#seats.sitting : 0
  }

  #setMuted (muted: boolean): void {
    if (muted === this.#muted) return
    this.#muted = muted
    // The local mute applies even if the request fails.
    this.#publications.get('voice')?.setEnabled(!muted)
    this.emit('muted', muted)
    this.#sync()
    this.#update()
  }

  #withdraw (source: AudioSource, why: Error): void {
    const publication = this.#publications.get(source)
    this.#publications.delete(source)
    // During a move, the previous transports still send the track.
    this.#previous?.transports.discard(source)
    publication?.withdraw(why)
  }

  /** What the client should receive now. */
  get #wanted (): Reception | undefined {
    if (this.#receive === false) return
    const hasMix = this.#connection.features.has('mix') && this.#mixTimer === undefined
    if (this.#receive === 'voices' || !hasMix) return 'voices'
    // Speakers do not receive the mix, because they would hear their own voice.
    const speaks = this.#seats.enabled ? this.#seats.own !== undefined : this.#publications.size > 0
    return this.#receive === 'mix' || (this.#mixRecommended && !speaks) ? 'mix' : 'voices'
  }

  #updateReception (): void {
    if (this.#room) this.#remoteTracks.want(this.#wanted)
  }

  #recommendMix (recommended: boolean): void {
    if (recommended === this.#mixRecommended) return
    this.#mixRecommended = recommended
    this.#updateReception()
    this.emit('reception', this.reception)
  }

  /** Switches to the voices for a while after the mix fails. */
  #avoidMix (): void {
    this.#mixTimer ??= setTimeout(() => {
      this.#mixTimer = undefined
      this.#updateReception()
    }, mixRetryMs)
    this.#updateReception()
  }

  #stopAvoidingMix (): void {
    clearTimeout(this.#mixTimer)
    this.#mixTimer = undefined
  }

  #setState (state: AudioState, why?: Error): void {
    if (state === this.#state) return
    this.#state = state
    clearTimeout(this.#connectTimer)
    if (state === 'connecting') this.#connectTimer = setTimeout(() => { this.#reportFailure() }, connectTimeoutMs)
    else this.#failure = undefined
    this.emit('state', state, why)
  }

  /** Emits the `state` event with the reason why there is no audio. */
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

  /** Updates the state from the transports, then the states of the microphone and the music. */
  #update (): void {
    const transports = this.#transports
    if (transports && this.#prepared) {
      if (transports.connected) {
        this.#backoff.reset()
        this.#lastError = undefined
        this.#setState('on')
        this.#finishHandOver()
      } else if (this.#previous) {
        // Audio continues through the previous transports.
      } else if (this.#state === 'on' && transports.startsSending) {
        // Receiving continues, so only the microphone's state changes, to `waiting`.
        this.#sendTimer ??= setTimeout(() => {
          this.#setState('connecting')
          this.#reportFailure()
        }, connectTimeoutMs)
      } else {
        this.#setState('connecting')
      }
      if (!transports.startsSending) this.#stopSendTimer()
    }
    for (const source of sources) this.#updateSource(source)
  }

  #updateSource (source: AudioSource): void {
    const publication = this.#publications.get(source)
    if (publication && this.#transports?.isSending(source) === true && this.#transports.producer(source)?.track === publication.track) publication.markSent()
    const state = this.#describe(source, publication)
    if (state === this.#states[source]) return
    this.#states[source] = state
    this.emit(source === 'voice' ? 'microphone' : 'music', state)
  }

  #stopSendTimer (): void {
    clearTimeout(this.#sendTimer)
    this.#sendTimer = undefined
  }

  #describe (source: AudioSource, publication: Publication | undefined): MicrophoneState {
    if (!publication) return 'off'
    if (publication.isInterrupted) return 'interrupted'
    const isSending = this.#transports?.isSending(source) === true || this.#previous?.transports.isSending(source) === true
    if (this.#permitted === undefined || !isSending) return 'waiting'
    return source === 'voice' && this.#muted ? 'muted' : 'live'
  }

  /**
   * Closes the transports to the previous server once all their tracks are replaced, but at the latest after a timeout.
   */
  async #finishHandOver (): Promise<void> {
    const previous = this.#previous
    if (!previous || previous.isEnding) return
    previous.isEnding = true
    const sent = new Promise((resolve) => setTimeout(resolve, overlapMs)).then(() => previous.transports.closeSending())
    await Promise.all([this.#remoteTracks.replaced(), sent])
    if (this.#previous !== previous) return
    this.#endHandOver()
    this.#update()
  }

  #endHandOver (): void {
    const previous = this.#previous
    if (!previous) return
    this.#previous = undefined
    clearTimeout(previous.timer)
    this.#remoteTracks.release()
    previous.transports.close()
    previous.closed.resolve()
  }

  #closeTransports (): void {
    this.#endHandOver()
    clearTimeout(this.#syncTimer)
    if (this.#transports) this.#remaining = this.#transports.remaining
    this.#transports?.close()
    this.#transports = undefined
    this.#prepared = false
    this.#stopSendTimer()
    this.#remoteTracks.close()
    this.#update()
  }

  /** Creates new transports, which replace the previous transports. */
  async #open (why?: Error): Promise<void> {
    clearTimeout(this.#timer)
    if (why || !this.#previous) {
      this.#closeTransports()
      this.#setState('connecting', why)
    }
    const room = this.#room
    if (!room) return
    let device: Device
    try {
      device = await room.device
    } catch (error) {
      // The browser does not support WebRTC audio. The room works without audio.
      if (this.#room !== room) return
      this.#closeTransports()
      this.#setState('off', error as Error)
      return
    }
    // A later call to #open() or stop() superseded this one.
    if (this.#room !== room || this.#transports) return
    const transports = new MediaTransports({
      connection: this.#connection,
      device,
      maxBitrates: this.#maxBitrates,
      remaining: this.#remaining,
      iceServers: this.#iceServers ?? (this.#connection.greeting?.iceServers ?? []) as RTCIceServer[],
      changed: () => { if (transports === this.#transports) this.#update() },
      broken: (error) => this.#broken(transports, error)
    })
    this.#transports = transports
    this.#sample = firstSample(performance.now())
    this.#remoteTracks.open(transports)
    const sending = this.#sync()
    try {
      if (this.#receive !== false) await transports.prepare()
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
    // After the reconnect, start() is called and creates new transports.
    if (isDisconnect(error)) return
    this.#lastError = error as Error
    this.#setState('connecting', error as Error)
    this.#timer = setTimeout(() => { this.#open(error as Error) }, Math.max(retryAfterOf(error), this.#backoff.next()))
  }

  /**
   * Sends, mutes or stops the tracks according to the desired state. Calls run one at a time, and each call reads the
   * latest desired state.
   */
  #sync (): Promise<void> {
    const transports = this.#transports
    if (!transports) return Promise.resolve()
    return transports.inTurn(async () => {
      for (const source of sources) await this.#syncSource(transports, source)
      this.#update()
    })
  }

  async #syncSource (transports: MediaTransports, source: AudioSource): Promise<void> {
    const publication = this.#publications.get(source)
    const track = publication?.track
    try {
      if (transports.closed) return
      const sitting = this.#permitted
      if (!publication || sitting === undefined) return await transports.stopSending(source)
      // A track that has ended cannot be sent. The producer of such a track stays open, but muted, until a replacement
      // track is open.
      if (!publication.isReopening) await transports.send(source, publication.track, sitting)
      await transports.sendMuted(source, publication.isInterrupted || (source === 'voice' && this.#muted))
    } catch (cause) {
      if (transports.closed || cause instanceof TransportsClosed) return
      // The user lost the seat or the `seats` feature was turned on, but the event that says so has not arrived yet.
      if (codeOf(cause) === 'NOT_SEATED') return
      // The server has already closed the producer, so send the track again if the user is still allowed to speak.
      if (codeOf(cause) === 'PRODUCER_NOT_FOUND') {
        this.#sync()
        return
      }
      // The server limits the requests of a user, but the audio continues, so keep the transports.
      if (codeOf(cause) === 'RATE_LIMITED') {
        clearTimeout(this.#syncTimer)
        this.#syncTimer = setTimeout(() => { this.#sync() }, Math.max(retryAfterOf(cause), this.#backoff.next()))
        return
      }
      // If the track ended during the call, for example because the microphone was unplugged, keep the transports.
      const ended = track?.readyState === 'ended' && codeOf(cause) === undefined
      // The publication replaces the track, and then calls `#sync()`.
      if (ended && (publication?.isReopening === true || publication?.track !== track)) return
      const error = ended ? new RequestError({ code: 'TRACK_ENDED', message: 'The track has ended' }, { cause }) : cause
      if (mayPass(error) || isDisconnect(error) || codeOf(error) === undefined) return this.#broken(transports, asMediaError(error))
      if (publication === undefined || publication !== this.#publications.get(source)) return
      this.#withdraw(source, error as Error)
      this.emit('refused', error as Error, source)
    }
  }
}

async function loadDevice (routerRtpCapabilities: types.RtpCapabilities, { handlerName }: AudioOptions): Promise<Device> {
  const device = await Device.factory(handlerName === undefined ? {} : { handlerName })
  await device.load({ routerRtpCapabilities })
  return device
}
