import CircuitBreaker from 'opossum'

export interface BreakerOptions {
  /** Number of consecutive failures that open the circuit. */
  maxConsecutiveFailures: number
  /** How long the circuit stays open before a probe is allowed, in milliseconds. */
  openMs: number
  /**
   * Length of the failure-rate window, in milliseconds. The breaker also opens if more than half of the calls in the
   * window have failed and the window contains at least `2 * maxConsecutiveFailures` calls.
   */
  windowMs: number
}

/** 0: closed. 1: half open, one probe in flight. 2: open. */
export type BreakerState = 0 | 1 | 2

export type Breaker = CircuitBreaker<[action: () => Promise<unknown>], unknown>

/**
 * An opossum circuit breaker that also opens after consecutive failures. Opossum itself considers only the failure
 * rate, which rises slowly after a long period without failures.
 *
 * @param isFailure returns true if the error counts as a failure of the backend
 * @param changed called immediately with the current state, and again whenever the state changes
 */
export function createBreaker ({ maxConsecutiveFailures, openMs, windowMs }: BreakerOptions, isFailure: (error: unknown) => boolean, changed: (state: BreakerState) => void): Breaker {
  const circuit: Breaker = new CircuitBreaker((action) => action(), {
    // Disables opossum's timeout, because each call has its own timeout.
    timeout: false,
    resetTimeout: openMs,
    rollingCountTimeout: windowMs,
    errorThresholdPercentage: 50,
    volumeThreshold: maxConsecutiveFailures * 2,
    rollingPercentilesEnabled: false,
    enableSnapshots: false,
    errorFilter: (error) => !isFailure(error)
  })
  let consecutive = 0
  circuit.on('success', () => { consecutive = 0 })
  circuit.on('failure', () => { if (++consecutive >= maxConsecutiveFailures) circuit.open() })
  circuit.on('open', () => changed(2))
  circuit.on('halfOpen', () => changed(1))
  circuit.on('close', () => {
    consecutive = 0
    changed(0)
  })
  changed(0)
  return circuit
}

/**
 * @returns true if the circuit would reject a call. Callers must check this before each call, because opossum counts
 *   rejected calls as successes
 */
export const isOpen = ({ closed, pendingClose }: Breaker): boolean => !closed && !pendingClose
