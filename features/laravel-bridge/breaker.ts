import CircuitBreaker from 'opossum'

export interface BreakerOptions {
  /** Consecutive failures that open it. */
  failuresInARow: number
  /** How long it stays open before one call probes the backend, in milliseconds. */
  openMs: number
  /** It also opens when more than half of the calls of this time fail, in milliseconds. */
  windowMs: number
}

/** 0: closed. 1: half open, one call probes. 2: open. */
export type BreakerState = 0 | 1 | 2

export type Breaker = CircuitBreaker<[action: () => Promise<unknown>], unknown>

/**
 * A circuit of opossum, which opens by the share of failed calls alone. This
 * one also opens after consecutive failures: after a long healthy time, the
 * share would take as long to reach one half.
 *
 * @param isFailure whether an error counts against the backend
 * @param changed receives the state now and on every change
 */
export function createBreaker ({ failuresInARow, openMs, windowMs }: BreakerOptions, isFailure: (error: unknown) => boolean, changed: (state: BreakerState) => void): Breaker {
  const circuit: Breaker = new CircuitBreaker((action) => action(), {
    // Calls have their own timeout, which includes their bodies.
    timeout: false,
    resetTimeout: openMs,
    rollingCountTimeout: windowMs,
    errorThresholdPercentage: 50,
    volumeThreshold: failuresInARow * 2,
    rollingPercentilesEnabled: false,
    enableSnapshots: false,
    errorFilter: (error) => !isFailure(error)
  })
  let inARow = 0
  circuit.on('success', () => { inARow = 0 })
  circuit.on('failure', () => { if (++inARow >= failuresInARow) circuit.open() })
  circuit.on('open', () => changed(2))
  circuit.on('halfOpen', () => changed(1))
  circuit.on('close', () => {
    inARow = 0
    changed(0)
  })
  changed(0)
  return circuit
}

/** @returns whether the circuit would reject a call; opossum counts rejected calls as if they had not failed */
export const isOpen = ({ closed, pendingClose }: Breaker): boolean => !closed && !pendingClose
