import CircuitBreaker from 'opossum'
import { unavailable } from 'flylive-audio-server/feature'

export interface BreakerOptions {
  /** Calls that fail in a row and open it. */
  failuresInARow: number
  /** How long it stays open before one call is let through to try, in milliseconds. */
  openMs: number
  /** Over what time it opens when half of all calls fail, in milliseconds. */
  windowMs: number
}

/** 0: calls go through. 1: one is let through to try. 2: none. */
export type BreakerState = 0 | 1 | 2

/** Keeps calls from a backend that fails. */
export interface Breaker {
  /**
   * @param action what may fail
   * @throws UNAVAILABLE when it was not even tried; else what the action throws
   */
  run<T> (action: () => Promise<T>): Promise<T>
  close (): void
}

/**
 * @param isFailure whether an error speaks against the backend
 * @param changed hears of every change
 */
export function createBreaker (options: BreakerOptions, isFailure: (error: unknown) => boolean, changed: (state: BreakerState) => void): Breaker {
  const circuit = new CircuitBreaker((action: () => Promise<unknown>) => action(), {
    // The calls have a time-out of their own, which includes their bodies.
    timeout: false,
    resetTimeout: options.openMs,
    rollingCountTimeout: options.windowMs,
    errorThresholdPercentage: 50,
    volumeThreshold: options.failuresInARow * 2,
    rollingPercentilesEnabled: false,
    enableSnapshots: false,
    errorFilter: (error) => !isFailure(error)
  })
  // By shares alone, a backend that was well until now would have to fail for
  // as long again as it was well.
  let inARow = 0
  circuit.on('success', () => { inARow = 0 })
  circuit.on('failure', () => { if (++inARow >= options.failuresInARow) circuit.open() })
  circuit.on('open', () => changed(2))
  circuit.on('halfOpen', () => changed(1))
  circuit.on('close', () => {
    inARow = 0
    changed(0)
  })
  changed(0)

  return {
    async run<T> (action: () => Promise<T>) {
      // What is turned away here does not count as a call that went well.
      if (!circuit.closed && !circuit.pendingClose) throw unavailable('The backend is not available')
      return await circuit.fire(action) as T
    },
    close: () => circuit.shutdown()
  }
}
