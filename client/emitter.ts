type Listener = (...args: unknown[]) => void

/**
 * Events with typed arguments. If a listener throws, the other listeners are still called, and the exception becomes an
 * uncaught exception.
 *
 * Methods and getters are bound to the emitter. Methods and getters therefore work as plain functions (`const { join }
 * = room`) and through a `Proxy`, such as the proxy that Vue's `ref()` creates.
 */
export class Emitter<Events extends { [E in keyof Events]: unknown[] }> {
  readonly #listeners = new Map<keyof Events, Set<Listener>>()

  constructor () {
    bindMembers(this)
  }

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

/**
 * Copies the methods and getters of an object's classes to the object itself and binds them to it. Without the copies,
 * inherited members would fail on a proxy: their `this` would be the proxy, which does not have the object's private
 * fields.
 */
function bindMembers (object: object): void {
  for (let prototype = Object.getPrototypeOf(object) as object; prototype !== Object.prototype; prototype = Object.getPrototypeOf(prototype) as object) {
    for (const [name, { get, value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (name === 'constructor' || Object.hasOwn(object, name)) continue
      // Keep the properties configurable, so that a proxy is allowed to return a different value for them.
      if (get) Object.defineProperty(object, name, { get: get.bind(object), configurable: true })
      else if (typeof value === 'function') Object.defineProperty(object, name, { value: value.bind(object) as unknown, configurable: true, writable: true })
    }
  }
}
