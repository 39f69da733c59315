import { addressKey } from '../connections/addresses.ts'
import { MinuteCounter } from '../redis/limiter.ts'
import { pinLimitOf, PinWrong } from '../store/errors.ts'
import { wrongPins } from '../store/store.ts'

/** Counts wrong PINs per key. An attempt in progress counts as wrong until its result is known. */
class WrongPins {
  readonly #wrong = new MinuteCounter()
  readonly #running = new Map<string, Set<Promise<unknown>>>()
  readonly #kind: 'address' | 'room'
  readonly #max: number

  constructor (kind: 'address' | 'room', max: number) {
    this.#kind = kind
    this.#max = max
  }

  /**
   * @returns undefined if another attempt can start now; otherwise, a promise to await before the next check, because
   *   the attempts in progress could use up the limit
   * @throws RATE_LIMITED if the key has reached the limit
   */
  blocker (key: string): Promise<unknown> | undefined {
    this.#wrong.check(key, this.#max)
    const running = this.#running.get(key)
    return running && this.#wrong.used(key) + running.size >= this.#max ? Promise.race(running) : undefined
  }

  /**
   * Counts an attempt as wrong if it fails with PIN_WRONG. If the store rejects an attempt because the limit for all
   * servers is reached, this server itself rejects later attempts until that limit resets.
   */
  watch (key: string, attempt: Promise<unknown>): void {
    const running = this.#running.get(key) ?? new Set()
    this.#running.set(key, running)
    const settled = attempt.then(() => {}, (error: unknown) => {
      const limited = pinLimitOf(error)
      if (error instanceof PinWrong) this.#wrong.add(key)
      else if (limited?.pinLimit === this.#kind) this.#wrong.set(key, { used: this.#max, msLeft: limited.retryAfterMs })
    }).finally(() => {
      running.delete(settled)
      if (running.size === 0) this.#running.delete(key)
    })
    running.add(settled)
  }
}

/**
 * Checks the limits on wrong PINs (per address and per room) before the server compares a PIN, because a comparison
 * takes 30 ms of CPU time. These limits count only the attempts on this server; the limits in the store count the
 * attempts on all servers.
 */
export interface PinLimits {
  /**
   * @param address the client's address, if it is known
   * @param join compares the PIN; for a join, also joins the room
   * @param beyond called with the RATE_LIMITED error, instead of `join`, if the address or the room has reached its
   *   limit. Default: throws the error
   * @throws the errors that `join` and `beyond` throw
   */
  limit<T> (address: string | undefined, roomId: string, join: () => Promise<T>, beyond?: (limited: unknown) => Promise<T>): Promise<T>
}

export function createPinLimits (): PinLimits {
  const ofAddress = new WrongPins('address', wrongPins.perAddress)
  const ofRoom = new WrongPins('room', wrongPins.perRoom)
  return {
    async limit (address, roomId, join, beyond) {
      const key = address === undefined ? undefined : addressKey(address)
      for (;;) {
        let blocker: Promise<unknown> | undefined
        try {
          blocker = (key === undefined ? undefined : ofAddress.blocker(key)) ?? ofRoom.blocker(roomId)
        } catch (limited) {
          if (!beyond) throw limited
          return await beyond(limited)
        }
        if (!blocker) break
        await blocker
      }
      // Do not await between the check above and the count below, so that no other attempt starts in between.
      const attempt = join()
      if (key !== undefined) ofAddress.watch(key, attempt)
      ofRoom.watch(roomId, attempt)
      return await attempt
    }
  }
}
