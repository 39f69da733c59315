import { createBackoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { isDisconnect, mayPass, retryAfterOf } from './errors.ts'

export interface RenewalOptions {
  /**
   * Asks the server for the room anew, and takes over what these features add.
   *
   * @throws RequestError
   */
  renew: (features: ReadonlySet<string>) => Promise<void>
  /** How long the room's members may take to ask, in milliseconds, so that a big room does not ask at once. */
  spreadMs: () => number
}

/**
 * Follows features of the server that are turned on and off while one is in a
 * room or on the way in, and has the room asked for anew when there is more to
 * know than its reply said.
 */
export class Renewal {
  readonly #options: RenewalOptions
  readonly #backoff = createBackoff()
  /** What was turned on or off since the room was asked for last. */
  readonly #changed = new Map<string, boolean>()
  #inside = false
  #asking = false
  #timer: ReturnType<typeof setTimeout> | undefined

  /** @param connection whose features it follows from now on */
  constructor (connection: Connection, options: RenewalOptions) {
    this.#options = options
    connection.on('feature:enabled', ({ name }) => {
      // Any may have something to tell of the room, also one that this client does not know.
      this.#changed.set(name, true)
      this.#soon()
    })
    connection.on('feature:disabled', ({ name }) => { this.#changed.set(name, false) })
  }

  /** The room is being joined: its reply tells of all that is on now. */
  begin (): void {
    this.stop()
    this.#changed.clear()
  }

  /** The reply is here. Asks anew, now and until `stop()`, when something was turned on that it does not tell of. */
  start (): void {
    this.#inside = true
    this.#backoff.reset()
    this.#soon()
  }

  /** Whether a feature was turned off since the room was asked for, so that what the reply says of it is over. */
  isOver (feature: string): boolean {
    return this.#changed.get(feature) === false
  }

  /** Asks for nothing any more. Idempotent. */
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
      // After a disconnect the room is joined anew as a whole. What the server refuses for good
      // is no reason to leave: the room goes on without what those features add.
      if (isDisconnect(error) || !mayPass(error)) return
      for (const name of missing) if (!this.#changed.has(name)) this.#changed.set(name, true)
      delayMs = Math.max(retryAfterOf(error), this.#backoff.next())
    } finally {
      this.#asking = false
      this.#soon(delayMs)
    }
  }
}
