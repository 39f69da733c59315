export interface FloodLimits {
  messagesPerSecond: number
  messagesBurst: number
}

/** Limits the messages of one session: a bucket that refills steadily. */
export class FloodBucket {
  readonly #limits: FloodLimits
  #tokens: number
  #refilledAt = performance.now()

  constructor (limits: FloodLimits) {
    this.#limits = limits
    this.#tokens = limits.messagesBurst
  }

  /** @returns false when the bucket is empty */
  take (): boolean {
    const now = performance.now()
    const { messagesPerSecond, messagesBurst } = this.#limits
    this.#tokens = Math.min(messagesBurst, this.#tokens + (now - this.#refilledAt) / 1000 * messagesPerSecond)
    this.#refilledAt = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
