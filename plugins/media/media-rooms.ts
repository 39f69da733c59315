import type { MediaWorker } from './pool.ts'
import { RoomMedia } from './room-media.ts'
import type { MediaUser, RoomMediaContext } from './room-media.ts'

/** The rooms that have a router on this server. */
export class MediaRooms {
  readonly #context: RoomMediaContext
  readonly #opening = new Map<string, Promise<RoomMedia>>()
  readonly #open = new Map<string, RoomMedia>()

  constructor (context: RoomMediaContext) {
    this.#context = context
  }

  get (roomId: string): RoomMedia | undefined {
    return this.#open.get(roomId)
  }

  /**
   * Adds a user to the media of a room. The first user opens the router.
   *
   * @param create creates the user; if it throws, a router without users is closed
   * @throws the errors of `create` and {@link RoomMedia.open}
   */
  async join<T extends MediaUser> (roomId: string, create: (media: RoomMedia) => T): Promise<T> {
    let media = await this.#mediaOf(roomId)
    // The last user may have left during the wait.
    while (media.closed) media = await this.#mediaOf(roomId)
    try {
      const user = create(media)
      media.join(user)
      return user
    } catch (error) {
      media.closeIfUnused()
      throw error
    }
  }

  /**
   * Closes the routers that were on a dead worker.
   *
   * @returns their rooms
   */
  workerDied (worker: MediaWorker): string[] {
    const lost = [...this.#open.values()].filter((media) => media.worker === worker)
    for (const media of lost) media.close()
    return lost.map(({ roomId }) => roomId)
  }

  async #mediaOf (roomId: string): Promise<RoomMedia> {
    const known = this.#open.get(roomId) ?? this.#opening.get(roomId)
    if (known) return await known
    const opening = RoomMedia.open(roomId, this.#context, (media) => {
      if (this.#open.get(roomId) === media) this.#open.delete(roomId)
    })
    this.#opening.set(roomId, opening)
    try {
      const media = await opening
      this.#open.set(roomId, media)
      return media
    } finally {
      this.#opening.delete(roomId)
    }
  }
}
