import { RoomAudio } from './audio.ts'
import type { AudioOptions } from './audio.ts'
import { createBackoff } from './backoff.ts'
import { Connection } from './connection.ts'
import type { ConnectionOptions } from './connection.ts'
import { Emitter } from './emitter.ts'
import { isDisconnect, mayPass, RequestError, retryAfterOf } from './errors.ts'
import { RoomGifts } from './gifts.ts'
import { Members } from './members.ts'
import type { JoinReply, Profile, UserId } from './protocol.ts'
import { Renewal } from './renewal.ts'
import { RoomSeats } from './seats.ts'
import type { Seat } from './seats.ts'

/**
 * - `out`: in no room
 * - `joining`: on the way in
 * - `in`: in the room
 * - `rejoining`: the connection was lost; coming back by itself
 */
export type RoomState = 'out' | 'joining' | 'in' | 'rejoining'

export interface JoinOptions {
  pin?: string
  /** Only counts when this creates the room. */
  seatCount?: number
}

/** Somebody in the room, oneself included. */
export interface Participant {
  readonly userId: UserId
  readonly profile: Profile
  readonly isSelf: boolean
  readonly isSpeaking: boolean
  /** `none`: sends nothing. `muted`: by themselves, or by the owner or an admin of the room. */
  readonly microphone: 'none' | 'live' | 'muted'
  /** Where they sit; undefined for listeners, and where there are no seats. */
  readonly seat: Seat | undefined
}

export interface RoomEvents {
  /** The state has changed; `why` tells of a loss, or why one is out. */
  state: [state: RoomState, why: RequestError | undefined]
  /**
   * It is in the room, and this is how things are there. It comes again after a
   * reconnect, and when a feature was turned on that adds to what there is to know.
   */
  entered: [reply: JoinReply]
  /** The list of participants, or something about one of them, has changed. */
  participants: []
}

export interface RoomOptions extends ConnectionOptions {
  /** False for signalling only: nothing of WebRTC is touched, as in Node. */
  audio?: boolean | AudioOptions
}

interface Wanted {
  roomId: string
  options: JoinOptions
  joined: PromiseWithResolvers<JoinReply>
}

/** Longest time over which the members of a room spread what all of them have to ask, in milliseconds. */
const longestSpreadMs = 5000

/**
 * A user in a room: the connection, who is there, who sits where, who speaks, and the audio.
 * Once joined it stays so: after a lost connection it joins again and the
 * audio comes back, until `leave()`, or until the server does not want it. What
 * features of the server do comes and goes with them.
 */
export class RoomClient extends Emitter<RoomEvents> {
  /** For what is not about rooms and audio; the events of all features come here. */
  readonly connection: Connection
  /** Who sits where; empty where the server does no seats. */
  readonly seats: RoomSeats
  /** What people give one another. */
  readonly gifts: RoomGifts
  /** Undefined when it was not asked for. */
  readonly audio: RoomAudio | undefined
  readonly #backoff = createBackoff()
  readonly #members: Members
  readonly #renewal: Renewal
  #state: RoomState = 'out'
  #wanted: Wanted | undefined
  #self: UserId | undefined
  #role: JoinReply['self']['role'] | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #morePeople: string | undefined

