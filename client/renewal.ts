import { createBackoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { isDisconnect, mayPass, retryAfterOf } from './errors.ts'

export interface RenewalOptions {
  /**
   * Joins the room again and applies the fields that these features added to the join reply.
   *
   * @throws RequestError
   */
  renew: (features: ReadonlySet<string>) => Promise<void>
  /**
   * Returns the maximum random delay of the request, in milliseconds. Because of the delay, the members of a room do
   * not all send the request at once.
   */
  spreadMs: () => number
}

/**
 * Observes which features are turned on or off during and after a join. If a feature is turned on too late for the join
 * reply to contain its fields, the client joins the room again.
 */
export class Renewal {
  readonly #options: RenewalOptions
  readonly #backoff = createBackoff()
  /** Features that were turned on (true) or off (false) since the last join request. */
  readonly #changed = new Map<string, boolean>()
  #inside = false
  #asking = false
  #timer: ReturnType<typeof setTimeout> | undefined

  /** @param connection delivers the server events */
  constructor (connection: Connection, options: RenewalOptions) {
    this.#options = options
    connection.on('feature:enabled', ({ name }) => {
      // The name does not matter, because even a feature that this client does not know may add fields to the join
      // reply.
      this.#changed.set(name, true)
      this.#soon()
    })
    connection.on('feature:disabled', ({ name }) => { this.#changed.set(name, false) })
  }

  /** Must be called when a join request is sent. The reply will contain the fields of all features that are on. */
  begin (): void {
    this.stop()
    this.#changed.clear()
  }

  /**
   * Must be called when the join reply arrives. Until `stop()` is called, the client joins the room again whenever a
   * feature is turned on.
   */
  start (): void {
    this.#inside = true
    this.#backoff.reset()
    this.#soon()
  }

  /**
   * True if a feature was turned off after the join request was sent. The feature's fields in the reply are then out of
   * date.
   */
  isOver (feature: string): boolean {
    return this.#changed.get(feature) === false
  }

  /** Cancels a scheduled rejoin. No further rejoin is scheduled until `start()` is called. Idempotent. */
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
      // If the connection is lost, the client will rejoin anyway. If the server rejects the request permanently, the
      // client stays in the room without the fields of these features.
      if (isDisconnect(error) || !mayPass(error)) return
      for (const name of missing) if (!this.#changed.has(name)) this.#changed.set(name, true)
      delayMs = Math.max(retryAfterOf(error), this.#backoff.next())
    } finally {
      this.#asking = false
      this.#soon(delayMs)
    }
  }
}
