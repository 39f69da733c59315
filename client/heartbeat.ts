export interface HeartbeatOptions {
  /** How long no message may arrive before the connection is checked, in milliseconds. */
  idleMs: number
  /** How long an answer may take, in milliseconds. */
  answerMs: number
  /** Sends a request that the server answers immediately. */
  ping: () => void
  /** Called when no message arrived after a ping. The heartbeat has stopped. */
  lost: () => void
}

/** Detects a connection that no longer carries data, although neither side has closed it. */
export interface Heartbeat {
  /** Watches a new connection. */
  start (): void
  /** A message has arrived. */
  received (): void
  /** Checks the connection immediately. */
  check (): void
  stop (): void
}

/** The longest time an answer may take after `check()`, in milliseconds. */
const checkAnswerMs = 5000
/** A timer that fires this much too late, in milliseconds, shows that the program was suspended or busy. */
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
    // Subtract up to a quarter: members of a silent room received the last message together, and must not all ping at the same time.
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
      // The answer may have arrived without being handled yet.
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
