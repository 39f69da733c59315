import type { Test } from 'tap'

/** A clock that stops while this process is blocked or not scheduled. */
export interface StallClock {
  /** @returns the time in milliseconds, from an arbitrary start */
  now (): number
  /** @returns for how long this process has been blocked or not scheduled since the clock was started, in milliseconds */
  stalledMs (): number
}

const intervalMs = 20

/** Starts a clock, which is stopped after the test. */
export function createStallClock (t: Test): StallClock {
  let stalledMs = 0
  let tickedAt = performance.now()
  const stall = (now: number) => Math.max(0, now - tickedAt - intervalMs)
  const timer = setInterval(() => {
    const now = performance.now()
    stalledMs += stall(now)
    tickedAt = now
  }, intervalMs)
  t.teardown(() => clearInterval(timer))
  const total = () => stalledMs + stall(performance.now())
  return {
    now: () => performance.now() - total(),
    stalledMs: total
  }
}
