import { RoomAudio } from './audio.ts'
import type { AudioOptions } from './audio.ts'
import { createBackoff } from './backoff.ts'
import { Connection, defaultConnectTimeoutMs } from './connection.ts'
import type { ConnectionOptions, Handover } from './connection.ts'
import { RoomDetails } from './details.ts'
import { Emitter } from './emitter.ts'
import { isDisconnect, isMisconfigured, mayPass, RequestError, retryAfterOf } from './errors.ts'
import { RoomGifts } from './gifts.ts'
import { Members } from './members.ts'
import type { JoinReply, JoinRequestAdditions, Profile, UserId } from './protocol.ts'
import { Renewal } from './renewal.ts'
import { RoomSeats } from './seats.ts'
import type { Seat } from './seats.ts'
import { updateSnapshot } from './snapshots.ts'

/**
 * - `out`: not in a room
 * - `joining`: the client has not received the join reply yet
 * - `in`: in the room
 * - `rejoining`: the connection was lost; the client reconnects and rejoins the room
 */
export type RoomState = 'out' | 'joining' | 'in' | 'rejoining'

export interface JoinOptions extends JoinRequestAdditions {
  pin?: string
  /** Ignored if the room already exists. */
  title?: string
  /** Ignored if the room already exists. */
  topic?: string
}

export type Role = JoinReply['self']['role']

/** A user in the room, possibly the client's own user. */
export interface Participant {
  readonly userId: UserId
  readonly profile: Profile
  readonly isSelf: boolean
  readonly isSpeaking: boolean
  /**
   * `none`: the user sends no voice. `muted`: the microphone is muted by the user, by the owner or an admin of the
   * room, or by the user's device, for example during a phone call. The microphone of the client's own user is `live`
   * only while the send transport is connected.
   */
  readonly microphone: 'none' | 'live' | 'muted'
  /** Whether the user sends music. */
  readonly isSharingMusic: boolean
  /** The user's seat; undefined if the user has no seat or the room has no seats. */
  readonly seat: Seat | undefined
  /**
   * For other users, the role `admin` is visible only if the room's owner made the user an admin.
   */
  readonly role: Role
  readonly handRaised: boolean
}

export interface RoomEvents {
  /** The state changed; `why` is the reason for `rejoining` or `out`. */
  state: [state: RoomState, why: RequestError | undefined]
  /**
   * The client joined the room; `reply` contains the room's current state. The event is also emitted after a reconnect,
   * after a feature is turned on, and when the client renews its credentials for TURN servers.
   */
  entered: [reply: JoinReply]
  /** `participants` changed. */
  participants: []
}

export interface RoomOptions extends ConnectionOptions {
  /** If false, the client uses only signalling, without WebRTC, for example in Node. */
  audio?: boolean | AudioOptions
}

interface Target {
  roomId: string
  options: JoinOptions
  joined: PromiseWithResolvers<JoinReply>
  /**
   * The room that the user had joined, or was joining, when `join()` was called. If the server rejects the join, it
   * keeps the user in this room. Undefined once the user is in the target room.
   */
  previousRoomId?: string | undefined
  /** The reason why the last attempt to connect failed. */
  why?: RequestError | undefined
}

/**
 * `join()` times out this much later than a connection attempt, in milliseconds, so that `join()` can throw the error
 * of the attempt.
 */
const reportMs = 500

/**
 * If all members of a room send a request, each member waits for a random time, which is at most this long, in
 * milliseconds.
 */
const longestSpreadMs = 5000

/**
 * Represents one user in a room: connection, participants, seats, speakers, gifts and audio. If the connection is lost,
 * the client reconnects, rejoins the room and restores the audio, until `leave()` is called or the server rejects the
 * client permanently. If the server turns a feature on or off, the client adapts.
 */
