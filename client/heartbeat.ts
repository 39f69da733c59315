export interface HeartbeatOptions {
  /** Maximum time without a message before the connection is checked, in milliseconds. */
  idleMs: number
  /** How long an answer may take, in milliseconds. */
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
  /** Call this for each message that arrives. */
  received (): void
  /** Checks the connection immediately. */
  check (): void
  stop (): void
}

/** The longest time an answer may take after `check()`, in milliseconds. */
const checkAnswerMs = 5000
/** If a timer fires more than this many milliseconds late, the program was suspended or busy. */
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
    // Shorten the limit by a random amount, up to a quarter. All members of a silent room received the last message at
    // the same time, so their pings would otherwise coincide.
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
      // This timer fired late, so an answer may have arrived but not been handled yet.
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
