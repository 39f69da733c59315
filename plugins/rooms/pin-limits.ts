import { addressKey } from '../connections/addresses.ts'
import { MinuteCounter } from '../redis/limiter.ts'
import { PinWrong } from '../store/errors.ts'

/** Maximum number of wrong PINs per minute on this server. */
const wrongPins = { perAddress: 20, perRoom: 200 }

/** Counts wrong PINs per key. Attempts in progress count as wrong until their result is known. */
class WrongPins {
  readonly #wrong = new MinuteCounter()
  readonly #running = new Map<string, Set<Promise<unknown>>>()
  readonly #max: number

  constructor (max: number) {
    this.#max = max
  }

  /**
   * @returns a promise to await before the next attempt if the attempts in progress could reach the limit; undefined if the next attempt may start
   * @throws RATE_LIMITED if the key has reached the limit
   */
  blocker (key: string): Promise<unknown> | undefined {
    this.#wrong.check(key, this.#max)
    const running = this.#running.get(key)
    return running && this.#wrong.used(key) + running.size >= this.#max ? Promise.race(running) : undefined
  }

  /** Counts an attempt if it fails with PIN_WRONG. */
  watch (key: string, attempt: Promise<unknown>): void {
    const running = this.#running.get(key) ?? new Set()
    this.#running.set(key, running)
    const settled = attempt.then(() => {}, (error: unknown) => { if (error instanceof PinWrong) this.#wrong.add(key) }).finally(() => {
      running.delete(settled)
      if (running.size === 0) this.#running.delete(key)
    })
    running.add(settled)
  }
}

/** Limits wrong PINs per address and per room, in addition to the limit per user and room in the store (protocol.md, section 7, "Quotas"). */
export interface PinLimits {
  /**
   * @param address the client's address, if it is known
   * @param join joins with a PIN
   * @param beyond called instead of `join`, with RATE_LIMITED, if the address or the room has had too many wrong PINs. Default: throws that error
   * @throws the errors of `join` and `beyond`
   */
  limit<T> (address: string | undefined, roomId: string, join: () => Promise<T>, beyond?: (limited: unknown) => Promise<T>): Promise<T>
}

export function createPinLimits (): PinLimits {
  const ofAddress = new WrongPins(wrongPins.perAddress)
  const ofRoom = new WrongPins(wrongPins.perRoom)
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
      // There is no `await` between the check above and the count below, so no other attempt starts in between.
      const attempt = join()
      if (key !== undefined) ofAddress.watch(key, attempt)
      ofRoom.watch(roomId, attempt)
      return await attempt
    }
  }
}
