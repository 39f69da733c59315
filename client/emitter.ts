type Listener = (...args: unknown[]) => void

/**
 * Events with typed arguments. A listener that throws keeps neither the others
 * nor the emitter from going on; its error surfaces as an uncaught one.
 */
export class Emitter<Events extends { [E in keyof Events]: unknown[] }> {
  readonly #listeners = new Map<keyof Events, Set<Listener>>()

  /**
   * @param listener called for each event from now on; a second time has no effect
   * @returns takes the listener away again; idempotent
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
