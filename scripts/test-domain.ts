// Replaces the package by which tap finds the test that an uncaught error belongs to.
// The package follows every promise with an async hook, which costs a tenth of the suite's
// CPU. A lane runs one file at a time, so the innermost running test is close enough.
import { registerHooks } from 'node:module'

type ErrorKind = 'uncaughtException' | 'unhandledRejection'

/** The tests that are running, the innermost last. */
const running = new Set<Domain>()

/** A running test; tap creates it and destroys it at the end of the test. */
export class Domain {
  readonly onerror: (error: unknown, kind: ErrorKind) => void

  constructor (onerror: (error: unknown, kind: ErrorKind) => void) {
    this.onerror = onerror
    running.add(this)
  }

  destroy (): void {
    running.delete(this)
  }
}

for (const kind of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(kind, (error: unknown) => {
    // A test that expects the error has its own handler.
    if (process.listenerCount(kind) > 1) return
    const domain = [...running].at(-1)
    if (!domain) throw error
    domain.onerror(error, kind)
  })
}

registerHooks({
  resolve: (specifier, context, next) => specifier === 'async-hook-domain' ? { url: import.meta.url, shortCircuit: true } : next(specifier, context)
})
