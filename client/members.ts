import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import type { JoinReply, Profile } from './protocol.ts'

export interface MembersEvents {
  /** The members or speakers changed. */
  change: []
}

/** Stores the members of the current room and the ids of the members who are speaking. */
export class Members extends Emitter<MembersEvents> {
  readonly #profiles = new Map<string, Profile>()
  #roomId: string | undefined
  #self: string | undefined
  #count = 0
  #speakers: ReadonlySet<string> = new Set()
  /** Each pending request for a page has a set, which contains the users who have left since the request was sent. */
  readonly #left = new Set<Set<string>>()

  /** @param connection delivers the server events */
  constructor (connection: Connection) {
    super()
    connection.on('room:userJoined', ({ roomId, userId, user }) => {
      if (roomId !== this.#roomId || this.#profiles.has(String(userId))) return
      this.#profiles.set(String(userId), user)
      this.#count++
      this.emit('change')
    })
    connection.on('room:userLeft', ({ roomId, userId }) => {
      // An event about this client's own user may be about an earlier connection.
      if (roomId !== this.#roomId || String(userId) === this.#self) return
      // The user may have left just before this client joined, so that the join reply did not count the user.
      const wasCounted = this.#profiles.has(String(userId)) || this.#profiles.size < this.#count
      this.#forget(userId)
      if (!wasCounted) return
      this.#count--
      this.emit('change')
    })
    connection.on('room:presence', ({ roomId, count, joined, left }) => {
      if (roomId !== this.#roomId) return
      for (const user of joined) this.#profiles.set(String(user.userId), user)
      for (const userId of left) if (String(userId) !== this.#self) this.#forget(userId)
      this.#count = count
      this.emit('change')
    })
    connection.on('speaker:active', ({ roomId, activeSpeakers }) => {
      if (roomId === this.#roomId) this.#speak(activeSpeakers)
    })
    connection.on('media:reset', ({ roomId }) => {
      if (roomId === this.#roomId) this.#speak([])
    })
    connection.on('feature:disabled', ({ name }) => {
      if (name === 'media') this.#speak([])
    })
  }

  /** Number of members. In big rooms, `profiles` contains only some of the members. */
  get count (): number {
    return this.#count
  }

  /** The known members. */
  get profiles (): Profile[] {
    return [...this.#profiles.values()]
  }

  /** @param key user id as a string */
  isSpeaking (key: string): boolean {
    return this.#speakers.has(key)
  }

  /** Initializes the members and speakers from a join reply. */
  start ({ roomId, self, participantCount, participants, activeSpeakers = [] }: JoinReply): void {
    this.#roomId = roomId
    this.#self = String(self.userId)
    this.#count = participantCount
    this.#profiles.clear()
    for (const profile of participants) this.#profiles.set(String(profile.userId), profile)
    this.#speak(activeSpeakers)
  }

  /**
   * Adds a page of members.
   *
   * @param ask requests the page and passes the page's profiles to `apply` before the client emits any later event
   */
  async add (ask: (apply: (profiles: readonly Profile[]) => void) => Promise<unknown>): Promise<void> {
    const roomId = this.#roomId
    const left = new Set<string>()
    this.#left.add(left)
    try {
      await ask((profiles) => {
        if (roomId === undefined || this.#roomId !== roomId) return
        for (const profile of profiles) {
          const key = String(profile.userId)
          if (!left.has(key) && !this.#profiles.has(key)) this.#profiles.set(key, profile)
        }
        this.emit('change')
      })
    } finally {
      this.#left.delete(left)
    }
  }

  /**
   * Called after the connection is lost: keeps the members, clears the speakers and ignores events until the next
   * `start()`.
   */
  pause (): void {
    this.#roomId = undefined
    this.#speak([])
  }

  /** Clears all members after the user leaves the room. Idempotent. */
  stop (): void {
    this.#profiles.clear()
    this.#count = 0
    this.pause()
  }

  #forget (userId: Profile['userId']): void {
    this.#profiles.delete(String(userId))
    for (const left of this.#left) left.add(String(userId))
  }

  #speak (userIds: readonly unknown[]): void {
    this.#speakers = new Set(userIds.map(String))
    this.emit('change')
  }
}
