import { onScopeDispose, ref, shallowRef } from 'vue'
import type { Ref, ShallowRef } from 'vue'
import { waitOf } from './api.ts'

const longestWaitMs = 30_000

/**
 * @returns the delay before the next request, in milliseconds; each consecutive failure doubles it, up to
 *   {@link longestWaitMs}
 */
const backoff = (everyMs: number, failures: number) => Math.min(everyMs * 2 ** Math.min(failures, 10), longestWaitMs)

export interface Poll<T> {
  /** The result of the last successful request; undefined until a request succeeds. */
  readonly data: ShallowRef<T | undefined>
  /** The error of the last request; undefined if that request succeeded. */
  readonly error: ShallowRef<unknown>
  /** When `data` was received, in epoch milliseconds. */
  readonly at: Ref<number>
  /**
   * Sends a new request: immediately, or once the pending request completes. Resolves once the new request completes.
   */
  refresh (): Promise<void>
}

/**
 * Polls while the component is mounted and the tab is visible. Sends one request at a time, and polls less often after
 * failures.
 *
 * @param look sends the request; its signal aborts when the component is unmounted
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