export class RoomClient extends Emitter<RoomEvents> {
  /** The connection to the server, for sending requests to any feature and receiving events from any feature. */
  readonly connection: Connection
  /** Empty while the `seats` feature is off. */
  readonly seats: RoomSeats
  readonly gifts: RoomGifts
  /** The title, topic, lock, slow mode, admins and raised hands of the room. */
  readonly details: RoomDetails
  /** Undefined if the `audio` option is false. */
  readonly audio: RoomAudio | undefined
  readonly #backoff = createBackoff()
  readonly #members: Members
  readonly #renewal: Renewal
  #state: RoomState = 'out'
  #target: Target | undefined
  #self: UserId | undefined
  #role: JoinReply['self']['role'] | undefined
  #ownerId: UserId | undefined
  /** Defined while the client waits before it retries a join. */
  #enterTimer: ReturnType<typeof setTimeout> | undefined
  #participantsCursor: string | undefined
  readonly #connectMs: number
  #connectTimer: ReturnType<typeof setTimeout> | undefined
  /** True if `join()` started the connection and the connection has not opened yet. */
  #isStarting = false
  #participants: readonly Participant[] = Object.freeze([])
  #participantsStale = false
  /** Sends requests on the second connection while the client joins the room there, during a move. */
  #requestOnSecond: Connection['request'] | undefined

