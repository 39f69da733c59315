import type { Connection } from './connection.ts'
import type { UserId } from './protocol.ts'

/** If the server has not reported a speaker's level, this level of ordinary speech is used, 0 to 1. */
const unreportedLevel = 0.1

/**
 * The levels of the active speakers, as reported in the `speaker:active` event. A user's key is the user id as a
 * string.
 */
export class SpeakerLevels {
  #roomId: string | undefined
  #levels: ReadonlyMap<string, number> = new Map()

  /** @param connection delivers the server events */
  constructor (connection: Connection) {
    connection.on('speaker:active', ({ roomId, activeSpeakers, levels }) => {
      if (roomId === this.#roomId) this.#set(activeSpeakers, levels)
    })
    connection.on('media:reset', ({ roomId }) => {
      if (roomId === this.#roomId) this.#set([])
    })
  }

  /** Initializes the speakers from a join reply, which has no levels. */
  start (roomId: string, activeSpeakers: readonly UserId[]): void {
    this.#roomId = roomId
    this.#set(activeSpeakers)
  }

  /** Forgets all speakers. */
  stop (): void {
    this.start('', [])
  }

  /** True if the user is an active speaker. */
  has (key: string): boolean {
    return this.#levels.has(key)
  }

  /**
   * Calculates the levels of the active speakers from the level of the mix. The loudest speaker gets the level of the
   * mix, and all other levels are in proportion to the last reported levels. The reported levels alone would not
   * suffice, because the server reports levels only when the set of speakers changes.
   *
   * @param mix the level of the mix, 0 to 1; undefined if the browser does not report levels
   * @returns the level of each active speaker, 0 to 1
   */
  scaled (mix: number | undefined): ReadonlyMap<string, number> {
    if (mix === undefined) return this.#levels
    const loudest = Math.max(...this.#levels.values())
    return new Map([...this.#levels].map(([key, level]) => [key, loudest > 0 ? mix * level / loudest : mix]))
  }

  #set (userIds: readonly UserId[], levels: readonly number[] = []): void {
    this.#levels = new Map(userIds.map((userId, index) => [String(userId), levels[index] ?? unreportedLevel]))
  }
}
