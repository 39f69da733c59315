export interface BackoffOptions {
  /** The first delay at most, in milliseconds. */
  firstMs?: number
  /** Every delay at most, in milliseconds. */
  longestMs?: number
}

/** Delays before repeated attempts. */
export interface Backoff {
  /** @returns the next delay in milliseconds */
  next (): number
  /** Starts over, after a success. */
  reset (): void
}

/**
 * Delays that double from one attempt to the next. Half of each is left to
 * chance, so that the clients of a server that comes back don't all come at
 * once.
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