  constructor ({ audio = true, ...options }: RoomOptions) {
    super()
    this.connection = new Connection(options)
    this.seats = new RoomSeats(this.connection)
    this.gifts = new RoomGifts(this.connection, () => this.roomId)
    this.audio = audio === false ? undefined : new RoomAudio(this.connection, this.seats, audio === true ? {} : audio)
    this.#members = new Members(this.connection)
    this.#renewal = new Renewal(this.connection, {
      renew: (features) => this.#renew(features),
      // A millisecond for each: a room of two does not wait, and one of thousands does not rush.
      spreadMs: () => Math.min(this.#members.count, longestSpreadMs)
    })
    this.#follow()
  }

  get state (): RoomState {
    return this.#state
  }

  /** The room it is in, or will be in again; undefined when out. */
  get roomId (): string | undefined {
    return this.#wanted?.roomId
  }

  /** How many are in the room; in big rooms more than `participants` has. */
  get participantCount (): number {
    return this.#members.count
  }

  /** Who is in the room. The server names at most a hundred of those who were there before; `loadParticipants()` asks for the others. */
  get participants (): Participant[] {
    const voices = new Map(this.audio?.producers.map(({ userId, isPaused }) => [String(userId), isPaused ? 'muted' as const : 'live' as const]))
    if (this.audio?.sending === true && this.audio.state !== 'off') voices.set(String(this.#self), this.audio.muted ? 'muted' : 'live')
    return this.#members.profiles.map((profile) => {
      const key = String(profile.userId)
      const seat = this.seats.of(profile.userId)
      return {
        userId: profile.userId,
        profile,
        isSelf: key === String(this.#self),
        isSpeaking: this.#members.isSpeaking(key),
        microphone: seat?.isMuted === true ? 'muted' : voices.get(key) ?? 'none',
        seat
      }
    })
  }

  /**
   * Asks the server for more of those who are in the room: in a big one it names
   * a few by itself. They are in `participants` then, and leave it as all others do.
   *
   * @returns whether there are still others
   * @throws RequestError
   */
  async loadParticipants (): Promise<boolean> {
    await this.#members.add(async (apply) => {
      const wanted = this.#wanted
      const cursor = this.#morePeople
      await this.connection.request('room:participants', { limit: 200, ...(cursor === undefined ? {} : { cursor }) }, ({ participants, nextCursor }) => {
        // It was asked of a room that was left since: that one's cursor is none of this one.
        if (this.#wanted !== wanted) return
        // From the beginning again once all were seen: others have come since.
        this.#morePeople = nextCursor ?? undefined
        apply(participants)
      })
    })
    return this.#morePeople !== undefined
  }

  /** What one may do in the room, as the server said on the way in; undefined when out. */
  get role (): JoinReply['self']['role'] | undefined {
    return this.#role
  }

  /**
   * Joins a room, and connects before where that is needed. A room it is in is
   * left.
   *
   * @returns once it is in
   * @throws RequestError when the server refuses; CLOSED when `leave()` or another `join()` came first
   */
  join (roomId: string, options: JoinOptions = {}): Promise<JoinReply> {
    this.#end(new RequestError({ code: 'CLOSED', message: `${roomId} is joined instead` }))
    const wanted = { roomId, options, joined: Promise.withResolvers<JoinReply>() }
    wanted.joined.promise.catch(() => {})
    this.#wanted = wanted
    this.#setState('joining')
    if (this.connection.state === 'open') this.#enter()
    else this.connection.connect()
    return wanted.joined.promise
  }

  /** Leaves the room. The connection stays. Idempotent. */
  async leave (): Promise<void> {
    if (!this.#wanted) return
    this.#end(new RequestError({ code: 'CLOSED', message: 'The room was left' }))
    this.#setState('out')
    try {
      await this.connection.request('room:leave', {})
    } catch (error) {
      // A lost connection has left, too.
      if (!isDisconnect(error) && (error as RequestError).code !== 'NOT_IN_ROOM') throw error
    }
  }

  /**
   * Ends the connection, and the room with it. For the server that is a loss: it
   * keeps a seat for a while, unless `leave()` came first. Idempotent.
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

  /** Forgets the room; whoever waits to get in is told why not. */
  #end (why: RequestError): void {
    clearTimeout(this.#timer)
    this.#wanted?.joined.reject(why)
    this.#wanted = undefined
    this.#renewal.stop()
    this.audio?.stop()
    this.seats.stop()
    this.#role = undefined
    this.#members.stop()
  }

  /** Joins what is wanted on the connection there is. */
  async #enter (): Promise<void> {
    clearTimeout(this.#timer)
    const wanted = this.#wanted
    if (!wanted) return
    this.#renewal.begin()
    try {
      wanted.joined.resolve(await this.#ask(wanted, (reply) => this.#entered(reply)))
    } catch (cause) {
      const error = cause as RequestError
      if (this.#wanted !== wanted || isDisconnect(error)) return
      if (mayPass(error)) {
        this.#timer = setTimeout(() => { this.#enter() }, Math.max(retryAfterOf(error), this.#backoff.next()))
        return
      }
      this.#end(error)
      this.#setState('out', error)
    }
  }

  /** @param apply is not called any more when it is wanted no longer */
  #ask (wanted: Wanted, apply: (reply: JoinReply) => void): Promise<JoinReply> {
    return this.connection.request('room:join', { roomId: wanted.roomId, ...wanted.options }, (reply) => {
      if (this.#wanted === wanted) apply(reply)
    })
  }

  #entered (reply: JoinReply): void {
    this.#backoff.reset()
    this.#self = reply.self.userId
    this.#role = reply.self.role
    this.#members.start(reply)
    this.#morePeople = undefined
    this.seats.start(reply)
    this.audio?.start(reply)
    this.#withoutWhatIsOver()
    this.#setState('in')
    this.#renewal.start()
    this.emit('entered', reply)
    this.emit('participants')
  }

  /** Asks for the room it is in once more, for what features add that were turned on. */
  async #renew (features: ReadonlySet<string>): Promise<void> {
    const wanted = this.#wanted
    if (!wanted || this.#state !== 'in') return
    await this.#ask(wanted, (reply) => {
      this.#role = reply.self.role
      // The other features have told of all that has changed.
      if (features.has('seats')) this.seats.start(reply)
      if (features.has('media')) this.audio?.start(reply)
      else if (features.has('seats')) this.audio?.seated(reply)
      this.#withoutWhatIsOver()
      this.emit('entered', reply)
      this.emit('participants')
    })
  }

  /** What was turned off while the reply was on its way may still be in it. */
  #withoutWhatIsOver (): void {
    if (this.#renewal.isOver('media')) this.audio?.stop()
    if (this.#renewal.isOver('seats')) this.seats.stop()
  }

  #follow (): void {
    const { audio, connection, seats } = this
    connection.on('state', (state, why) => {
      if (state === 'open') this.#enter()
      if (!this.#wanted) return
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
    connection.on('room:closed', ({ roomId, reason }) => {
      if (this.#state !== 'in' || roomId !== this.#wanted?.roomId) return
      const why = new RequestError({ code: 'ROOM_CLOSED', message: `The room was closed: ${reason}`, details: { reason } })
      this.#end(why)
      this.#setState('out', why)
    })
    const changed = () => this.emit('participants')
    this.#members.on('change', changed)
    seats.on('change', changed)
    audio?.on('state', changed)
    audio?.on('producers', changed)
    audio?.on('muted', changed)
  }
}
