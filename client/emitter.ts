type Listener = (...args: unknown[]) => void

/**
 * Events with typed arguments. An exception thrown by a listener affects neither the other listeners nor the emitter;
 * it becomes an uncaught exception.
 */
export class Emitter<Events extends { [E in keyof Events]: unknown[] }> {
  readonly #listeners = new Map<keyof Events, Set<Listener>>()

  /**
   * @param listener adding the same listener twice has no effect
   * @returns a function that removes the listener; idempotent
   */
  on<E extends keyof Events> (event: E, listener: (...args: Events[E]) => void): () => void {
    const listeners = this.#listeners.get(event) ?? new Set<Listener>()
    const untyped = listener as unknown as Listener
    this.#listeners.set(event, listeners.add(untyped))
    return () => { listeners.delete(untyped) }
  }

  protected emit<E extends keyof Events> (event: E, ...args: Events[E]): void {
    for (const listener of [...this.#listeners.get(event) ?? []]) {
      try {
        listener(...args)
      } catch (error) {
        queueMicrotask(() => { throw error })
      }
    }
  }
}
