/**
 * The in-flight calls of one owner. When the owner is replaced, they may
 * finish; after a timeout they are cancelled.
 */
export interface InFlight {
  readonly running: number
  /**
   * Counts a call until it is done.
   *
   * @returns what the call returns; a promise of it is rejected early by `end()`
   * @throws what the call throws
   */
  run<T> (call: () => T): T
  /**
   * Counts a call that reports its end through a callback.
   *
   * @param ended called by `end()` if the call is still running
   * @returns a function to call when the call is done
   */
  begin (ended: (error: Error) => void): () => void
  /** @returns once no call is running */
  idle (): Promise<void>
  /** Rejects the running calls; their later results are ignored. */
  end (error: Error): void
}

export function createInFlight (): InFlight {
  const running = new Set<{ ended: (error: Error) => void }>()
  const waiting: (() => void)[] = []

  function done (call: { ended: (error: Error) => void }): void {
    if (running.delete(call) && running.size === 0) for (const fn of waiting.splice(0)) fn()
  }

  function begin (ended: (error: Error) => void): () => void {
    const call = { ended }
    running.add(call)
    return () => done(call)
  }

  return {
    get running () {
      return running.size
    },
    begin,
    run (call) {
      const result = call()
      if (!(result instanceof Promise)) return result
      const { promise, resolve, reject } = Promise.withResolvers()
      const done = begin(reject)
      result.then(resolve, reject).finally(done)
      return promise as typeof result
    },
    async idle () {
      if (running.size > 0) await new Promise<void>((resolve) => waiting.push(resolve))
    },
    end (error) {
      for (const call of [...running]) {
        call.ended(error)
        done(call)
      }
    }
  }
}
