export interface HeartbeatOptions {
  /** If no message arrives within this time, in milliseconds, the connection is checked. */
  idleMs: number
  /** Maximum time for an answer, in milliseconds. */
  answerMs: number
  /** Sends a request that the server answers immediately. */
  ping: () => void
  /**
   * Called if no message arrives in time after a ping. The heartbeat then sends no more pings until a message arrives
   * or `start()` is called.
   */
  lost: () => void
}

/** Detects a connection that no longer carries data, although neither side has closed it. */
export interface Heartbeat {
  /** Watches a new connection. */
  start (): void
  /** Must be called for each message that arrives. */
  received (): void
  /** Checks the connection immediately. */
  check (): void
  stop (): void
}

/** Maximum time for an answer after `check()`, in milliseconds. */
const checkAnswerMs = 5000
/** If a timer fires more than this many milliseconds late, the program was probably suspended or busy. */
const lateMs = 1000

export function createHeartbeat ({ idleMs, answerMs, ping, lost }: HeartbeatOptions): Heartbeat {
  let timer: ReturnType<typeof setTimeout> | undefined
  let receivedAt = 0
  let isAsking = false
  const now = () => performance.now()
  const after = (ms: number, fn: () => void) => {
    clearTimeout(timer)
    timer = setTimeout(fn, ms)
  }

  function wait (): void {
    isAsking = false
    // Shorten the limit by a random amount, up to a quarter. Otherwise, all members of a quiet room would send their
    // pings at the same time, because they received the last message at the same time.
    const limitMs = idleMs * (0.75 + Math.random() / 4)
    const look = () => {
      const leftMs = receivedAt + limitMs - now()
      if (leftMs > 0) after(leftMs, look)
      else ask(answerMs)
    }
    look()
  }

  function ask (withinMs: number, isRepeated = false): void {
    isAsking = true
    const askedAt = now()
    ping()
    after(withinMs, () => {
      // If the timer fired late, the program may not have handled an answer that has already arrived, so ask once more.
      if (!isRepeated && now() - askedAt > withinMs + lateMs) return ask(withinMs, true)
      lost()
    })
  }

  return {
    start () {
      receivedAt = now()
      wait()
    },
    received () {
      receivedAt = now()
      if (isAsking) wait()
    },
    check () {
      if (!isAsking) ask(Math.min(answerMs, checkAnswerMs))
    },
    stop () {
      clearTimeout(timer)
      isAsking = false
    }
  }
}
