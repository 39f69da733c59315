export interface BackoffOptions {
  /** Upper bound of the first delay, in milliseconds. */
  firstMs?: number
  /** Upper bound of every delay, in milliseconds. */
  longestMs?: number
}

/** The delays between attempts. */
export interface Backoff {
  /** @returns the next delay in milliseconds */
  next (): number
  /** Restarts with the first delay. Called after a success. */
  reset (): void
}

/**
 * Exponential backoff. Half of each delay is random, so that the clients of a restarted server do not all reconnect at
 * the same time.
 */
export function createBackoff ({ firstMs = 500, longestMs = 10_000 }: BackoffOptions = {}): Backoff {
  let attempt = 0
  return {
    next () {
      const cap = Math.min(firstMs * 2 ** attempt++, longestMs)
      return cap / 2 + Math.random() * cap / 2
    },
    reset () {
      attempt = 0
    }
  }
}
