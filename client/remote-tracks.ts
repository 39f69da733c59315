import type { types } from 'mediasoup-client'
import { createBackoff } from './backoff.ts'
import type { Backoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { codeOf } from './errors.ts'
import { Levels } from './levels.ts'
import type { MediaTransports } from './media-transports.ts'
import type { JoinReply, UserId } from './protocol.ts'
import type { AudioSource } from './publication.ts'
import { updateSnapshot } from './snapshots.ts'
import { SpeakerLevels } from './speaker-levels.ts'

/** A producer of another user in the room, even if the client does not receive the producer's audio. */
export interface RemoteProducer {
  readonly producerId: string
  readonly userId: UserId
  readonly source: AudioSource
  /** Whether the user or the server has paused the producer. */
  readonly isPaused: boolean
}

/** A remote track that this client receives. */
export interface RemoteAudio {
  /** `mix` for the mix of the room. */
  readonly producerId: string
  /** Undefined for the mix of the room. */
  readonly userId: UserId | undefined
  readonly source: AudioSource | 'mix'
  /**
   * The track to play in an audio element, as the only track of a MediaStream. While the client switches between the
   * voices and the mix, it disables the tracks that should not be audible yet.
   */
  readonly track: MediaStreamTrack
  /** The RTP receiver of the track, for statistics. */
  readonly receiver: RTCRtpReceiver
}

/**
 * - `voices`: one track per producer
 * - `mix`: one track with the mix of the room
 */
export type Reception = 'voices' | 'mix'

export interface RemoteTracksEvents {
  added: [audio: RemoteAudio]
  removed: [audio: RemoteAudio]
  /** A producer was added, removed, paused or resumed. */
  producers: []
  /**
   * The application must now play the tracks of this `reception`. The client receives the old tracks for another {@link
   * fadeMs}.
   */
  reception: [reception: Reception | undefined]
  /** The client cannot receive the mix at the moment. */
  mixFailed: []
  /** A request to receive a producer failed because of the transports, not because of the producer. */
  broken: [transports: MediaTransports, error: unknown]
}

/** During a switch, the old and the new tracks play at the same time for this long, in milliseconds. */
export const fadeMs = 150
/** During a switch, the client waits at most this long for the first sound of the new tracks, in milliseconds. */
const longestWaitMs = 1000
const pollMs = 20
/** The longest delay between two requests for a producer that the server cannot receive, in milliseconds. */
const longestRetryMs = 5000

/** The `producerId` of the mix of a room. */
const mixId = 'mix'

/** Errors that affect only one producer and do not pass, for example because the browser cannot play the producer. */
const producerErrors = new Set(['CONSUMER_NOT_FOUND', 'CANNOT_CONSUME'])

/**
 * Errors that affect only one producer and may pass: the server cannot receive the producer from another server, or the
 * producer is closed. If the transports failed, the server sends `media:reset`.
 */
const temporaryErrors = new Set(['UNAVAILABLE', 'TIMEOUT', 'PRODUCER_NOT_FOUND'])

interface ReceivedTrack {
  audio: RemoteAudio
  consumer: types.Consumer
}

/** @returns `mix` for the track of the mix; `voices` for all other tracks */
export function receptionOf ({ source }: Pick<RemoteAudio, 'source'>): Reception {
  return source === 'mix' ? 'mix' : 'voices'
}

/**
 * Stores the producers of the other users in a room, and receives either the voices or the mix. During a switch, the
 * client receives the old tracks until the new tracks play, so no audio is lost.
 */
export class RemoteTracks extends Emitter<RemoteTracksEvents> {
  readonly #producers = new Map<string, RemoteProducer>()
  /** The received tracks, by producer id. */
  readonly #tracks = new Map<string, ReceivedTrack>()
  /**
   * The tracks from the previous server, by producer id. Each track is kept until the track that replaces it is
   * audible.
   */
  readonly #previous = new Map<string, ReceivedTrack>()
  /** Pending requests to receive a producer, by producer id. */
  readonly #consuming = new Map<string, Promise<void>>()
  /** The delayed requests for producers that the server could not receive, by producer id. */
  readonly #retries = new Map<string, { backoff: Backoff, timer: ReturnType<typeof setTimeout> }>()
  /** Ids of the consumers that the server closed while requests to receive a producer were pending. */
  readonly #closedConsumers = new Set<string>()
  readonly #levels = new Levels()
  readonly #speakers: SpeakerLevels
  #producerList: readonly RemoteProducer[] = Object.freeze([])
  #heard: readonly RemoteAudio[] = Object.freeze([])
  #room: { roomId: string, self: UserId } | undefined
  #transports: MediaTransports | undefined
  /** What the client should receive. */
  #wanted: Reception | undefined
  /** What the user currently hears; undefined until the first tracks are requested. */
  #reception: Reception | undefined
  /** Number of switches so far. A newer switch cancels an older one. */
  #switches = 0

  /** @param connection delivers the server events */
  constructor (connection: Connection) {
    super()
    this.#speakers = new SpeakerLevels(connection)
    const here = (roomId: string) => this.#room?.roomId === roomId
    connection.on('audio:newProducer', ({ roomId, producerId, userId, source }) => {
      if (here(roomId) && !this.#isSelf(userId)) this.#add({ producerId, userId, source, isPaused: false })
    })
    connection.on('audio:producerClosed', ({ roomId, producerId }) => {
      if (here(roomId)) this.#close(producerId)
    })
    connection.on('audio:producerPaused', ({ roomId, producerId }) => {
      if (here(roomId)) this.#paused(producerId, true)
    })
    connection.on('audio:producerResumed', ({ roomId, producerId }) => {
      if (here(roomId)) this.#paused(producerId, false)
    })
    connection.on('consumer:closed', ({ consumerId }) => {
      // The browser may still be setting up the track of this consumer.
      if (this.#consuming.size > 0) this.#closedConsumers.add(consumerId)
      for (const [producerId, { consumer }] of this.#tracks) {
        if (consumer.id !== consumerId) continue
        this.#drop(producerId)
        // The server may have closed the consumer to replace the mix, so request the mix again. If the mix is off, the
        // request fails.
        if (producerId === mixId && this.#wanted === 'mix') this.#switch()
      }
    })
  }

  /** The producers of the other users in the room. Returns the same frozen array until a producer changes. */
  get producers (): readonly RemoteProducer[] {
    this.#producerList = updateSnapshot(this.#producerList, [...this.#producers.values()], ({ producerId }) => producerId)
    return this.#producerList
  }

  /**
   * The remote tracks that the client currently receives. Returns the same frozen array until a track is added or
   * removed.
   */
  get heard (): readonly RemoteAudio[] {
    this.#heard = updateSnapshot(this.#heard, [...new Map([...this.#previous, ...this.#tracks]).values()].map(({ audio }) => audio), ({ producerId }) => producerId)
    return this.#heard
  }

  /** What the user currently hears; undefined while nothing is received. */
  get reception (): Reception | undefined {
    return this.#reception
  }

  /** Current audio levels of the received voices, 0 to 1, keyed by user id as a string. */
  levels (): ReadonlyMap<string, number> {
    const levels = new Map<string, number>()
    if (this.#reception === undefined) return levels
    const mix = this.#reception === 'mix' ? this.#audible(mixId) : undefined
    const ofMix = mix && this.#speakers.scaled(this.#levels.measured(mix.audio.receiver))
    for (const { producerId, userId, source, isPaused } of this.#producers.values()) {
      const receiver = this.#audible(producerId)?.audio.receiver
      if (source !== 'voice' || (!ofMix && !receiver)) continue
      const key = String(userId)
      // While a producer is paused, the level of its last packet is out of date.
      const level = isPaused ? 0 : ofMix ? ofMix.get(key) ?? 0 : this.#levels.of(receiver as RTCRtpReceiver)
      levels.set(key, Math.max(level, levels.get(key) ?? 0))
    }
    return levels
  }

  /** Initializes the producers from a join reply. The client receives no tracks until `open()` is called. */
  start ({ roomId, self, existingProducers = [], activeSpeakers = [] }: JoinReply): void {
    this.#room = { roomId, self: self.userId }
    this.#speakers.start(roomId, activeSpeakers)
    for (const producer of existingProducers) {
      if (!this.#isSelf(producer.userId)) this.#producers.set(producer.producerId, { ...producer })
    }
    for (const producerId of [...this.#previous.keys()]) if (producerId !== mixId && !this.#producers.has(producerId)) this.#release(producerId)
    this.emit('producers')
  }

  /** Stops receiving audio, and removes the room and its producers. Idempotent. */
  stop (): void {
    this.close()
    this.#room = undefined
    this.#speakers.stop()
    this.forget()
  }

  /** Removes all producers. After a `media:reset`, the server announces the new producers. */
  forget (): void {
    this.#producers.clear()
    this.emit('producers')
  }

  /** Starts to receive the selected tracks over these transports. */
  open (transports: MediaTransports): void {
    this.#transports = transports
    this.#switch()
  }

  /**
   * Keeps the current tracks while the client moves to another server. Each track plays until the other server's track
   * of the same producer is audible, or until `release()` is called. After `handOver()`, call `start()` with the other
   * server's join reply, and then call `open()`.
   */
  handOver (): void {
    this.release()
    this.#transports = undefined
    this.#switches++
    this.#stopConsuming()
    for (const [producerId, received] of this.#tracks) this.#previous.set(producerId, received)
    this.#tracks.clear()
    this.#producers.clear()
  }

  /**
   * Waits until the client has replaced all audible tracks of the previous server, but for at most {@link
   * longestWaitMs}.
   */
  async replaced (): Promise<void> {
    const deadline = performance.now() + longestWaitMs
    while (performance.now() < deadline && [...this.#previous.values()].some(({ audio }) => receptionOf(audio) === this.#wanted && !this.#isSilent(audio))) await delay(pollMs)
  }

  /** Stops receiving the tracks of the previous server. Idempotent. */
  release (): void {
    for (const producerId of [...this.#previous.keys()]) this.#release(producerId)
  }

  /** Stops receiving. Idempotent. */
  close (): void {
    this.release()
    this.#transports = undefined
    this.#switches++
    this.#stopConsuming()
    for (const producerId of [...this.#tracks.keys()]) this.#drop(producerId)
    this.#setReception(undefined)
  }

  /**
   * Selects what to receive. The client plays the old tracks until the new tracks play.
   *
   * @param reception undefined to receive nothing
   */
  want (reception: Reception | undefined): void {
    if (reception === this.#wanted) return
    this.#wanted = reception
    this.#switch()
  }

  /** True for the client's own user: a user with two connections must not receive the audio of the other connection. */
  #isSelf (userId: UserId): boolean {
    return String(userId) === String(this.#room?.self)
  }

  #add (producer: RemoteProducer): void {
    const known = this.#producers.has(producer.producerId)
    this.#producers.set(producer.producerId, producer)
    this.emit('producers')
    if (!known && this.#hearsVoices && this.#transports) this.#consume(this.#transports, producer.producerId)
  }

  /** True if the client should receive new producers. */
  get #hearsVoices (): boolean {
    return this.#wanted === 'voices' || this.#reception === 'voices'
  }

  #close (producerId: string): void {
    this.#stopRetrying(producerId)
    this.#release(producerId)
    this.#drop(producerId)
    if (this.#producers.delete(producerId)) this.emit('producers')
  }

  #paused (producerId: string, isPaused: boolean): void {
    const producer = this.#producers.get(producerId)
    if (!producer) return
    this.#producers.set(producerId, { ...producer, isPaused })
    this.emit('producers')
  }

  #setReception (reception: Reception | undefined): void {
    if (reception === this.#reception) return
    this.#reception = reception
    for (const [producerId, { audio }] of this.#tracks) if (receptionOf(audio) === reception && !this.#previous.has(producerId)) audio.track.enabled = true
    this.emit('reception', reception)
  }

  /** Receives the selected tracks, and then stops receiving all other tracks. */
  async #switch (): Promise<void> {
    const [transports, wanted] = [this.#transports, this.#wanted]
    if (!transports) return
    const number = ++this.#switches
    const isCurrent = () => number === this.#switches
    const isHearing = () => [...this.#tracks.values()].some(({ audio }) => receptionOf(audio) === this.#reception)
    if (!isHearing()) this.#setReception(wanted)
    if (wanted === 'mix') await this.#consume(transports, mixId)
    if (wanted === 'voices') {
      const all = Promise.all([...this.#producers.keys()].map((producerId) => this.#consume(transports, producerId)))
      // Wait only for a limited time, because the voices of users on other servers may take longer.
      await Promise.race([all, delay(longestWaitMs)])
    }
    if (!isCurrent() || (wanted === 'mix' && !this.#tracks.has(mixId))) return
    if (wanted !== this.#reception && wanted !== undefined && isHearing()) {
      await this.#untilHeard(wanted, isCurrent)
      if (!isCurrent()) return
      this.#setReception(wanted)
      await delay(fadeMs)
      if (!isCurrent()) return
    }
    this.#setReception(wanted)
    for (const [producerId, { audio }] of [...this.#tracks]) if (receptionOf(audio) !== wanted) this.#drop(producerId, transports)
  }

  /** Waits until the browser plays the new tracks of all active speakers, but for at most {@link longestWaitMs}. */
  async #untilHeard (wanted: Reception, isCurrent: () => boolean): Promise<void> {
    const deadline = performance.now() + longestWaitMs
    const isPending = ({ audio }: ReceivedTrack) => receptionOf(audio) === wanted && !this.#isSilent(audio) && !hasSound(audio.receiver)
    while (isCurrent() && performance.now() < deadline && [...this.#tracks.values()].some(isPending)) await delay(pollMs)
  }

  /** True if the track is a voice whose user is not speaking. */
  #isSilent (audio: RemoteAudio): boolean {
    return receptionOf(audio) === 'voices' && (this.#producers.get(audio.producerId)?.isPaused !== false || !this.#speakers.has(String(audio.userId)))
  }

  /**
   * The track on which the user currently hears a producer. This is the track from the previous server, until the
   * client has replaced it.
   */
  #audible (producerId: string): ReceivedTrack | undefined {
    return this.#previous.get(producerId) ?? this.#tracks.get(producerId)
  }

  /** Stops receiving a track of the previous server and enables the track that replaces it, if there is one. */
  #release (producerId: string): void {
    const before = this.#previous.get(producerId)
    if (!before) return
    this.#previous.delete(producerId)
    const audio = this.#tracks.get(producerId)?.audio
    if (audio && this.#isHeard(audio)) audio.track.enabled = true
    before.consumer.close()
    this.emit('removed', before.audio)
  }

  /** Waits until `received` is audible, and then releases the previous server's track of the same producer. */
  async #replace (received: ReceivedTrack): Promise<void> {
    const { producerId } = received.audio
    const before = this.#previous.get(producerId)
    const isCurrent = () => before !== undefined && this.#previous.get(producerId) === before && this.#tracks.get(producerId) === received
    while (isCurrent()) {
      if (await hasPackets(received.consumer)) {
        if (isCurrent()) this.#release(producerId)
        return
      }
      await delay(pollMs)
    }
  }

  #isHeard (audio: RemoteAudio): boolean {
    return this.#reception === undefined || receptionOf(audio) === this.#reception
  }

  /** Starts to receive a producer or the mix, unless the client already receives it. */
  #consume (transports: MediaTransports, producerId: string): Promise<void> {
    if (this.#tracks.has(producerId)) return Promise.resolve()
    const running = this.#consuming.get(producerId)
    if (running) return running
    const consuming = this.#consumeOnce(transports, producerId).finally(() => {
      if (this.#consuming.get(producerId) === consuming) this.#consuming.delete(producerId)
      if (this.#consuming.size === 0) this.#closedConsumers.clear()
    })
    this.#consuming.set(producerId, consuming)
    return consuming
  }

  /** Requests a producer again after a backoff. The client continues to receive the other producers. */
  #retry (producerId: string): void {
    const { backoff, timer: before } = this.#retries.get(producerId) ?? { backoff: createBackoff({ longestMs: longestRetryMs }), timer: undefined }
    clearTimeout(before)
    const timer = setTimeout(() => { if (this.#transports && this.#hearsVoices) this.#consume(this.#transports, producerId) }, backoff.next())
    this.#retries.set(producerId, { backoff, timer })
  }

  #stopRetrying (producerId: string): void {
    clearTimeout(this.#retries.get(producerId)?.timer)
    this.#retries.delete(producerId)
  }

  /** Ignores all pending requests to receive a producer. */
  #stopConsuming (): void {
    this.#consuming.clear()
    this.#closedConsumers.clear()
    for (const producerId of [...this.#retries.keys()]) this.#stopRetrying(producerId)
  }

  async #consumeOnce (transports: MediaTransports, producerId: string): Promise<void> {
    const isMix = producerId === mixId
    try {
      const consumer = await transports.consume(producerId)
      const producer = this.#producers.get(producerId)
      const isWanted = isMix ? this.#wanted === 'mix' : producer !== undefined && this.#hearsVoices
      if (transports !== this.#transports || !isWanted) return transports.closeConsumer(consumer)
      if (this.#closedConsumers.has(consumer.id)) {
        consumer.close()
        return await this.#consumeOnce(transports, producerId)
      }
      this.#stopRetrying(producerId)
      const audio = Object.freeze({
        producerId,
        userId: producer?.userId,
        source: producer?.source ?? mixId,
        track: consumer.track,
        receiver: consumer.rtpReceiver as RTCRtpReceiver
      })
      audio.track.enabled = this.#isHeard(audio) && !this.#previous.has(producerId)
      const received = { audio, consumer }
      this.#tracks.set(producerId, received)
      this.emit('added', audio)
      this.#replace(received)
    } catch (error) {
      if (transports !== this.#transports || transports.closed) return
      if (isMix && codeOf(error) !== undefined) return this.emit('mixFailed')
      if (!isMix && (!this.#producers.has(producerId) || producerErrors.has(codeOf(error) ?? ''))) return
      // If the producer is closed, `audio:producerClosed` arrives soon and cancels the retry.
      if (!isMix && temporaryErrors.has(codeOf(error) ?? '')) return this.#retry(producerId)
      this.emit('broken', transports, error)
    }
  }

  /**
   * Stops receiving a track.
   *
   * @param transports if given, the client also asks the server to close the consumer; otherwise, only the local end is
   *   closed
   */
  #drop (producerId: string, transports?: MediaTransports): void {
    const dropped = this.#tracks.get(producerId)
    if (!dropped) return
    this.#tracks.delete(producerId)
    if (transports) transports.closeConsumer(dropped.consumer)
    else dropped.consumer.close()
    this.emit('removed', dropped.audio)
  }
}

const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/**
 * Whether the browser has played a packet from the consumer. If the browser does not report played packets, received
 * packets are counted instead.
 */
async function hasPackets (consumer: types.Consumer): Promise<boolean> {
  const receiver = consumer.rtpReceiver as Partial<RTCRtpReceiver> | undefined
  if (receiver?.getSynchronizationSources) return hasSound(receiver)
  const stats = await consumer.getStats().catch(() => undefined)
  let packets = 0
  stats?.forEach(({ packetsReceived = 0 }: { packetsReceived?: number }) => { packets += packetsReceived })
  return packets > 0
}

/** Whether the browser has played a packet from the receiver. */
function hasSound (receiver: Partial<RTCRtpReceiver>): boolean {
  return (receiver.getSynchronizationSources?.().length ?? 1) > 0
}
