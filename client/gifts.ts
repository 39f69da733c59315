import { v7 } from 'uuid'
import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { codeOf } from './errors.ts'
import type { EventData, ReplyData, RequestData } from './protocol.ts'

export interface GiftsEvents {
  /** A user in the room received a gift. Emitted once per gift, even if the server repeats the event. */
  received: [gift: EventData<'gift:received'>]
}

/** Maximum number of transaction ids that are stored to detect repeated events. */
const maxRemembered = 1000

/**
 * Sends gifts so that the user is charged only once, and emits an event for each gift that a user in the room receives.
 */
export class RoomGifts extends Emitter<GiftsEvents> {
  readonly #connection: Connection
  readonly #roomId: () => string | undefined
  /** Idempotency keys of the gifts for which the client has received no definite result, by the content of the gift. */
  readonly #open = new Map<string, string[]>()
  readonly #received = new Set<string>()
  /**
   * How far the server's clock is ahead of the local clock, in milliseconds. Idempotency keys must contain the server's
   * time.
   */
  #clockOffsetMs = 0

  /** @param roomId returns the id of the current room */
  constructor (connection: Connection, roomId: () => string | undefined) {
    super()
    this.#connection = connection
    this.#roomId = roomId
    connection.on('session:ready', ({ serverTime }) => { this.#clockOffsetMs = serverTime - Date.now() })
    connection.on('gift:received', (gift) => {
      const { transactionId } = gift
      if (this.#received.has(transactionId)) return
      this.#received.add(transactionId)
      // Sets iterate in insertion order, so the first id is the oldest.
      for (const oldest of this.#received) {
        if (this.#received.size <= maxRemembered) break
        this.#received.delete(oldest)
      }
      this.emit('received', gift)
    })
  }

  /**
   * Sends a gift. The client never retries automatically. If the caller sends the same gift again after a failure,
   * the client reuses the idempotency key. The user is therefore charged only once, even if the server accepted both
   * attempts.
   *
   * @throws RequestError
   */
  async send (gift: Omit<RequestData<'gift:send'>, 'key' | 'roomId'>): Promise<ReplyData<'gift:send'>> {
    const roomId = this.#roomId()
    const what = JSON.stringify([roomId, gift.giftId, String(gift.recipientId), gift.quantity ?? 1])
    const open = this.#open.get(what)
    const key = open?.pop() ?? v7({ msecs: Date.now() + this.#clockOffsetMs })
    if (open?.length === 0) this.#open.delete(what)
    try {
      return await this.#connection.request('gift:send', { ...gift, key, ...(roomId === undefined ? {} : { roomId }) })
    } catch (error) {
      // After any other error, the server may have accepted the gift, so the next attempt reuses the key.
      if (!['VALIDATION_FAILED', 'KEY_REUSED'].includes(codeOf(error) ?? '')) this.#open.set(what, [...this.#open.get(what) ?? [], key])
      throw error
    }
  }
}
