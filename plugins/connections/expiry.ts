import type { Session } from './session.ts'

/** The maximum delay of a timer, about 24 days. */
const longestTimerMs = 2 ** 31 - 1
/** How long before the expiry of its token a session is notified, in milliseconds (docs/protocol.md, "Connecting"). */
const noticeMs = 60_000
/** Minimum delay of the expiry notice, in milliseconds, so that the session receives the greeting before the notice. */
const minNoticeDelayMs = 1000

export interface Expiry {
  /** Restarts the timers. Call this after renewing the session's token. */
  restart (): void
  stop (): void
}

/** Notifies a session shortly before its token expires, and closes the session when the token expires. */
export function watchExpiry (session: Pick<Session, 'identity' | 'send' | 'close'>): Expiry {
  let stopTimers: (() => void)[] = []
  const expiry = {
    restart () {
      expiry.stop()
      const { expiresAt } = session.identity
      if (expiresAt === undefined) return
      stopTimers = [
        callAt(expiresAt - noticeMs, minNoticeDelayMs, () => session.send('session:expiring', { expiresAt })),
        callAt(expiresAt, 0, () => session.close('TOKEN_EXPIRED'))
      ]
    },
    stop () {
      for (const stop of stopTimers.splice(0)) stop()
    }
  }
  expiry.restart()
  return expiry
}

/**
 * Calls a function at a given time, even if the delay exceeds the maximum delay of a timer.
 *
 * @param time when to call the function, in epoch milliseconds
 * @param minDelayMs the minimum delay, in milliseconds
 * @returns a function that stops the timer
 */
function callAt (time: number, minDelayMs: number, fn: () => void): () => void {
  let timer: NodeJS.Timeout
  function wait (): void {
    const delayMs = Math.max(time - Date.now(), minDelayMs)
    timer = setTimeout(delayMs > longestTimerMs ? wait : fn, Math.min(delayMs, longestTimerMs)).unref()
  }
  wait()
  return () => clearTimeout(timer)
}