  constructor ({ audio = true, ...options }: RoomOptions) {
    super()
    this.#connectMs = (options.connectTimeoutMs ?? defaultConnectTimeoutMs) + reportMs
    this.connection = new Connection(options)
    this.seats = new RoomSeats(this.connection)
    this.details = new RoomDetails(this.connection)
    this.gifts = new RoomGifts(this.connection, () => this.roomId)
    this.audio = audio === false ? undefined : new RoomAudio(this.connection, this.seats, audio === true ? {} : audio)
    this.#members = new Members(this.connection)
    this.#renewal = new Renewal(this.connection, {
      renew: (features) => this.#renew(features),
      // Wait up to one millisecond per member, so that the clients in a large room do not all send at the same time.
      spreadMs: () => Math.min(this.#members.count, longestSpreadMs)
    })
    this.#follow()
  }

  get state (): RoomState {
    return this.#state
  }

  /** Id of the room that the client has joined or is joining; undefined in the `out` state. */
  get roomId (): string | undefined {
    return this.#target?.roomId
  }

  /** Number of users in the room. In big rooms, `participants` contains only some of these users. */
  get participantCount (): number {
    return this.#members.count
  }

  /**
   * The users in the room that the client knows. A join loads at most 100 users; `loadParticipants()` loads more.
   * Returns the same frozen array until a participant changes. The new array contains the same objects for unchanged
   * participants.
   */
  get participants (): readonly Participant[] {
    if (this.#participantsStale) {
      this.#participants = updateSnapshot(this.#participants, this.#describeParticipants(), ({ userId }) => String(userId))
      this.#participantsStale = false
    }
    return this.#participants
  }

  #describeParticipants (): Participant[] {
    const producers = this.audio?.producers ?? []
    const voices = new Map(producers.filter(({ source }) => source === 'voice').map(({ userId, isPaused }) => [String(userId), isPaused ? 'muted' as const : 'live' as const]))
    const musicians = new Set(producers.filter(({ source, isPaused }) => source === 'music' && !isPaused).map(({ userId }) => String(userId)))
    const own = this.audio?.microphone
    if (own === 'live') voices.set(String(this.#self), 'live')
    else if ((own === 'muted' || own === 'interrupted') && this.audio?.sending === true) voices.set(String(this.#self), 'muted')
    if (this.audio?.music === 'live') musicians.add(String(this.#self))
    return this.#members.profiles.map((profile) => {
      const key = String(profile.userId)
      const seat = this.seats.of(profile.userId)
      return {
        userId: profile.userId,
        profile,
        isSelf: key === String(this.#self),
        isSpeaking: this.#members.isSpeaking(key),
        microphone: seat?.isMuted === true ? 'muted' : voices.get(key) ?? 'none',
        isSharingMusic: seat?.isMuted !== true && musicians.has(key),
        seat,
        role: this.#roleOf(profile.userId),
        handRaised: this.details.hasRaisedHand(profile.userId)
      }
    })
  }

  #roleOf (userId: UserId): Role {
    if (String(userId) === String(this.#ownerId)) return 'owner'
    if (String(userId) === String(this.#self)) return this.#role ?? 'member'
    return this.details.isAdmin(userId) ? 'admin' : 'member'
  }

  /**
   * Loads the next page of users into `participants`.
   *
   * @returns whether there are more pages
   * @throws RequestError
   */
  async loadParticipants (): Promise<boolean> {
    await this.#members.add(async (apply) => {
      const wanted = this.#target
      const cursor = this.#participantsCursor
      await this.connection.request('room:participants', { limit: 200, ...(cursor === undefined ? {} : { cursor }) }, ({ participants, nextCursor }) => {
        // The user has left the room, so ignore the reply.
        if (this.#target !== wanted) return
        // After the last page, the next call starts from the beginning.
        this.#participantsCursor = nextCursor ?? undefined
        apply(participants)
      })
    })
    return this.#participantsCursor !== undefined
  }

  /** The owner of the room; undefined in the `out` state. The `participants` event reports changes. */
  get ownerId (): UserId | undefined {
    return this.#ownerId
  }

  /** The user's role in the room; undefined in the `out` state. */
  get role (): JoinReply['self']['role'] | undefined {
    return this.#role
  }

  /**
   * Joins a room, and leaves the previous room, even if the server rejects the join. If the client is not connected, it
   * connects first.
   *
   * @returns the reply; resolves when the client is in the room
   * @throws RequestError if the server rejects the join, if the client cannot connect within 10 s, or, with CLOSED, if
   *   `leave()` or another `join()` cancels this join. If the client cannot connect and `join()` started the
   *   connection, the client also closes the connection
   */
  join (roomId: string, options: JoinOptions = {}): Promise<JoinReply> {
    const previousRoomId = this.roomId
    this.#end(new RequestError({ code: 'CLOSED', message: `Replaced by a join to room ${roomId}` }))
    this.connection.leavePrevious()
    this.#leaveSecond()
    const wanted = { roomId, options, previousRoomId, joined: Promise.withResolvers<JoinReply>() }
    wanted.joined.promise.catch(() => {})
    this.#target = wanted
    this.#setState('joining')
    const { connection } = this
    if (connection.state === 'open') {
      this.#enter()
    } else {
      if (connection.state === 'idle' || connection.state === 'closed') this.#isStarting = true
      this.#limitConnecting()
      connection.retry()
      connection.connect()
    }
    return wanted.joined.promise
  }

  /** Leaves the room. The connection stays open. Idempotent. */
  async leave (): Promise<void> {
    if (!this.#target) return
    this.#end(new RequestError({ code: 'CLOSED', message: 'The room was left' }))
    this.#setState('out')
    this.connection.leavePrevious()
    await Promise.all([this.#sendLeave(), this.#leaveSecond()])
  }

  /** Leaves the room on the server. */
  async #sendLeave (request: Connection['request'] = this.connection.request): Promise<void> {
    try {
      await request('room:leave', {})
    } catch (error) {
      // If the connection is lost, the user has already left the room.
      if (!isDisconnect(error) && (error as RequestError).code !== 'NOT_IN_ROOM') throw error
    }
  }

  /**
   * Leaves the room on the second connection if the client is joining the room there. Otherwise, if the application
   * closed the client before the join reply arrived, the server would reserve the user's seat, as after a lost
   * connection. Never rejects.
   */
  async #leaveSecond (): Promise<void> {
    if (!this.#requestOnSecond) return
    await this.#sendLeave(this.#requestOnSecond).catch(() => { /* The second connection is closed, and the user leaves. */ })
  }

  /**
   * Closes the connection. The server reserves the user's seat for a grace period, as after a lost connection. To
   * release the seat immediately, call `leave()` first. Idempotent.
   */
  close (): void {
    this.#end(new RequestError({ code: 'CLOSED', message: 'The client was closed' }))
    this.#setState('out')
    this.connection.close()
  }

  #setState (state: RoomState, why?: RequestError): void {
    if (state === this.#state) return
    this.#state = state
    this.emit('state', state, why)
  }

  /** Cancels the join if the connection does not open in time. */
  #limitConnecting (): void {
    this.#connectTimer ??= setTimeout(() => {
      this.#giveUp(this.#target?.why ?? new RequestError({ code: 'UNREACHABLE', message: 'The server does not respond' }))
    }, this.#connectMs)
  }

  #stopEnterTimer (): void {
    clearTimeout(this.#enterTimer)
    this.#enterTimer = undefined
  }

  #stopLimit (): void {
    clearTimeout(this.#connectTimer)
    this.#connectTimer = undefined
  }

  /** Cancels the join because the client cannot connect. */
  #giveUp (why: RequestError): void {
    this.#end(why)
    this.#setState('out', why)
    if (this.#isStarting) this.connection.close()
  }

  /** Clears the state of the room and rejects the pending join, if there is one. */
  #end (why: RequestError): void {
    this.#stopLimit()
    this.#stopEnterTimer()
    this.#target?.joined.reject(why)
    this.#target = undefined
    this.#renewal.stop()
    this.audio?.stop()
    this.seats.stop()
    this.details.stop()
    this.#role = undefined
    this.#ownerId = undefined
    this.#members.stop()
  }

  /** Joins the target room on the open connection. */
  async #enter (): Promise<void> {
    this.#stopEnterTimer()
    const wanted = this.#target
    if (!wanted) return
    this.#renewal.begin()
    try {
      const reply = await this.#ask(wanted, (reply) => this.#entered(reply))
      wanted.previousRoomId = undefined
      wanted.joined.resolve(reply)
    } catch (cause) {
      const error = cause as RequestError
      if (this.#target !== wanted || isDisconnect(error)) return
      // Leave the previous room, unless it is the same room and the client retries the join.
      if (wanted.previousRoomId !== undefined && (wanted.previousRoomId !== wanted.roomId || !mayPass(error))) {
        wanted.previousRoomId = undefined
        this.#sendLeave().catch(() => { /* If this request fails, the next join leaves the room. */ })
      }
      const { url } = { ...error.details as object } as { url?: string }
      if ((error.code === 'OVERLOADED' || error.code === 'DRAINING') && url !== undefined && this.connection.goTo(url)) return
      if (mayPass(error)) {
        this.#enterTimer = setTimeout(() => { this.#enter() }, Math.max(retryAfterOf(error), this.#backoff.next()))
        return
      }
      this.#end(error)
      this.#setState('out', error)
    }
  }

  /** @param apply called with the reply, unless the user has left the room or joined another room in the meantime */
  #ask (wanted: Target, apply: (reply: JoinReply) => void): Promise<JoinReply> {
    return this.connection.request('room:join', { roomId: wanted.roomId, ...wanted.options }, (reply) => {
      if (this.#target === wanted) apply(reply)
    })
  }

  #entered (reply: JoinReply): void {
    this.#backoff.reset()
    this.#self = reply.self.userId
    this.#applyRole(reply)
    this.#members.start(reply)
    this.#participantsCursor = undefined
    this.details.start(reply)
    this.seats.start(reply)
    this.audio?.start(reply)
    this.#stopDisabledFeatures()
    this.#setState('in')
    this.#renewal.start()
    this.#renewal.received(reply)
    this.emit('entered', reply)
    this.#participantsChanged()
  }

  #applyRole ({ self, ownerId }: JoinReply): void {
    this.#role = self.role
    this.#ownerId = ownerId ?? undefined
  }

  /** Joins the room on a second connection, because the server of the first connection is shutting down. */
  async #moveTo ({ request, adopt }: Handover): Promise<void> {
    const wanted = this.#target
    if (!wanted) return adopt()
    // The first server rejected the join, and a retry is scheduled. Retry on the second server now.
    if (this.#enterTimer !== undefined) {
      adopt()
      await this.#enter()
      return
    }
    if (this.#state !== 'in') throw new RequestError({ code: 'NOT_CONNECTED', message: 'The join is still pending' })
    const joining = request('room:join', { roomId: wanted.roomId, ...wanted.options }, (reply) => {
      this.#requestOnSecond = undefined
      if (this.#target !== wanted) {
        // Without this request, the server would reserve the user's seat, as after a lost connection.
        request('room:leave', {}).catch(() => { /* The client closes the second connection without waiting for the reply. */ })
        throw new RequestError({ code: 'CLOSED', message: 'The room was left' })
      }
      // Audio continues through the first server until the transports to the second server are connected.
      adopt(() => this.audio?.handOver())
      this.#renewal.begin()
      this.#entered(reply)
    })
    this.#requestOnSecond = request
    try {
      await joining
    } finally {
      if (this.#requestOnSecond === request) this.#requestOnSecond = undefined
    }
  }

  /** Rejoins the current room to get the fields of features that were turned on. */
  async #renew (features: ReadonlySet<string>): Promise<void> {
    const wanted = this.#target
    if (!wanted || this.#state !== 'in') return
    await this.#ask(wanted, (reply) => {
      this.#applyRole(reply)
      this.details.start(reply)
      // Only these features need the reply: for all others, events have already reported every change.
      if (features.has('seats')) this.seats.start(reply)
      if (features.has('media')) this.audio?.start(reply)
      else if (features.has('seats')) this.audio?.seated(reply)
      if (features.has('mix')) this.audio?.mixed(reply)
      this.audio?.renewed(reply)
      this.#renewal.received(reply)
      this.#stopDisabledFeatures()
      this.emit('entered', reply)
      this.#participantsChanged()
    })
  }

  /**
   * Stops the features that were turned off while the client was joining, because the reply may still contain their
   * fields.
   */
  #stopDisabledFeatures (): void {
    if (this.#renewal.isOver('media')) this.audio?.stop()
    if (this.#renewal.isOver('seats')) this.seats.stop()
  }

  #follow (): void {
    const { audio, connection, details, seats } = this
    connection.on('state', (state, why) => {
      if (state === 'open') {
        this.#isStarting = false
        this.#stopLimit()
        this.#enter()
      }
      if (!this.#target) return
      if (state === 'waiting' && this.#state === 'joining') {
        this.#target.why = why
        if (isMisconfigured(why)) this.#giveUp(why as RequestError)
        else this.#limitConnecting()
        return
      }
      if (state === 'waiting' && this.#state === 'in') {
        this.#renewal.stop()
        audio?.stop()
        this.#setState('rejoining', why)
        this.#members.pause()
      }
      if (state === 'closed') {
        this.#end(why as RequestError)
        this.#setState('out', why)
      }
    })
    connection.handover = (handover) => this.#moveTo(handover)
    connection.on('room:owner', ({ roomId, ownerId, previousOwnerId }) => {
      if (this.#state !== 'in' || roomId !== this.#target?.roomId) return
      const isSelf = (userId: UserId) => String(userId) === String(this.#self)
      this.#ownerId = ownerId
      if (isSelf(ownerId)) this.#role = 'owner'
      this.#participantsChanged()
      // No event contains the new role of the previous owner, so request a new join reply.
      if (isSelf(previousOwnerId)) this.#renew(new Set()).catch(() => { /* If this request fails, the next join reply contains the role. */ })
    })
    connection.on('room:role', ({ roomId, userId, role }) => {
      if (this.#state !== 'in' || roomId !== this.#target?.roomId || String(userId) !== String(this.#self)) return
      this.#role = role
      this.#participantsChanged()
    })
    connection.on('room:closed', ({ roomId, reason }) => {
      if (this.#state !== 'in' || roomId !== this.#target?.roomId) return
      const why = new RequestError({ code: 'ROOM_CLOSED', message: `The room was closed: ${reason}`, details: { reason } })
      this.#end(why)
      this.#setState('out', why)
    })
    const changed = () => this.#participantsChanged()
    this.#members.on('change', changed)
    seats.on('change', changed)
    details.on('change', changed)
    audio?.on('state', changed)
    audio?.on('producers', changed)
    audio?.on('microphone', changed)
    audio?.on('music', changed)
  }

  #participantsChanged (): void {
    this.#participantsStale = true
    this.emit('participants')
  }
}
