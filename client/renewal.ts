import { createBackoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { isDisconnect, mayPass, retryAfterOf } from './errors.ts'
import type { JoinReply } from './protocol.ts'

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
 * The client joins the room again after at most this time, in milliseconds, if the join reply contains credentials for
 * TURN servers. The server's credentials expire after a day.
 */
const longestAgeMs = 12 * 3_600_000

/** The name for the credentials among the names of the features. */
const credentials = 'iceServers'

/**
 * Observes which features are turned on or off during and after a join. If a feature is turned on too late for the join
 * reply to contain its fields, the client joins the room again. The client also joins again before the credentials in
 * the join reply expire.
 */
export class Renewal {
  readonly #options: RenewalOptions
  readonly #backoff = createBackoff()
  /** Features that were turned on (true) or off (false) since the last join request. */
  readonly #changed = new Map<string, boolean>()
  #inside = false
  #asking = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #ageTimer: ReturnType<typeof setTimeout> | undefined

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
   * Must be called with each join reply after `start()`. If the reply contains credentials for TURN servers, the client
   * joins the room again before they expire.
   */
  received ({ iceServers }: Pick<JoinReply, 'iceServers'>): void {
    clearTimeout(this.#ageTimer)
    if (iceServers?.some(({ credential }) => credential !== undefined) !== true) return
    // The delay is random, so that the clients of a restarted server do not all join again at the same time.
    this.#ageTimer = setTimeout(() => {
      this.#changed.set(credentials, true)
      this.#soon()
    }, longestAgeMs * (1 + Math.random()) / 2)
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
    clearTimeout(this.#ageTimer)
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
