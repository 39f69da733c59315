import { v7 } from 'uuid'
import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import { codeOf } from './errors.ts'
import type { EventData, ReplyData, RequestData } from './protocol.ts'

export interface GiftsEvents {
  /** Somebody in the room was given something; once for each gift, however often the server says so. */
  received: [gift: EventData<'gift:received'>]
}

/** Gifts that are known again when the server tells of them once more. */
const maxRemembered = 1000

/** Gifts in the room: sending them, so that none is paid for twice, and hearing of them. */
export class RoomGifts extends Emitter<GiftsEvents> {
  readonly #connection: Connection
  readonly #roomId: () => string | undefined
  /** Keys of gifts of which it is not known whether they were accepted, by what they are. */
  readonly #open = new Map<string, string[]>()
  readonly #received = new Set<string>()
  /** How far the server's clock is ahead of this one, in milliseconds: keys must have its time. */
  #aheadMs = 0

  /** @param roomId of the room one is in */
  constructor (connection: Connection, roomId: () => string | undefined) {
    super()
    this.#connection = connection
    this.#roomId = roomId
    connection.on('session:ready', ({ serverTime }) => { this.#aheadMs = serverTime - Date.now() })
    connection.on('gift:received', (gift) => {
      const { transactionId } = gift
      if (this.#received.has(transactionId)) return
      this.#received.add(transactionId)
      // The first one is the oldest.
      for (const oldest of this.#received) {
        if (this.#received.size <= maxRemembered) break
        this.#received.delete(oldest)
      }
      this.emit('received', gift)
    })
  }

  /**
   * Sends a gift. Nothing is repeated by itself, but after a failure the same
   * call is the same gift: where that was accepted, its reply being lost, nobody
   * pays once more.
   *
   * @throws RequestError with the server's code, or a client's one
   */
  async send (gift: Omit<RequestData<'gift:send'>, 'key' | 'roomId'>): Promise<ReplyData<'gift:send'>> {
    const roomId = this.#roomId()
    const what = JSON.stringify([roomId, gift.giftId, String(gift.recipientId), gift.quantity ?? 1])
    const open = this.#open.get(what)
    const key = open?.pop() ?? v7({ msecs: Date.now() + this.#aheadMs })
    if (open?.length === 0) this.#open.delete(what)
    try {
      return await this.#connection.request('gift:send', { ...gift, key, ...(roomId === undefined ? {} : { roomId }) })
    } catch (error) {
      // All others may come after a try that was accepted; with these two the key is of no use any more.
      if (!['VALIDATION_FAILED', 'KEY_REUSED'].includes(codeOf(error) ?? '')) this.#open.set(what, [...this.#open.get(what) ?? [], key])
      throw error
    }
  }
}
