import { createBackoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { isDisconnect, mayPass, retryAfterOf } from './errors.ts'

export interface RenewalOptions {
  /**
   * Rejoins the room and applies the reply's fields for these features.
   *
   * @throws RequestError
   */
  renew: (features: ReadonlySet<string>) => Promise<void>
  /** Returns the interval over which the members of a room spread their requests, in milliseconds. */
  spreadMs: () => number
}

/**
 * Watches for features that are turned on or off during and after a join. If the join reply lacks the fields of a
 * feature that was turned on, the client rejoins the room.
 */
export class Renewal {
  readonly #options: RenewalOptions
  readonly #backoff = createBackoff()
  /** Features that changed since the last join request. */
  readonly #changed = new Map<string, boolean>()
  #inside = false
  #asking = false
  #timer: ReturnType<typeof setTimeout> | undefined

  /** @param connection delivers the server events */
  constructor (connection: Connection, options: RenewalOptions) {
    this.#options = options
    connection.on('feature:enabled', ({ name }) => {
      // Any feature may add fields to the reply, even one that is unknown to this client.
      this.#changed.set(name, true)
      this.#soon()
    })
    connection.on('feature:disabled', ({ name }) => { this.#changed.set(name, false) })
  }

  /** Called when a join request is sent. The reply will have the fields of all enabled features. */
  begin (): void {
    this.stop()
    this.#changed.clear()
  }

  /**
   * Called when the join reply arrives. Until `stop()`, the client rejoins the room for every feature that is turned
   * on.
   */
  start (): void {
    this.#inside = true
    this.#backoff.reset()
    this.#soon()
  }

  /** Whether a feature was turned off after the join request was sent. If so, its fields in the reply are obsolete. */
  isOver (feature: string): boolean {
    return this.#changed.get(feature) === false
  }

  /** Cancels the scheduled rejoin, if any, and schedules no more until `start()`. Idempotent. */
  stop (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#inside = false
  }

  get #missing (): Set<string> {
    return new Set([...this.#changed].filter(([, on]) => on).map(([name]) => name))
  }

  #soon (delayMs = Math.random() * this.#options.spreadMs()): void {
    if (!this.#inside || this.#asking || this.#timer !== undefined || this.#missing.size === 0) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#renew()
    }, delayMs)
  }

  async #renew (): Promise<void> {
    const missing = this.#missing
    let delayMs: number | undefined
    this.#changed.clear()
    this.#asking = true
    try {
      await this.#options.renew(missing)
      this.#backoff.reset()
    } catch (error) {
      // After a disconnect, the client rejoins anyway. After a permanent rejection, the client stays in the room
      // without the fields of these features.
      if (isDisconnect(error) || !mayPass(error)) return
      for (const name of missing) if (!this.#changed.has(name)) this.#changed.set(name, true)
      delayMs = Math.max(retryAfterOf(error), this.#backoff.next())
    } finally {
      this.#asking = false
      this.#soon(delayMs)
    }
  }
}
