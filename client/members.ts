import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import type { JoinReply, Profile } from './protocol.ts'

export interface MembersEvents {
  /** Who is there, or who speaks, has changed. */
  change: []
}

/** Who is in the room a connection is in, and who of them speaks, as the server tells. */
export class Members extends Emitter<MembersEvents> {
  readonly #profiles = new Map<string, Profile>()
  #roomId: string | undefined
  #count = 0
  #speakers: ReadonlySet<string> = new Set()
  /** For each page of members that was asked for, who has left since. */
  readonly #left = new Set<Set<string>>()

  /** @param connection whose events it follows from now on */
  constructor (connection: Connection) {
    super()
    connection.on('room:userJoined', ({ roomId, userId, user }) => {
      if (roomId !== this.#roomId || this.#profiles.has(String(userId))) return
      this.#profiles.set(String(userId), user)
      this.#count++
      this.emit('change')
    })
    connection.on('room:userLeft', ({ roomId, userId }) => {
      if (roomId !== this.#roomId) return
      this.#forget(userId)
      this.#count--
      this.emit('change')
    })
    connection.on('room:presence', ({ roomId, count, joined, left }) => {
      if (roomId !== this.#roomId) return
      for (const user of joined) this.#profiles.set(String(user.userId), user)
      for (const userId of left) this.#forget(userId)
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

  /** How many there are; in big rooms more than `profiles` has. */
  get count (): number {
    return this.#count
  }

  /** Who is there, as far as the server has named them. */
  get profiles (): Profile[] {
    return [...this.#profiles.values()]
  }

  /** @param key a user's id, as text */
  isSpeaking (key: string): boolean {
    return this.#speakers.has(key)
  }

  /** Begins with a room that has just been joined. */
  start ({ roomId, participantCount, participants, activeSpeakers = [] }: JoinReply): void {
    this.#roomId = roomId
    this.#count = participantCount
    this.#profiles.clear()
    for (const profile of participants) this.#profiles.set(String(profile.userId), profile)
    this.#speak(activeSpeakers)
  }

  /**
   * Adds those whom the server has not named by itself.
   *
   * @param ask gets a page of members, and gives them before events that came after it are handled
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

  /** The connection is lost: who was there stays to be seen, but nothing is heard of them. */
  pause (): void {
    this.#roomId = undefined
    this.#speak([])
  }

  /** Ends with the room. Idempotent. */
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
