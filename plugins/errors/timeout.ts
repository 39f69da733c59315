/**
 * Calls a function after a delay, once the process has read the data that has arrived by then. Node.js runs timers
 * before it reads sockets. With a plain timer, a reply that arrived while the process was blocked would count as late.
 * The timer does not keep the process running.
 *
 * @param ms milliseconds
 * @returns a function that cancels the call
 */
export function afterReading (ms: number, fn: () => void): () => void {
  let immediate: NodeJS.Immediate | undefined
  const timer = setTimeout(() => { immediate = setImmediate(fn) }, ms).unref()
  return () => {
    clearTimeout(timer)
    clearImmediate(immediate)
  }
}

/**
 * Waits for a promise for a limited time, measured by {@link afterReading}. If the promise resolves or rejects after
 * the timeout, its result is ignored.
 *
 * @param ms the timeout, in milliseconds
 * @param onTimeout called after the timeout. Its return value or error becomes the result
 * @returns what the promise resolves with, or what `onTimeout` returns
 * @throws what the promise rejects with, or what `onTimeout` throws
 */
export async function withTimeout<T, F> (promise: PromiseLike<T>, ms: number, onTimeout: () => F): Promise<T | Awaited<F>> {
  const elapsed = Promise.withResolvers<void>()
  const cancel = afterReading(ms, elapsed.resolve)
  try {
    return await Promise.race([promise, elapsed.promise.then(onTimeout)])
  } finally {
    cancel()
  }
}

/**
 * Like `AbortSignal.timeout`, but with the timer of {@link afterReading}.
 *
 * @param ms the timeout, in milliseconds
 * @returns a signal that aborts with a `TimeoutError` after `ms`
 */
export function timeoutSignal (ms: number): AbortSignal {
  const controller = new AbortController()
  afterReading(ms, () => controller.abort(new DOMException('The operation timed out', 'TimeoutError')))
  return controller.signal
}
