import { Device } from 'mediasoup-client'
import type { types } from 'mediasoup-client'
import { createBackoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { asMediaError, codeOf, isDisconnect, mayPass, RequestError } from './errors.ts'
import { Hearing } from './hearing.ts'
import type { RemoteAudio, RemoteProducer } from './hearing.ts'
import { Link, LinkClosed } from './link.ts'
import type { JoinReply } from './protocol.ts'
import { firstSample, measure } from './quality.ts'
import type { AudioQuality, QualitySample } from './quality.ts'
import type { RoomSeats } from './seats.ts'

/**
 * - `off`: in no room, or in one without audio
 * - `connecting`: the way to the server is being made, also after a loss
 * - `on`: others are heard, and what is to be sent is sent
 */
export type AudioState = 'off' | 'connecting' | 'on'

export interface AudioEvents {
  /** The state has changed; `why` tells what went wrong when it went back to `connecting`. */
  state: [state: AudioState, why: Error | undefined]
  /** Somebody is heard from now on. */
  added: [audio: RemoteAudio]
  /** Somebody is not heard any more; after a loss the same producer's user usually comes back. */
  removed: [audio: RemoteAudio]
  /** Whose audio there is in the room, or who has muted, is not what it was. */
  producers: []
  /** Own muting has changed. */
  muted: [muted: boolean]
  /** The server does not take the own track, or not any more; it has been withdrawn. */
  refused: [error: Error]
}

/** What a page leaves as it is. */
export interface AudioOptions {
  /** False to speak only: nothing of what others say is received. `producers` still tells whose audio there is. */
  receive?: boolean
  /**
   * Whose WebRTC it is, where the browser's name does not tell: 'Chrome111' for that of the package @roamhq/wrtc,
   * with which there is audio in Node.
   */
  handlerName?: types.BuiltinHandlerName
}

interface Publication {
  track: MediaStreamTrack
  sent: PromiseWithResolvers<void>
}

/**
 * Audio of the room a connection is in: what others send is received, and a
 * track of one's own is sent, in a room with seats for as long as one has a seat.
 * It states what there should be and brings that about, again and again: after a
 * `media:reset`, a lost way, a new connection, on another seat, everything comes
 * back without anybody doing anything.
 */
export class RoomAudio extends Emitter<AudioEvents> {
  readonly #connection: Connection
  readonly #seats: RoomSeats
  readonly #options: AudioOptions
  readonly #hearing: Hearing
  readonly #backoff = createBackoff({ firstMs: 200, longestMs: 5000 })
  // What there should be.
  #publication: Publication | undefined
  #sitting: number | undefined
  #muted = false
  // What there is.
  #room: { roomId: string, device: Promise<Device> } | undefined
  #device: Promise<Device> | undefined
  #iceServers: RTCIceServer[] | undefined
  #link: Link | undefined
  /** What has gone over the link until `quality()` was asked for last. */
  #sample: QualitySample = firstSample(0)
  #timer: ReturnType<typeof setTimeout> | undefined
  #state: AudioState = 'off'

  /**
   * @param connection whose events it follows from now on
   * @param seats of the same connection
   */
  constructor (connection: Connection, seats: RoomSeats, options: AudioOptions = {}) {
    super()
    this.#connection = connection
    this.#seats = seats
    this.#options = options
    this.#hearing = new Hearing(connection)
    this.#hearing.on('added', (audio) => this.emit('added', audio))
    this.#hearing.on('removed', (audio) => this.emit('removed', audio))
    this.#hearing.on('producers', () => this.emit('producers'))
    this.#hearing.on('broken', (link, error) => this.#broken(link, asMediaError(error)))
    connection.on('media:reset', ({ roomId, reason }) => {
      if (this.#room?.roomId !== roomId) return
      this.#hearing.forget()
      this.#open(new Error(reason))
    })
    connection.on('feature:disabled', ({ name }) => {
      // The server has closed everything; it says when there is audio again.
      if (name === 'media') this.stop()
    })
    seats.on('change', () => {
      const [before, sitting] = [this.#sitting, this.#permitted]
      if (sitting === before) return
      this.#sitting = sitting
      // Where seats are turned off, whoever speaks goes on.
      if (!seats.enabled) this.#link?.regrant(before, sitting)
      this.#sync()
    })
  }

  get state (): AudioState {
    return this.#state
  }

  get muted (): boolean {
    return this.#muted
  }

  /** Whether a track is to be sent, as soon as that may be. */
  get publishing (): boolean {
    return this.#publication !== undefined
  }

  /** Whether a track is to be sent now: for that one needs a seat, where there are seats. */
  get sending (): boolean {
    return this.publishing && this.#permitted !== undefined
  }

  /** Whose audio there is in the room, one's own left out. */
  get producers (): RemoteProducer[] {
    return this.#hearing.producers
  }

  /** Who is heard here now. */
  get heard (): RemoteAudio[] {
    return this.#hearing.heard
  }

  /** The sender of the own track, for statistics. */
  get sender (): RTCRtpSender | undefined {
    return this.#link?.producer?.rtpSender
  }

  /**
   * How loud each user is who is heard here now, 0 to 1, by their id as text: that of what is
   * played at the moment, 0 for those who are muted or from whom nothing comes. It
   * is cheap, to be asked for at each animation frame.
   */
  levels (): ReadonlyMap<string, number> {
    return this.#hearing.levels()
  }

  /**
   * How well audio has got through since this was asked for last; the first time, since there is a
   * link. A second or more should lie between: the less, the more a single packet counts.
   *
   * @returns undefined while there is no link to the server that could be measured
   */
  async quality (): Promise<AudioQuality | undefined> {
    const link = this.#link
    if (!link) return
    try {
      const stats = await link.stats()
      if (link !== this.#link) return
      const { quality, sample } = measure(this.#sample, stats, performance.now())
      this.#sample = sample
      return quality
    } catch (error) {
      if (link !== this.#link || error instanceof LinkClosed) return
      throw error
    }
  }

  /**
   * Begins with a room that has just been joined. Nothing happens when the
   * server does no audio.
   */
  start (reply: JoinReply): void {
    this.stop()
    if (!reply.rtpCapabilities) return
    this.#iceServers = reply.iceServers as RTCIceServer[] | undefined
    this.#device ??= loadDevice(reply.rtpCapabilities as unknown as types.RtpCapabilities, this.#options)
    this.#device.catch(() => { this.#device = undefined })
    this.#room = { roomId: reply.roomId, device: this.#device }
    this.#hearing.start(reply)
    this.#open()
  }

  /**
   * Seats were turned on in the room, and begin with this reply. The server has
   * let only those go on who had their seat before; others begin anew once they have one.
   */
  seated ({ existingProducers = [] }: JoinReply): void {
    const producerId = this.#link?.producer?.id
    if (existingProducers.some((producer) => producer.producerId === producerId)) this.#link?.regrant(0, this.#sitting)
  }

  /** Ends with the room: nothing is sent or heard. The own track stays, for the next `start()`. Idempotent. */
  stop (): void {
    clearTimeout(this.#timer)
    this.#room = undefined
    this.#closeLink()
    this.#setState('off')
    this.#hearing.stop()
  }

  /**
   * Sends a track, in this room and, until `unpublish()`, in those that follow.
   * Where there are seats, it is sent whenever one has a seat. It is the
   * caller's: stopping it is up to them.
   *
   * @returns when it is sent for the first time, which may take until there is a seat
   * @throws RequestError when the server refuses it for good; CLOSED when it was withdrawn before
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

  /** Sends nothing any more. Idempotent. */
  unpublish (): void {
    this.#withdraw(new RequestError({ code: 'CLOSED', message: 'The track was withdrawn' }))
    this.#sync()
  }

  /** Silences the own track at once, and tells the room. Idempotent. */
  mute (): void {
    this.#setMuted(true)
  }

  /** Takes `mute()` back. Idempotent. */
  unmute (): void {
    this.#setMuted(false)
  }

  /** What one may send for now; undefined when one may not. */
  get #permitted (): number | undefined {
    return this.#seats.enabled ? this.#seats.sitting : 0
  }

  #setMuted (muted: boolean): void {
    if (muted === this.#muted) return
    this.#muted = muted
    // Here it takes effect whatever becomes of the message.
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

  #closeLink (): void {
    this.#link?.close()
    this.#link = undefined
    this.#hearing.close()
  }

  /** Makes the way to the server, in the place of one there may have been. */
  async #open (why?: Error): Promise<void> {
    clearTimeout(this.#timer)
    this.#closeLink()
    this.#setState('connecting', why)
    const room = this.#room
    if (!room) return
    let device: Device
    try {
      device = await room.device
    } catch (error) {
      // This browser can't do it; the room goes on without audio.
      if (this.#room === room) this.#setState('off', error as Error)
      return
    }
    // Another #open() or stop() came first.
    if (this.#room !== room || this.#link) return
    const link = new Link({
      connection: this.#connection,
      device,
      iceServers: this.#iceServers ?? (this.#connection.greeting?.iceServers ?? []) as RTCIceServer[],
      broken: (error) => this.#broken(link, error)
    })
    this.#link = link
    this.#sample = firstSample(performance.now())
    const { receive = true } = this.#options
    if (receive) this.#hearing.open(link)
    const sending = this.#sync()
    try {
      if (receive) await link.prepare()
      await sending
      if (link !== this.#link) return
      this.#backoff.reset()
      this.#setState('on')
    } catch (error) {
      this.#broken(link, error)
    }
  }

  /** Something that everything hangs on has failed: all of it is made anew, later. */
  #broken (link: Link, error: unknown): void {
    if (link !== this.#link || link.closed) return
    this.#closeLink()
    // The next start() comes with the next connection.
    if (isDisconnect(error)) return
    this.#setState('connecting', error as Error)
    this.#timer = setTimeout(() => { this.#open(error as Error) }, this.#backoff.next())
  }

  /** Makes what is sent what it should be. One run follows the other, and the last has the last word. */
  #sync (): Promise<void> {
    const link = this.#link
    if (!link) return Promise.resolve()
    return link.inTurn(async () => {
      const publication = this.#publication
      try {
        if (link.closed) return
        const sitting = this.#permitted
        if (!publication || sitting === undefined) return await link.stopSending()
        await link.send(publication.track, sitting)
        await link.tellMuted(this.#muted)
        publication.sent.resolve()
      } catch (cause) {
        if (link.closed || cause instanceof LinkClosed) return
        // The seat is lost, or seats were turned on; what says so is on its way.
        if (codeOf(cause) === 'NOT_SEATED') return
        // The server has ended what was sent, for the same reason or another: what there is now is looked at anew.
        if (codeOf(cause) === 'PRODUCER_NOT_FOUND') {
          this.#sync()
          return
        }
        // A microphone that was unplugged must not cost the others' voices.
        const ended = publication?.track.readyState === 'ended' && codeOf(cause) === undefined
        const error = ended ? new RequestError({ code: 'TRACK_ENDED', message: 'The track has ended' }, { cause }) : cause
        if (mayPass(error) || isDisconnect(error) || codeOf(error) === undefined) return this.#broken(link, asMediaError(error))
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
