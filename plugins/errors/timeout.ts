/**
 * Waits for a promise for a limited time. If the promise settles after the timeout, its result is
 * ignored, even if it is a rejection.
 *
 * @param ms the timeout, in milliseconds
 * @param onTimeout returns the result to use instead, or throws to reject
 * @returns what the promise resolves with, or what `onTimeout` returns
 * @throws what the promise rejects with, or what `onTimeout` throws
 */
export async function withTimeout<T, F> (promise: PromiseLike<T>, ms: number, onTimeout: () => F): Promise<T | Awaited<F>> {
  const elapsed = Promise.withResolvers<void>()
  const timer = setTimeout(elapsed.resolve, ms)
  try {
    return await Promise.race([promise, elapsed.promise.then(onTimeout)])
  } finally {
    clearTimeout(timer)
  }
}
