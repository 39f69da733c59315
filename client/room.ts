import { RoomAudio } from './audio.ts'
import { createBackoff } from './backoff.ts'
import { Connection } from './connection.ts'
import type { ConnectionOptions } from './connection.ts'
import { Emitter } from './emitter.ts'
import { isDisconnect, mayPass, RequestError } from './errors.ts'
import { RoomGifts } from './gifts.ts'
import type { JoinReply, Profile, UserId } from './protocol.ts'
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
  /** It is in the room, for the first time or again, and this is how things are there. */
  entered: [reply: JoinReply]
  /** The list of participants, or something about one of them, has changed. */
  participants: []
}

export interface RoomOptions extends ConnectionOptions {
  /** False for signalling only: nothing of WebRTC is touched, as in Node. */
  audio?: boolean
}

interface Wanted {
  roomId: string
  options: JoinOptions
  joined: PromiseWithResolvers<JoinReply>
}

/**
 * A user in a room: the connection, who is there, who sits where, who speaks, and the audio.
 * Once joined it stays so: after a lost connection it joins again and the
 * audio comes back, until `leave()`, or until the server does not want it.
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
  readonly #profiles = new Map<string, Profile>()
  #state: RoomState = 'out'
  #wanted: Wanted | undefined
  #self: UserId | undefined
  #role: JoinReply['self']['role'] | undefined
  #count = 0
  #speakers = new Set<string>()
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor ({ audio = true, ...options }: RoomOptions) {
    super()
    this.connection = new Connection(options)
    this.seats = new RoomSeats(this.connection)
    this.gifts = new RoomGifts(this.connection, () => this.roomId)
    this.audio = audio ? new RoomAudio(this.connection, this.seats) : undefined
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
    return this.#count
  }

  /** Who is in the room. The server names at most a hundred of those who were there before. */
  get participants (): Participant[] {
    const voices = new Map(this.audio?.producers.map(({ userId, isPaused }) => [String(userId), isPaused ? 'muted' as const : 'live' as const]))
    if (this.audio?.sending === true && this.#self !== undefined) voices.set(String(this.#self), this.audio.muted ? 'muted' : 'live')
    return [...this.#profiles].map(([key, profile]) => {
      const seat = this.seats.of(profile.userId)
      return {
        userId: profile.userId,
        profile,
        isSelf: key === String(this.#self),
        isSpeaking: this.#speakers.has(key),
        microphone: seat?.isMuted === true ? 'muted' : voices.get(key) ?? 'none',
        seat
      }
    })
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

  /** Leaves, and ends the connection. Idempotent. */
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
    this.#forget()
  }

  #forget (): void {
    this.audio?.stop()
    this.seats.stop()
    this.#profiles.clear()
    this.#speakers = new Set()
    this.#role = undefined
    this.#count = 0
    this.emit('participants')
  }

  /** Joins what is wanted on the connection there is. */
  async #enter (): Promise<void> {
    clearTimeout(this.#timer)
    const wanted = this.#wanted
    if (!wanted) return
    try {
      const reply = await this.connection.request('room:join', { roomId: wanted.roomId, ...wanted.options }, (reply) => {
        if (this.#wanted === wanted) this.#entered(reply as JoinReply)
      })
      wanted.joined.resolve(reply as JoinReply)
    } catch (cause) {
      const error = cause as RequestError
      if (this.#wanted !== wanted || isDisconnect(error)) return
      if (mayPass(error)) {
        const { retryAfterMs = 0 } = (error.details ?? {}) as { retryAfterMs?: number }
        this.#timer = setTimeout(() => { this.#enter() }, Math.max(retryAfterMs, this.#backoff.next()))
        return
      }
      this.#end(error)
      this.#setState('out', error)
    }
  }

  #entered (reply: JoinReply): void {
    this.#backoff.reset()
    this.#self = reply.self.userId
    this.#role = reply.self.role
    this.#count = reply.participantCount
    this.#profiles.clear()
    for (const profile of reply.participants) this.#profiles.set(String(profile.userId), profile)
    this.#speakers = new Set(reply.activeSpeakers?.map(String))
    this.seats.start(reply)
    this.audio?.start(reply)
    this.#setState('in')
    this.emit('entered', reply)
    this.emit('participants')
  }

  #follow (): void {
    const { audio, connection } = this
    const here = (roomId: string) => this.#state === 'in' && roomId === this.#wanted?.roomId
    connection.on('state', (state, why) => {
      if (state === 'open') this.#enter()
      if (!this.#wanted) return
      if (state === 'waiting' && this.#state === 'in') {
        this.audio?.stop()
        this.#speakers = new Set()
        this.#setState('rejoining', why)
        this.emit('participants')
      }
      if (state === 'closed') {
        this.#end(why as RequestError)
        this.#setState('out', why)
      }
    })
    connection.on('room:userJoined', ({ roomId, userId, user }) => {
      if (!here(roomId) || this.#profiles.has(String(userId))) return
      this.#profiles.set(String(userId), user)
      this.#count++
      this.emit('participants')
    })
    connection.on('room:userLeft', ({ roomId, userId }) => {
      if (!here(roomId)) return
      this.#profiles.delete(String(userId))
      this.#count--
      this.emit('participants')
    })
    connection.on('room:presence', ({ roomId, count, joined, left }) => {
      if (!here(roomId)) return
      for (const user of joined) this.#profiles.set(String(user.userId), user)
      for (const userId of left) this.#profiles.delete(String(userId))
      this.#count = count
      this.emit('participants')
    })
    connection.on('room:closed', ({ roomId, reason }) => {
      if (!here(roomId)) return
      const why = new RequestError({ code: 'ROOM_CLOSED', message: `The room was closed: ${reason}`, details: { reason } })
      this.#end(why)
      this.#setState('out', why)
    })
    connection.on('speaker:active', ({ roomId, activeSpeakers }) => {
      if (!here(roomId)) return
      this.#speakers = new Set(activeSpeakers.map(String))
      this.emit('participants')
    })
    connection.on('media:reset', ({ roomId }) => {
      if (!here(roomId)) return
      this.#speakers = new Set()
      this.emit('participants')
    })
    this.seats.on('change', () => this.emit('participants'))
    audio?.on('producers', () => this.emit('participants'))
    audio?.on('muted', () => this.emit('participants'))
  }
}
