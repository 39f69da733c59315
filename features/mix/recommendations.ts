import { isCoded, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, RoomStateHandle } from 'flylive-audio-server/feature'

/** The stored recommendation for a room. If nothing is stored, the mix is not recommended. */
export const mixState = z.object({ recommended: z.boolean() })
export type MixStateHandle = RoomStateHandle<z.output<typeof mixState>>

/**
 * The server withdraws the recommendation below this fraction of the threshold, so that not every join or leave changes
 * the recommendation.
 */
const hysteresis = 0.8

/**
 * Delay between a seat change and the update of the room, in milliseconds. Further seat changes during this delay do not
 * cause further updates, because each update reads the number of people from the store.
 */
const seatsDelayMs = 500

/** Recommends the mix in rooms with many listeners. */
export interface Recommendations {
  isRecommended (roomId: string): boolean
  /**
   * Updates the recommendation for a room.
   *
   * @param count the number of people in the room; if omitted, the number is read from the store
   */
  review (roomId: string, count?: number): Promise<void>
  /**
   * Updates the recommendation for a room within {@link seatsDelayMs} after its seats have changed.
   *
   * @param seated number of users in the room who have a seat
   */
  seatsChanged (roomId: string, seated: number): void
  /** Called when the `seats` feature is turned on or off. While `seats` is off, nobody counts as seated. */
  setSeats (areOn: boolean): void
  /** Called when a room no longer has members on this server. */
  forget (roomId: string): void
  /** Cancels the pending updates. */
  close (): void
}

/** @param fromListeners the mix is recommended if at least this many people have no seat */
export function createRecommendations ({ features, log, store }: FeatureInstance, state: MixStateHandle, fromListeners: number): Recommendations {
  const seatedIn = new Map<string, number>()
  const pending = new Map<string, NodeJS.Timeout>()
  let hasSeats = true

  const isRecommended = (roomId: string) => state.peek(roomId)?.recommended ?? false
  const shouldRecommend = (before: boolean, listeners: number) => listeners >= fromListeners * (before ? hysteresis : 1)
  /** Seats of disconnected users do not count, because these users are not in the room. */
  const seated = (roomId: string) => !hasSeats ? 0 : features.getFeature('seats')?.peek(roomId)?.seats.filter(({ awayUntil }) => awayUntil === undefined).length ?? 0

  async function review (roomId: string, count?: number): Promise<void> {
    const people = count ?? (await store.getRoom(roomId))?.participantCount ?? 0
    const listeners = people - seated(roomId)
    if (shouldRecommend(isRecommended(roomId), listeners) === isRecommended(roomId)) return
    await state.change(roomId, (current) => {
      const before = current?.recommended ?? false
      const recommended = shouldRecommend(before, listeners)
      return recommended === before ? { result: {} } : { state: { recommended }, events: [{ type: 'audio:mix', data: { recommended } }], result: {} }
    })
  }

  /** Calls {@link review} and logs failures. The next change to the room's members or seats triggers a new review. */
  async function tryReview (roomId: string, count?: number): Promise<void> {
    try {
      await review(roomId, count)
    } catch (err) {
      if (!isCoded(err)) throw err
      log.debug({ err, roomId }, 'failed to update the mix recommendation')
    }
  }

  return {
    isRecommended,
    review: tryReview,
    seatsChanged (roomId, seated) {
      if (seatedIn.get(roomId) === seated) return
      seatedIn.set(roomId, seated)
      if (pending.has(roomId)) return
      // Every server reviews the room after a seat change, but only one server is notified of each join or leave. This
      // server therefore has to read the current number of people.
      pending.set(roomId, setTimeout(() => {
        pending.delete(roomId)
        tryReview(roomId)
      }, seatsDelayMs).unref())
    },
    setSeats: (areOn) => { hasSeats = areOn },
    forget (roomId) {
      seatedIn.delete(roomId)
      clearTimeout(pending.get(roomId))
      pending.delete(roomId)
    },
    close () {
      for (const timer of pending.values()) clearTimeout(timer)
    }
  }
}
