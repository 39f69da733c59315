import { onScopeDispose, ref, shallowRef } from 'vue'
import type { Ref, ShallowRef } from 'vue'
import { waitOf } from './api.ts'

const longestWaitMs = 30_000

/** @returns how long to wait after so many looks in a row that failed */
const backoff = (everyMs: number, failures: number) => Math.min(everyMs * 2 ** Math.min(failures, 10), longestWaitMs)

export interface Poll<T> {
  /** What was seen last; undefined before. */
  readonly data: ShallowRef<T | undefined>
  /** Why the last look failed; undefined when it did not. */
  readonly error: ShallowRef<unknown>
  /** When `data` was seen, epoch milliseconds. */
  readonly at: Ref<number>
  /** Looks now. @returns when a look that began after this call is over, however it ended */
  refresh (): Promise<void>
}

/**
 * Looks again and again while the component is there and the tab is seen,
 * never twice at a time, and less often while it fails.
 *
 * @param look gets a signal that ends with the component
 */
export function usePoll<T> (look: (signal: AbortSignal) => Promise<T>, everyMs: number): Poll<T> {
  const data = shallowRef<T>()
  const error = shallowRef<unknown>()
  const at = ref(0)
  const end = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  let current: Promise<void> | undefined
  let next: Promise<void> | undefined
  let failures = 0

  async function once (): Promise<void> {
    try {
      const seen = await look(end.signal)
      if (end.signal.aborted) return
      data.value = seen
      at.value = Date.now()
      error.value = undefined
      failures = 0
    } catch (problem) {
      if (end.signal.aborted) return
      error.value = problem
      failures++
    }
  }

  function run (): Promise<void> {
    clearTimeout(timer)
    current = once().then(() => {
      current = undefined
      if (!document.hidden && !end.signal.aborted) timer = setTimeout(run, waitOf(error.value) ?? backoff(everyMs, failures))
    })
    return current
  }

  function refresh (): Promise<void> {
    if (!current) return run()
    next ??= current.then(() => {
      next = undefined
      return run()
    })
    return next
  }

  function wake (): void {
    clearTimeout(timer)
    if (!document.hidden && !current) run()
  }

  document.addEventListener('visibilitychange', wake)
  addEventListener('online', wake)
  addEventListener('offline', wake)
  onScopeDispose(() => {
    end.abort()
    clearTimeout(timer)
    document.removeEventListener('visibilitychange', wake)
    removeEventListener('online', wake)
    removeEventListener('offline', wake)
  })
  wake()
  return { data, error, at, refresh }
}
